"""A model so small that everything around it can be tested in seconds, and photographs for it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch

from lga_model.annotations import Annotation, write_manifest
from lga_model.calibration import Calibration
from lga_model.checkpoint import ModelRecord, save_model
from lga_model.config import FAST, ImageConfig, ModelConfig
from lga_model.images import PREPROCESSING
from lga_model.network import build_network
from workers.compile.build import Source, assemble_engine, load_source, write_record
from workers.engines import EngineRecord, Parity
from workers.engines.ingredients import Ingredients
from workers.registry import Version
from workers.tags import ShardName, TagForm, tag_schema, write_shard

ACTIONS = ("climbing", "cooking", "running")
SCORED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SPLITS = ("train", "val", "val", "test", "test", "test")
PROVEN = Parity(
    images=4,
    top1_agreement=1.0,
    max_probability_difference=0.0,
    max_heatmap_difference=0.0,
    max_pam_difference=0.0,
    device="cpu",
)

MakeBundle = Callable[..., Path]


def write_bundle(
    folder: Path,
    *,
    seed: int = 0,
    localisation: bool = True,
    manifest: Path | None = None,
    classes: tuple[str, ...] = ACTIONS,
) -> Path:
    """A bundle as `lga train` leaves it: random weights, three actions, 64 pixels."""
    torch.manual_seed(seed)
    config = ModelConfig(
        backbone="test_resnet",
        classes=classes,
        image=ImageConfig(size_px=64),
        localisation=localisation,
        output_stride=16,
        action_channels=16,
        localisation_channels=(8, 1),
    )
    network = build_network(config)
    with torch.no_grad():
        # As large as after a training: logits of random heads are all but equal, and so is every engine.
        network.action.classifier.weight.mul_(100)
        # timm starts every residual branch with a factor of 0: its weights would change nothing, however wrong.
        for name, weight in network.named_parameters():
            if name.endswith(("bn2.weight", "bn3.weight")):
                weight.fill_(1)
    calibration = Calibration(
        temperature=1.5,
        conformal_threshold=0.9,
        coverage=0.9,
        accept_confidence=0.8,
        precision=0.95,
        person_peak_min=0.1 if localisation else None,
    )
    record = ModelRecord(config=config, recipe=FAST, calibration=calibration, preprocessing=PREPROCESSING)
    save_model(folder, network, record)
    (folder / "metrics.json").write_text(json.dumps({"validation": {"map": 0.75, "top1": 0.5, "focus": None}}))
    lineage = {"manifest": {"uri": str(manifest), "digest": "d"}} if manifest else {"note": "made by hand"}
    (folder / "training.json").write_text(json.dumps(lineage))
    return folder


@pytest.fixture
def make_bundle(tmp_path) -> MakeBundle:
    """Writes bundles on request; keyword arguments as ``write_bundle``."""
    numbers = iter(range(1000))
    return lambda **settings: write_bundle(tmp_path / f"bundle-{next(numbers)}", **settings)


@pytest.fixture(scope="session")
def photo_manifest(tmp_path_factory) -> Path:
    """A manifest of 18 photographs, three actions, all splits; the image paths are relative to it."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    rows = []
    for action in ACTIONS:
        for number, split in enumerate(SPLITS):
            coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            image = f"{action}_{number}.jpg"
            cv2.imwrite(str(folder / image), cv2.resize(coarse, (96, 72)))
            boxes = ((10.0, 8.0, 50.0, 60.0),) if number % 2 else ()
            rows.append(Annotation(image=image, action=action, split=split, boxes=boxes, width=96, height=72))
    (folder / "manifest.jsonl").write_bytes(write_manifest(rows, "jsonl"))
    return folder / "manifest.jsonl"


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory) -> Source:
    """A loaded model."""
    bundle = write_bundle(tmp_path_factory.mktemp("source"))
    return load_source(Version(name="tiny", number=1, uri=str(bundle)), bundle)


@pytest.fixture(scope="session")
def tiny_ingredients(tiny_source) -> Ingredients:
    """What engines of that model are built from in fp32, exported once; ``varied`` gives others."""
    return tiny_source.ingredients("fp32")


@pytest.fixture(scope="session")
def onnxruntime_engine(tmp_path_factory, tiny_source, tiny_ingredients) -> Path:
    """A folder with a good engine of that model on onnxruntime. Not to be changed."""
    return proven_engine(tiny_source, "onnxruntime", tiny_ingredients, tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="session")
def openvino_engine(tmp_path_factory, tiny_source, tiny_ingredients) -> Path:
    """A folder with a good engine of that model on OpenVINO. Not to be changed."""
    pytest.importorskip("openvino", reason="needs the extra [openvino]")
    return proven_engine(tiny_source, "openvino", tiny_ingredients, tmp_path_factory.mktemp("engine"))


@pytest.fixture
def torch_engine(tmp_path, tiny_source, tiny_ingredients) -> Path:
    """A folder with a good engine of that model on PyTorch, made in a moment; change it at will."""
    folder = tmp_path / "torch-engine"
    folder.mkdir()
    return proven_engine(tiny_source, "torch", tiny_ingredients, folder)


def proven_engine(source: Source, target: str, ingredients: Ingredients, folder: Path) -> Path:
    record: EngineRecord = assemble_engine(source, target, ingredients, folder)
    write_record(record.model_copy(update={"parity": PROVEN}), folder)
    return folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    """The cache of fetched models lies in the test's own folder."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.fixture
def put_shard() -> Callable[..., None]:
    """Writes a shard of good rows, all with the label of the first class."""

    def put(
        output,
        run_id: str,
        keys: list[str],
        scored_at=SCORED_AT,
        classes=("dark", "bright"),
        index=0,
        namespace="s3://b",
    ) -> None:
        schema = tag_schema(TagForm(classes=classes, heatmap_hw=(1, len(classes))), {"namespace": namespace})
        rows = [
            {
                "key": key,
                "status": "ok",
                "label": classes[0],
                "scores": [0.5] * len(classes),
                "heatmap": [255] * len(classes),
                "top_labels": list(classes),
                "run_id": run_id,
                "scored_at": scored_at,
            }
            for key in keys
        ]
        write_shard(output, ShardName(run_id=run_id, index=index), pa.Table.from_pylist(rows, schema))

    return put
