"""What a report over many rows costs: seconds, memory, size of the file, and how soon Chromium shows it.

The tags are made up (random scores, maps and failures) in the real schema; the photographs are rendered scenes, each
under many names. Wanted for 100,000 rows: under 30 s and 1 GB, at most 15 MB, shown in under 2 s.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import simplejpeg
from rich.console import Console
from rich.table import Table

from lga_model.calibration import Calibration
from lga_model.datasets.misleading import MisleadingConfig, render_scene
from workers.engines import EngineOutput
from workers.storage import FolderStore, open_store
from workers.tags import Lineage, ShardName, TagForm, object_schema, rows, write_shard

RUN = "bench"
FORM = TagForm(classes=tuple(f"action {number:02d}" for number in range(40)), heatmap_hw=(14, 14))
LINEAGE = Lineage(model="bench", version=1, engine="0123456789abcdef", run_id=RUN)
CALIBRATION = Calibration(
    temperature=1.0, conformal_threshold=0.8, coverage=0.9, accept_confidence=0.6, precision=0.95, person_peak_min=0.86
)
SHARD_ROWS = 2048
SCENES = 64
OPENINGS = 5
FAILURE_SHARE = 0.01
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                  "--disable-component-update", "--disable-sync"]  # fmt: skip


def write_photographs(folder: Path, count: int) -> list[str]:
    """So many files, of which only a few differ."""
    scenes = folder / ".scenes"
    scenes.mkdir(parents=True)
    config = MisleadingConfig(size_px=480)
    for number in range(SCENES):
        pixels = render_scene(config, "test", number).pixels_HWC
        (scenes / f"{number}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels, quality=90))
    keys = [f"2026/{number // 1000:03d}/{number:06d}.jpg" for number in range(count)]
    for number, key in enumerate(keys):
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        os.link(scenes / f"{number % SCENES}.jpg", folder / key)
    return keys


def write_tags(output: FolderStore, keys: list[str], photographs: Path) -> None:
    """The shards and the record of one run."""
    random = np.random.default_rng(0)
    failed = 0
    for shard in range(0, len(keys), SHARD_ROWS):
        part = keys[shard : shard + SHARD_ROWS]
        objects = _objects(part, random)
        ok = np.asarray(objects["status"]) == "ok"
        failed += int((~ok).sum())
        table = rows(objects, _output(int(ok.sum()), random), FORM, CALIBRATION, LINEAGE, datetime.now(UTC))
        write_shard(output, ShardName(run_id=RUN, index=shard // SHARD_ROWS), table)
    record = {
        "run_id": RUN, "state": "finished", "input": str(photographs), "model": "bench", "version": 1,
        "account": {"listed": len(keys), "skipped": 0, "ok": len(keys) - failed, "failed": failed, "reasons": {}},
        "attempts": [],
    }  # fmt: skip
    output.put(f"runs/{RUN}/run.json", json.dumps(record).encode())


def _objects(keys: list[str], random: np.random.Generator) -> pa.Table:
    count = len(keys)
    fails = random.random(count) < FAILURE_SHARE
    columns = {
        "key": keys,
        "etag": [f"{number:032x}" for number in random.integers(0, 2**60, count)],
        "size_bytes": random.integers(20_000, 40_000, count),
        "last_modified": [datetime(2026, 1, 1, tzinfo=UTC)] * count,
        "status": np.where(fails, "failed", "ok"),
        "reason": [random.choice(["truncated", "not_an_image"]) if each else None for each in fails],
        "detail": ["premature end of the file" if each else None for each in fails],
        "width": pa.array([480] * count, pa.int32()),
        "height": pa.array([480] * count, pa.int32()),
    }
    return pa.table(columns).select(object_schema().names).cast(object_schema())


def _output(count: int, random: np.random.Generator) -> EngineOutput:
    logits = random.normal(0, 2.2, (count, len(FORM.classes)))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    maps = [random.random((count, *FORM.heatmap_hw)).astype(np.float32) ** power for power in (4, 2)]
    return EngineOutput(
        probabilities.astype(np.float32), maps[0] * random.random((count, 1, 1)).astype(np.float32), maps[1]
    )


def make_report(output: str, html: Path) -> tuple[float, float, float]:
    """Run ``lga report`` in a process of its own: seconds, CPU seconds and peak memory in MB, imports and all."""
    begun = time.monotonic()
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "workers", "report", "--output", output, "--html", str(html)], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def opening_s(html: Path) -> list[float]:
    """Seconds until Chromium has the photographs in the document, several times; empty where it is not installed."""
    if not Path(CHROMIUM).exists():
        return []
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS, chromium_sandbox=False)
        for _ in range(OPENINGS):
            page = browser.new_page()
            begun = time.monotonic()
            page.goto(html.as_uri(), wait_until="load")
            page.wait_for_selector("#gallery .card")
            times.append(time.monotonic() - begun)
            page.close()
        browser.close()
    return times


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="copy the page to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lga-bench-report-") as folder:
        photographs, output = Path(folder) / "photographs", Path(folder) / "tagged"
        keys = write_photographs(photographs, arguments.rows)
        store = open_store(str(output))
        assert isinstance(store, FolderStore)  # noqa: S101
        write_tags(store, keys, photographs)
        html = Path(folder) / "report.html"
        elapsed_s, cpu_s, peak_mb = make_report(str(output), html)
        openings = opening_s(html)
        table = Table(title=f"lga report over {arguments.rows:,} rows")
        for column in ("seconds", "CPU seconds", "peak memory, MB", "file, MB", "opened in Chromium, s (median)"):
            table.add_column(column, justify="right")
        opened = f"{statistics.median(openings):.2f}" if openings else "no Chromium"
        table.add_row(f"{elapsed_s:.1f}", f"{cpu_s:.1f}", f"{peak_mb:.0f}", f"{html.stat().st_size / 1e6:.1f}", opened)
        Console().print(table)
        if arguments.keep:
            arguments.keep.write_bytes(html.read_bytes())


if __name__ == "__main__":
    main()
