"""Runs as `lga score` leaves them, made in a moment: real shards, real photographs, hostile names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from lga_model.calibration import Calibration
from workers.engines import EngineOutput
from workers.storage import open_store
from workers.tags import Lineage, ShardName, TagForm, object_schema, rows, write_shard

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=2>\"'&\u202e.jpg"
"""A name that means harm in a script element, in an element, in an attribute, and to the eye."""
CLASSES = ("cooking", f"run {HOSTILE}", "sitting")
CALIBRATION = Calibration(
    temperature=1.0, conformal_threshold=0.8, coverage=0.9, accept_confidence=0.8, precision=0.95, person_peak_min=0.3
)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Tagged:
    """One object of a made-up run."""

    key: str
    label: int = 0
    confidence: float = 0.9
    focus: float = 0.5
    """Share of the evidence on the person."""
    peak: float = 1.0
    failure: str | None = None


def write_run(output: Path, photographs: Path, objects: Sequence[Tagged], run_id: str = "nightly", **record) -> Path:
    """Shards of at most four rows, and a `run.json`."""
    store = open_store(str(output))
    for start in range(0, len(objects), 4):
        part = objects[start : start + 4]
        table = rows(
            _objects(part), _output([each for each in part if not each.failure]),
            TagForm(classes=CLASSES, heatmap_hw=(2, 2)), CALIBRATION,
            Lineage(model="poses", version=3, engine="0123456789abcdef", run_id=run_id), NOON,
        )  # fmt: skip
        write_shard(store, ShardName(run_id=run_id, index=start // 4), table)
    failed = [each.failure for each in objects if each.failure]
    document = {
        "run_id": run_id, "state": "finished", "input": str(photographs), "model": "poses", "version": 3,
        "target": "onnxruntime", "precision": "fp32", "engine": "0123456789abcdef", "started_at": NOON.isoformat(),
        "finished_at": (NOON + timedelta(minutes=2)).isoformat(),
        "account": {
            "listed": len(objects) + 2, "skipped": 2, "ok": len(objects) - len(failed), "failed": len(failed),
            "reasons": {reason: failed.count(reason) for reason in failed},
        },
        "attempts": [{
            "id": "a", "started_at": NOON.isoformat(), "outcome": "finished", "engines": 1, "device": "cpu",
            "wall_s": 2.0, "startup_s": 1.0, "images_per_s": 3.5, "bottleneck": "engine",
            "work": {"images": len(objects), "fetch_s": 0.1, "decode_s": 0.2, "predict_s": 0.9, "commit_s": 0.1},
        }],
    }  # fmt: skip
    store.put(f"runs/{run_id}/run.json", json.dumps(document | record).encode())
    return output


def _objects(part: Sequence[Tagged]) -> pa.Table:
    columns = {
        "key": [each.key for each in part],
        "etag": ["e"] * len(part),
        "size_bytes": [None] * len(part),
        "last_modified": [NOON] * len(part),
        "status": ["failed" if each.failure else "ok" for each in part],
        "reason": [each.failure for each in part],
        "detail": [f"because of {HOSTILE}" if each.failure else None for each in part],
        "width": [96] * len(part),
        "height": [72] * len(part),
    }
    return pa.table(columns).cast(object_schema())


def _output(part: Sequence[Tagged]) -> EngineOutput | None:
    if not part:
        return None
    probabilities = np.zeros((len(part), len(CLASSES)), np.float32)
    heatmaps, pams = np.zeros((2, len(part), 2, 2), np.float32)
    for number, each in enumerate(part):
        probabilities[number] = (1 - each.confidence) / (len(CLASSES) - 1)
        probabilities[number, each.label] = each.confidence
        # The person fills the first cell: what share of the evidence lies there is the focus.
        heatmaps[number, 0, 0] = each.peak
        pams[number, 0, 0], pams[number, 1, 1] = each.focus / each.peak, 1 - each.focus / each.peak
    return EngineOutput(probabilities, heatmaps, pams)


def write_photograph(path: Path) -> None:
    """A small JPEG, wider than high."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path.write_bytes(cv2.imencode(".jpg", cv2.resize(pixels, (96, 72)))[1].tobytes())


def write_hostile_run(folder: Path) -> Path:
    """Eleven good photographs and three troubles; names, labels and messages mean harm. Returns the output."""
    names = [f"{number:02d}.jpg" for number in range(11)]
    objects = [
        Tagged(key=name, label=number % 3, confidence=0.5 + number / 25, focus=0.1 + number / 20)
        for number, name in enumerate(names)
    ]
    hostile = f"folder{HOSTILE}"
    objects += [Tagged(key=hostile, label=1), Tagged(key="broken.jpg", failure="truncated")]
    objects += [Tagged(key="nobody.jpg", peak=0.2, focus=0.1)]
    for name in [*names, hostile]:
        write_photograph(folder / "photographs" / name)
    return write_run(folder / "tagged", folder / "photographs", objects)


@pytest.fixture
def hostile_run(tmp_path) -> Path:
    """The output of such a run, beside ``photographs``."""
    return write_hostile_run(tmp_path)
