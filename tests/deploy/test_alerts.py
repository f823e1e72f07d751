"""Alert rules: sound, tested both ways, explained, and about metrics that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy"))
from generate import main as generate
from metrics_table import exposed_names

RULES = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "alerts.yaml"
CASES = sorted(RULES.parent.glob("*_test.yaml"))
ROOT = RULES.parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "deploy" / "README.md"]


def alerts() -> list[dict]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_the_rules_are_sound(program):
    """
    promtool finds nothing to say against them.
    """
    done = subprocess.run(
        [program("promtool"), "check", "rules", "--lint=all", "--lint-fatal", RULES],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_the_cases_hold(program, cases):
    """
    Each alert fires in the situations that are written down, and in no other of them.
    """
    done = subprocess.run([program("promtool"), "test", "rules", cases], capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout + done.stderr


def test_each_alert_is_seen_to_fire_and_to_be_silent():
    """
    There is at least one case of both kinds for every alert.
    """
    checks = [
        check
        for path in CASES
        for case in yaml.safe_load(path.read_text())["tests"]
        for check in case["alert_rule_test"]
    ]
    names = {alert["alert"] for alert in alerts()}

    assert names == {check["alertname"] for check in checks if check["exp_alerts"]}
    assert names == {check["alertname"] for check in checks if not check["exp_alerts"]}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_each_alert_has_its_entry_in_the_runbook(alert):
    """
    The page that the alert names has a heading of the alert's name.
    """
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^## (\w+)$", (RULES.parents[1] / page).read_text(), re.MULTILINE)

    assert alert["alert"].lower() == anchor
    assert alert["alert"] in headings


@pytest.mark.parametrize(
    "path",
    [RULES, RULES.parents[1] / "runbook.md", *RULES.parents[1].glob("grafana/*.json")],
    ids=lambda path: path.name,
)
def test_only_metrics_that_exist_are_named(path):
    """
    Rules, runbook and dashboards name what the program exposes, or what the rules record.
    """
    named = set(re.findall(r"\blga_[a-z0-9_]+[a-z0-9]\b", path.read_text()))
    recorded = {
        rule["record"]
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if "record" in rule
    }

    assert named
    assert set() == named - exposed_names()
    assert set() == set(re.findall(r"\blga:[a-z0-9_:]+", path.read_text())) - recorded


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_only_metrics_that_exist(path):
    """
    Pages for people, too; `lga_model` and the like are no metrics.
    """
    families = "run|score|train|compile|storage|last_run"
    named = set(re.findall(rf"\blga_(?:{families})_[a-z0-9_]+[a-z0-9]\b", path.read_text()))

    # A histogram, and a family of series, are named by their beginning.
    assert [] == [name for name in named if not any(f"{each}_".startswith(f"{name}_") for each in exposed_names())]


def test_what_is_derived_is_up_to_date():
    """
    The table of metrics, the dashboards and the chart's table of values are what the generator writes.
    """
    assert 0 == generate(["--check"])
