"""`lga score` on a real S3 server, a real Ray and a real engine."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from workers.__main__ import main
from workers.engines import EngineError, open_engine
from workers.score.engine import choose_engine, find_candidates
from workers.score.job import score_with
from workers.score.predict import RegisteredEngine
from workers.settings import ScoreSettings
from workers.storage import Store, open_store
from workers.tags import TagForm, list_shards, tag_schema

ACTIONS = ("climbing", "cooking", "running")


def photograph(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", cv2.resize(coarse, (96, 72)))[1].tobytes()


def fill(uri: str, count: int) -> Store:
    store = open_store(uri)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put(f"photos/{number:04d}.jpg", photograph(number)), range(count)))
    return store


def rows(output: Store, run_id: str | None = None) -> list[dict]:
    tables = [pq.read_table(pa.BufferReader(output.get(name.key).data)) for name in list_shards(output, run_id)]
    return [row for table in tables for row in table.to_pylist()]


def run_records(output: Store) -> list[dict]:
    return [json.loads(output.get(info.key).data) for info in output.list("runs/") if info.key.endswith("/run.json")]


def command(source: str, output: str, registry: str, *more: str) -> list[str]:
    where = ["--input", source, "--output", output, "--registry", registry, "--model", "tiny:1"]
    return ["score", *where, "--batch-size", "8", "--lease-s", "2", *more]


def score_here(source: str, output: str, registry: str, **settings) -> dict:
    """A run inside this process's Ray; returns its record."""
    asked = ScoreSettings(
        input=source, output=output, registry=registry, model="tiny:1", batch_size=8, lease_s=2, **settings
    )
    candidates = find_candidates(registry, "tiny:1")
    engine = choose_engine(candidates, "best")
    opener = RegisteredEngine(registry=registry, version=candidates.version, record=engine)
    return score_with(asked, engine, opener).model_dump()


def test_a_bucket_becomes_tags(s3, ray_local, registry, capsys):
    """
    One row for each object, good or bad, exactly as promised; what is unchanged is not scored again. The store's secret
    is neither in the run's record nor in what is told.
    """
    bucket, output_uri = s3.bucket(), s3.bucket()
    store, output = fill(bucket, 40), open_store(output_uri)
    bad = {
        "photos/empty.jpg": (b"", "not_an_image"),
        "photos/text.jpg": (b"hello", "not_an_image"),
        "photos/cut.jpg": (photograph(0)[:900], "truncated"),
        "photos/huge.png": (b"\x89PNG\r\n\x1a\n" + b"x" * 100_000, "too_large"),
        "photos/psd.jpg": (b"8BPS" + b"x" * 99, "unsupported"),
        "photos/Ünïcode & <b>.jpg": (b"\xff\xd8\xff" + b"garbage" * 9 + b"\xff\xd9", "decode_error"),
    }
    for key, (data, _) in bad.items():
        store.put(key, data)
    asked = command(f"{bucket}/photos", output_uri, registry, "--shard-rows", "16", "--max-object-bytes", "50000")

    assert 0 == main(asked)
    found = {row["key"]: row for row in rows(output)}
    assert 46 == len(found) == len(rows(output))
    assert {key: reason for key, (_, reason) in bad.items()} == {
        key: row["reason"] for key, row in found.items() if row["status"] == "failed"
    }
    listed = {info.key: info for info in store.list()}
    assert all(
        (listed[key].etag, listed[key].size_bytes) == (row["etag"], row["size_bytes"]) for key, row in found.items()
    )
    good = found["photos/0007.jpg"]
    assert (96, 72, "tiny", 1) == (good["width"], good["height"], good["model"], good["version"])
    assert good["label"] == good["top_labels"][0] == ACTIONS[int(np.argmax(good["scores"]))]
    (name, *_) = list_shards(output)
    schema = pq.read_schema(pa.BufferReader(output.get(name.key).data))
    assert tag_schema(TagForm(classes=ACTIONS, heatmap_hw=(4, 4))) == schema
    assert f"{bucket}/photos" == schema.metadata[b"input"].decode().rstrip("/")
    (record,) = run_records(output)
    assert (46, 40, 6, 0) == tuple(record["account"][part] for part in ("listed", "ok", "failed", "skipped"))
    told = capsys.readouterr()
    assert "46" in told.out
    assert s3.server.secret_key not in json.dumps(record) + told.out + told.err
    assert "AWS" not in json.dumps(record)

    store.put("photos/0007.jpg", photograph(1007))
    store.put("photos/new.jpg", photograph(1008))
    assert 3 == main([*asked, "--max-failure-rate", "0.5"])
    assert "6 of 8 objects failed" in capsys.readouterr().err
    (second,) = (one for one in run_records(output) if one["run_id"] != record["run_id"])
    assert (47, 2, 6, 39) == tuple(second["account"][part] for part in ("listed", "ok", "failed", "skipped"))
    assert {"photos/0007.jpg", "photos/new.jpg"} == {
        row["key"] for row in rows(output, second["run_id"]) if row["status"] == "ok"
    }


def test_failures_are_listed_and_scored_again(s3, ray_local, registry, tmp_path, capsys):
    """
    What could not be scored is listed, exported, and scored again by its reason, with other limits; then it is in
    quarantine no longer. The same engine, a run of its own, a balanced account. A dry run tells what there is to do.
    """
    bucket, output = s3.bucket(), s3.bucket()
    store = fill(bucket, 2)
    store.put("photos/big.jpg", photograph(7) + b" " * 60_000)
    store.put("photos/text.jpg", b"hello")
    asked = command(bucket, output, registry, "--max-object-bytes", "50000")
    assert 0 == main([*asked, "--dry-run", "--price-per-hour", "2"])
    assert "4 objects" in capsys.readouterr().out
    assert [] == list(open_store(output).list())
    assert 0 == main(asked)

    def quarantined() -> dict[str, str]:
        capsys.readouterr()
        assert 0 == main(["runs", "quarantine", "--output", output, "--format", "json"])
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return {row["key"]: row["reason"] for row in rows}

    assert {"photos/big.jpg": "too_large", "photos/text.jpg": "not_an_image"} == quarantined()
    exported = str(tmp_path / "bad.parquet")
    assert 0 == main(["runs", "quarantine", "--output", output, "--export", exported, "--reason", "too_large"])
    assert ["photos/big.jpg"] == pq.read_table(exported)["key"].to_pylist()
    retry = ["runs", "retry", "--output", output, "--reason", "too_large"]
    assert 0 == main([*retry, "--max-object-bytes", "100000"])
    assert {"photos/text.jpg": "not_an_image"} == quarantined()
    *_, newest = sorted(run_records(open_store(output)), key=lambda record: record["started_at"])
    assert (1, 1, 0) == tuple(newest["account"][part] for part in ("listed", "ok", "failed"))
    assert [1] == list(newest["quality"]["distribution"]["classes"].values())
    assert 0 == main(retry)
    assert "nothing to do" in capsys.readouterr().out


def test_a_candidate_is_compared_with_production(s3, ray_local, registry, tmp_path, capsys):
    """
    The same model twice changes nothing; what it compared is told, as a table, JSON and a page; metrics as well.
    """
    bucket = s3.bucket()
    fill(bucket, 12)
    page, figures = tmp_path / "shadow.html", tmp_path / "shadow.json"
    models = ["--model", "tiny:1", "--candidate", "tiny:1", "--registry", registry]
    outcome = tmp_path / "shadow.prom"
    written = ["--html", str(page), "--json-output", str(figures), "--price-per-hour", "3"]
    written += ["--metrics-file", str(outcome)]

    assert 0 == main(["shadow", "--input", bucket, "--sample-size", "8", "--batch-size", "8", *models, *written])
    facts = json.loads(figures.read_text())
    assert (8, 12, 8, 0) == (
        facts["sampled"], facts["listed"], facts["comparison"]["compared"], facts["comparison"]["flips"]
    )  # fmt: skip
    assert 1.0 == facts["comparison"]["heatmap_overlap"] or facts["comparison"]["heatmap_overlap"] is None
    assert "labels that flip" in capsys.readouterr().out
    assert "tiny:1" in page.read_text()
    assert 'lga_last_run_exit_code{command="shadow",pipeline="default"} 0.0' in outcome.read_text()
    assert 'lga_last_run_cost{command="shadow"' in outcome.read_text()


def test_nothing_to_score_is_done_at_once(s3, ray_local, registry):
    """
    An empty prefix is a run of no objects, and no error.
    """
    bucket = s3.bucket()

    assert 0 == main(command(f"{bucket}/nothing", f"{bucket}/tagged", registry))
    (record,) = run_records(open_store(f"{bucket}/tagged"))
    assert ("finished", 0) == (record["state"], record["account"]["listed"])


def test_a_finished_run_is_finished(s3, ray_local, registry, tmp_path):
    """
    Its name again is done at once; its name with other settings is an error.
    """
    bucket, output = s3.bucket(), str(tmp_path / "output")
    fill(bucket, 3)
    asked = [*command(bucket, output, registry), "--run", "mine"]

    assert 0 == main(asked)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "output").rglob("*.parquet")}
    assert 0 == main(asked)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "output").rglob("*.parquet")}
    assert 2 == main([*asked, "--limit", "1"])


def test_wrong_places_are_told_before_anything_is_written(s3, registry, tmp_path, capsys):
    """
    A missing bucket, folder, model: a message, the exit code, nothing under the output.
    """
    output = str(tmp_path / "output")
    bucket = s3.bucket()

    assert 5 == main(command(f"{bucket}-nobody", output, registry))
    assert "no such bucket" in capsys.readouterr().err
    assert 5 == main(command(str(tmp_path / "nothing"), output, registry))
    assert "no such folder" in capsys.readouterr().err
    assert 2 == main([*command(bucket, output, registry), "--model", "tiny:9"])
    assert "tiny:9" in capsys.readouterr().err
    assert not Path(output).exists()


def test_an_engine_that_cannot_be_opened_is_told(s3, ray_local, registry, tmp_path):
    """
    What the actor said comes to the user as it is, at once, and the run stays to be continued.
    """
    bucket = s3.bucket()
    fill(bucket, 3)
    asked = ScoreSettings(input=bucket, output=str(tmp_path), registry=registry, model="tiny:1", progress=False)
    engine = choose_engine(find_candidates(registry, "tiny:1"), "best")

    with pytest.raises(EngineError, match="nowhere"):
        score_with(asked, engine, functools.partial(open_engine, tmp_path / "nowhere"))
    (record,) = run_records(open_store(str(tmp_path)))
    assert ("running", "failed") == (record["state"], record["attempts"][0]["outcome"])


def test_two_attempts_at_once_make_one_run(s3, ray_local, registry):
    """
    They agree on run and plan; each object has one row, and both end with the same account.
    """
    bucket, output_uri = s3.bucket(), s3.bucket()
    fill(bucket, 120)
    with ThreadPoolExecutor(2) as pool:
        attempts = [
            pool.submit(score_here, bucket, output_uri, registry, shard_rows=10, progress=False) for _ in range(2)
        ]
        first, second = (attempt.result() for attempt in attempts)
    found = Counter(row["key"] for row in rows(open_store(output_uri)))

    assert {f"photos/{number:04d}.jpg": 1 for number in range(120)} == found
    assert (first["run_id"], first["account"]) == (second["run_id"], second["account"])


def test_a_killed_driver_costs_no_row_and_doubles_none(s3, ray_local, registry):
    """
    SIGKILL in the middle of a run; the same command again finishes it, and leaves what was written as it was.
    """
    bucket, output_uri = s3.bucket(), s3.bucket()
    fill(bucket, 200)
    output = open_store(output_uri)
    address = ray.get_runtime_context().gcs_address
    asked = command(bucket, output_uri, registry, "--shard-rows", "5", "--ray-address", address)
    driver = subprocess.Popen(
        [sys.executable, "-m", "workers", *asked], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: len(list(list_shards(output))) >= 3 or driver.poll() is not None)
        driver.send_signal(signal.SIGKILL)
    finally:
        driver.wait()
    assert -signal.SIGKILL == driver.returncode, driver.stderr.read().decode()
    before = {info.key: (info.etag, info.last_modified) for info in output.list("tags/")}
    assert 3 <= len(before) < 40

    record = score_here(bucket, output_uri, registry, shard_rows=5, progress=False)
    after = {info.key: (info.etag, info.last_modified) for info in output.list("tags/")}
    assert before.items() <= after.items()
    assert 40 == len(after)
    assert {f"photos/{number:04d}.jpg": 1 for number in range(200)} == Counter(row["key"] for row in rows(output))
    assert (200, 200, 2) == (record["account"]["listed"], record["account"]["ok"], len(record["attempts"]))


def test_a_killed_engine_costs_no_row_and_doubles_none(s3, ray_local, registry):
    """
    The engine's process dies while it scores; Ray starts another, and the account is that of a quiet run.
    """
    bucket, output_uri = s3.bucket(), s3.bucket()
    fill(bucket, 200)
    output = open_store(output_uri)
    with ThreadPoolExecutor(1) as pool:
        attempt = pool.submit(score_here, bucket, output_uri, registry, shard_rows=5, progress=False)
        wait_until(lambda: len(list(list_shards(output))) >= 2 or attempt.done())
        victims = engine_processes()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        record = attempt.result()

    assert victims
    assert {f"photos/{number:04d}.jpg": 1 for number in range(200)} == Counter(row["key"] for row in rows(output))
    assert (200, 0) == (record["account"]["ok"], record["account"]["failed"])


def test_a_stopped_job_continues(s3, ray_local, registry):
    """
    SIGTERM ends `lga score` with 143 and a word on how to go on; the next start finishes the run.
    """
    bucket, output_uri = s3.bucket(), s3.bucket()
    fill(bucket, 200)
    output = open_store(output_uri)
    address = ray.get_runtime_context().gcs_address
    asked = command(bucket, output_uri, registry, "--shard-rows", "5", "--ray-address", address)
    driver = subprocess.Popen(
        [sys.executable, "-m", "workers", *asked], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    wait_until(lambda: len(list(list_shards(output))) >= 3 or driver.poll() is not None)
    driver.send_signal(signal.SIGTERM)
    told = driver.communicate()[1].decode()

    assert 128 + signal.SIGTERM == driver.returncode, told
    assert "run the same command again to continue" in told
    assert "Traceback" not in told
    (record,) = run_records(output)
    assert ("running", "stopped") == (record["state"], record["attempts"][0]["outcome"])
    assert 0 == main(asked)
    assert {f"photos/{number:04d}.jpg": 1 for number in range(200)} == Counter(row["key"] for row in rows(output))


def wait_until(condition, timeout_s: float = 200) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not so within {timeout_s} s")
        time.sleep(0.02)


def engine_processes() -> list[int]:
    """Processes of the predict actors of this test's own Ray: descendants of this process.

    The name also says that predicting was not fused with fetching: else both would stand in it.
    """
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            commands[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])

    def ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and ours(parents[pid]))

    return [pid for pid, line in commands.items() if "MapWorker(MapBatches(Predict))" in line and ours(pid)]
