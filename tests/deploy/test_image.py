"""What the Dockerfile says. That it can be built and run is tried by hand, by the commands in deploy/README.md."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.version import Version

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy"))
from audit import pinned

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_linter_has_nothing_to_say(program):
    """
    But for the rules that are left out by name.
    """
    done = subprocess.run([program("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout


def test_the_base_is_pinned_and_everything_stands_on_it():
    """
    By tag and digest, as an argument; no other image is pulled.
    """
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    names = {name for _, name in stages}

    assert re.search(r"^ARG BASE=\S+:\S+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    assert {"runtime", "runtime-cpu"} <= names
    assert {parent for parent, _ in stages} - names == {"${BASE}"}


def test_the_image_says_its_version_and_the_chart_asks_for_it():
    """
    The label and the chart's tag are the version of the package; KubeRay is told of the Ray that is in the lock.
    """
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = ROOT / "deploy" / "helm" / "lga"

    assert f"ARG VERSION={version}\n" in DOCKERFILE
    assert version == yaml.safe_load((chart / "Chart.yaml").read_text())["appVersion"]
    assert pinned(ROOT / "requirements.lock")["ray"] == Version(
        yaml.safe_load((chart / "values.yaml").read_text())["rayVersion"]
    )


def test_the_build_sees_only_what_it_needs():
    """
    Data, results and secrets beside the source never reach the builder.
    """
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]

    assert "*" == rules[0]
    assert {"!lga_model", "!workers", "!pyproject.toml", "!requirements.lock", "!README.md"} == {
        rule for rule in rules if rule.startswith("!")
    }
