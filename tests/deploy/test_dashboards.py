"""The dashboards: every query is PromQL, and a real Prometheus that scraped real jobs has an answer to it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from workers.__main__ import main
from workers.storage import open_store

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy"))
from picture import answer, plain_query

promql_parser = pytest.importorskip("promql_parser")
pytest.importorskip("grafana_foundation_sdk")

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
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
    assert promql_parser.parse(plain_query(expression))


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
        # Over a range, a number would be that of a run which has ended.
        assert ("stat" == panel["type"]) == all(target.get("instant", False) for target in panel["targets"])


@dataclass(frozen=True)
class Observed:
    """A Prometheus, and when the jobs ran that it watched."""

    url: str
    start: float
    end: float


@pytest.fixture(scope="module")
def observed(s3, ray_local, program, free_port, wait_for, start_pushgateway, tmp_path_factory) -> Iterator[Observed]:
    """Train, compile, score; Prometheus scrapes what they serve, and the Pushgateway."""
    work = tmp_path_factory.mktemp("observed")
    server, jobs = free_port(), free_port()
    binary = program("prometheus")
    with start_pushgateway() as gateway:
        targets = {"job_name": "lga-jobs", "static_configs": [{"targets": [f"127.0.0.1:{jobs}"]}]}
        outcomes = {"job_name": "gateway", "honor_labels": True, "static_configs": [{"targets": [gateway]}]}
        content = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "1s"},
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
            run_jobs(work, s3.bucket(), jobs, gateway)
            time.sleep(2)
            yield Observed(f"http://127.0.0.1:{server}", start, time.time())
        finally:
            process.terminate()
            process.wait()


def run_jobs(work: Path, bucket: str, port: int, gateway: str) -> None:
    """The commands of a user, with metrics, on the Ray and the S3 server that other tests use as well."""
    watched = ["--metrics-port", port, "--pushgateway", gateway, "--pipeline", "test", "--period-s", 86400]
    registry = ["--registry", work / "registry"]
    scenes = work / "scenes"
    lga("prepare", "misleading", "--root", scenes, "--train", 64, "--val", 16, "--test", 64, "--size-px", 64)
    store = open_store(bucket)
    for path in scenes.rglob("*.jpg"):
        store.put(path.name, path.read_bytes())
    store.put("broken.jpg", b"no image")
    lga(
        "train", "--manifest", scenes / "manifest.parquet", "--name", "tiny", "--output", work / "training", *registry,
        "--backbone", "test_resnet", "--size-px", 64, "--epochs", 4, *watched,
    )  # fmt: skip
    lga("compile", "--model", "tiny:1", "--parity-images", 8, *registry, *watched)
    lga(
        "score", "--input", bucket, "--output", work / "tags", "--model", "tiny:1", *registry, "--shard-rows", 4,
        "--batch-size", 4, "--max-failure-rate", 0.5, "--price-per-hour", 3, *watched,
    )  # fmt: skip


def lga(*words: object) -> None:
    assert 0 == main([str(word) for word in words])


def test_every_query_has_an_answer(observed):
    """
    No panel stays empty when the jobs run: train, compile and score as they are, not made-up series.
    """
    silent = [
        (board, expression)
        for board, expression in queries()
        if not answer(observed.url, expression, observed.start, observed.end)
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
