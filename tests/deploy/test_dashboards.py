"""The dashboards: every query is PromQL, and a real Prometheus that scraped real jobs has an answer to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

promql_parser = pytest.importorskip("promql_parser")
pytest.importorskip("grafana_foundation_sdk")

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
sys.path.insert(0, str(DEPLOY))
BOARDS = sorted((DEPLOY / "grafana").glob("*.json"))


def queries() -> list[tuple[str, str]]:
    """Dashboard and expression of every query."""
    return [
        (path.stem, target["expr"])
        for path in BOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]


@pytest.mark.parametrize(("board", "expression"), queries())
def test_every_query_is_promql(board, expression):
    """
    A parser takes it.
    """
    assert promql_parser.parse(expression.replace("$run", ".*"))


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_panel_explains_itself(path):
    """
    A title, a sentence and a unit; the data source is a variable, and so is the run.
    """
    board = json.loads(path.read_text())

    assert {"datasource", "run"} == {variable["name"] for variable in board["templating"]["list"]}
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert "${datasource}" == panel["datasource"]["uid"]


@dataclass(frozen=True)
class Observed:
    """A Prometheus, and when the jobs ran that it watched."""

    url: str
    start: float
    end: float


@pytest.fixture(scope="module")
def observed(program, free_port, wait_for, start_pushgateway, tmp_path_factory) -> Iterator[Observed]:
    """Train, compile, score, each as its own process; Prometheus scrapes them and the Pushgateway."""
    work = tmp_path_factory.mktemp("observed")
    server, jobs = free_port(), free_port()
    binary = program("prometheus")
    with start_pushgateway() as gateway:
        targets = {"job_name": "lga-jobs", "static_configs": [{"targets": [f"127.0.0.1:{jobs}"]}]}
        outcomes = {"job_name": "gateway", "honor_labels": True, "static_configs": [{"targets": [gateway]}]}
        content = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [targets, outcomes],
            "rule_files": [str(DEPLOY / "prometheus" / "alerts.yaml")],
        }
        (work / "prometheus.yml").write_text(yaml.safe_dump(content))
        process = subprocess.Popen(
            [
                binary, f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/data",
                f"--web.listen-address=127.0.0.1:{server}",
            ],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{server}/-/ready", process)
            start = time.time()
            run_jobs(work, jobs, gateway)
            time.sleep(3)
            yield Observed(f"http://127.0.0.1:{server}", start, time.time())
        finally:
            process.terminate()
            process.wait()


def run_jobs(work: Path, port: int, gateway: str) -> None:
    """The commands of a user, with metrics."""
    watched = ["--metrics-port", port, "--pushgateway", gateway, "--pipeline", "test", "--period-s", 86400]
    registry = ["--registry", work / "registry"]
    scenes = work / "scenes"
    lga("prepare", "misleading", "--root", scenes, "--train", 64, "--val", 16, "--test", 64, "--size-px", 64)
    lga(
        "train", "--manifest", scenes / "manifest.parquet", "--name", "tiny", "--output", work / "training", *registry,
        "--backbone", "test_resnet", "--size-px", 64, "--epochs", 4, *watched,
    )  # fmt: skip
    lga("compile", "--model", "tiny:1", "--parity-images", 8, *registry, *watched)
    lga(
        "score", "--input", scenes, "--exclude", "*.parquet", "--output", work / "tags", "--model", "tiny:1",
        *registry, "--shard-rows", 4, "--batch-size", 4, *watched,
    )  # fmt: skip


def lga(*words: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workers", *map(str, words)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr


def test_every_query_has_an_answer(observed):
    """
    No panel stays empty when the jobs run: train, compile and score as they are, not made-up series.
    """
    from picture import answer  # noqa: PLC0415

    silent = [
        (board, expression)
        for board, expression in queries()
        # Scenes lie in a folder: no request to S3 is made.
        if "lga_storage_requests" not in expression
        and not answer(observed.url, expression, observed.start, observed.end)
    ]

    assert [] == silent


def test_the_rules_are_evaluated_without_fault(observed):
    """
    Prometheus takes the file as it is, and no rule fails on real series.
    """
    with urllib.request.urlopen(f"{observed.url}/api/v1/rules", timeout=30) as reply:
        groups = json.load(reply)["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    assert rules
    assert {"ok"} == {rule["health"] for rule in rules}
