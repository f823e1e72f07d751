"""Small parts of a run: photographs, plans, an engine whose answers can be foretold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lga_model.calibration import Calibration
from lga_model.config import ImageConfig, ModelConfig
from lga_model.images import ImageLimits
from workers.engines import EngineOutput, EngineRecord, Parity, TensorSpec
from workers.runs.plan import LISTED, Plan, plan_key
from workers.score.fetch import FetchOptions
from workers.score.load import load_chunk
from workers.score.predict import Predict
from workers.storage import Store
from workers.tags import Lineage, TagForm

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SIZE_PX = 32
ACTIONS = ("dark", "bright")


class MeanEngine:
    """Says ``bright`` with the mean of an image's pixels as its probability."""

    def __init__(self) -> None:
        self.record = engine_record()
        self.device = "cpu"
        self.batches: list[int] = []

    def infer(self, images_BHWC) -> EngineOutput:
        self.batches.append(len(images_BHWC))
        mean_B = images_BHWC.reshape(len(images_BHWC), -1).mean(axis=1) / 255
        maps_BHW = np.ones((len(images_BHWC), 2, 2), dtype=np.float32)
        return EngineOutput(np.stack([1 - mean_B, mean_B], axis=1).astype(np.float32), maps_BHW, maps_BHW)

    def close(self) -> None:
        pass


def engine_record() -> EngineRecord:
    return EngineRecord(
        model="people",
        version=7,
        target="onnxruntime",
        precision="fp32",
        backend_version="1",
        inputs=(TensorSpec(name="images", dtype="uint8", shape=(None, SIZE_PX, SIZE_PX, 3)),),
        outputs=(TensorSpec(name="probabilities", dtype="float32", shape=(None, 2)),),
        engine_sha256="a" * 64,
        weights_sha256="b" * 64,
        config=ModelConfig(backbone="test_resnet", classes=ACTIONS, image=ImageConfig(size_px=SIZE_PX)),
        heatmap_hw=(2, 2),
        preprocessing="squeeze-area-1",
        calibration=Calibration(**asdict(Calibration.none()) | {"person_peak_min": 0.5}),
        parity=Parity(
            images=1,
            top1_agreement=1.0,
            max_probability_difference=0.0,
            max_heatmap_difference=0.0,
            max_pam_difference=0.0,
            device="cpu",
        ),
    )


@pytest.fixture
def mean_engine() -> MeanEngine:
    return MeanEngine()


@pytest.fixture
def photograph() -> Callable[[int], bytes]:
    """Encodes a small picture of one grey level."""
    return lambda level: cv2.imencode(".png", np.full((12, 16, 3), level, dtype=np.uint8))[1].tobytes()


@pytest.fixture
def options() -> Callable[..., FetchOptions]:
    """Fetch options with small numbers; keyword arguments replace them."""
    defaults = {"size_px": SIZE_PX, "limits": ImageLimits(), "batch_size": 4, "concurrency": 4, "timeout_s": 5.0}
    return lambda **changed: FetchOptions(**defaults | changed)


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    """Writes a plan over all objects of a store, without a planner."""

    def make(output: Store, source: Store, run_id: str = "r1", shard_rows: int = 3) -> Plan:
        listed = pa.Table.from_pylist([vars(info) for info in source.list()], LISTED)
        plan = Plan(
            run_id=run_id,
            fingerprint="f",
            parts="p",
            listed=listed.num_rows,
            skipped=0,
            shard_rows=shard_rows,
            created_at=NOW,
        )
        for shard in range(plan.num_shards):
            sink = pa.BufferOutputStream()
            pq.write_table(listed.slice(shard * shard_rows, shard_rows), sink)
            output.put(plan.part_key(shard), sink.getvalue().to_pybytes())
        output.put(plan_key(run_id), plan.model_dump_json().encode())
        return plan

    return make


@pytest.fixture
def score_here(options) -> Callable[..., list[pa.Table]]:
    """Fetches, decodes and predicts one chunk without Ray; gives the tables that the committer takes."""

    def score(output: Store, source: Store, plan: Plan, shard: int, engine=None) -> list[pa.Table]:
        predict = Predict(
            lambda _threads: engine or MeanEngine(),
            TagForm(classes=ACTIONS, heatmap_hw=(2, 2)),
            Lineage(model="people", version=7, engine="cafe", run_id=plan.run_id),
        )
        chunk = pa.table({"shard": [shard], "start": [0], "stop": [plan.rows_of(shard)]})
        return [predict(table) for table in load_chunk(chunk, source, output, plan, options())]

    return score
