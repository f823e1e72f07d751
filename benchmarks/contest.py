"""What bulk tagging is measured with: photographs that are made, and networks that tell them apart."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lga_model.calibration import Calibration
from lga_model.checkpoint import ModelRecord, save_model
from lga_model.config import FAST, ImageConfig, ModelConfig
from lga_model.images import PREPROCESSING, decode_image
from lga_model.network import LGANet, build_network
from workers.compile.build import assemble_engine, load_source, write_record
from workers.engines import Parity, targets_for
from workers.registry import Registry
from workers.settings.shared import EnginePrecision, Target

WIDTH, HEIGHT, CLASSES = 1280, 960, 8


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is scored with what."""

    name: str
    backbone: str
    size_px: int
    channels: int
    images: int
    """Enough for the steady state to outweigh the start of every system."""


JOBS = (
    Job(name="decode-bound", backbone="mobilenetv3_small_050", size_px=224, channels=64, images=10_000),
    Job(name="model-bound", backbone="resnet50", size_px=448, channels=256, images=1024),
)
PRECISIONS: tuple[EnginePrecision, ...] = ("fp32", "int8")
"""A version of the model for each: of one that has engines of both, the lighter is taken."""
CALIBRATION_IMAGES = 32
DISTINCT = 64
"""Photographs that are made; the objects of a bucket are copies of these, under names of their own."""

_UNPROVEN = Parity(
    images=1, top1_agreement=1.0, max_probability_difference=0.0, max_heatmap_difference=0.0, max_pam_difference=0.0,
    device="cpu",
)  # fmt: skip
"""The agreement of the labels is measured here, on every run."""


def photograph(number: int) -> bytes:
    """A JPEG with the detail and the size in bytes of a photograph, in one of eight tints."""
    random = np.random.default_rng(number)
    layers = [
        cv2.resize(random.normal(0, strength, (HEIGHT // scale + 1, WIDTH // scale + 1)), (WIDTH, HEIGHT))[..., None]
        for scale, strength in ((3, 26), (12, 16), (48, 6))
    ]
    hue = np.array([[[number % CLASSES * 180 // CLASSES, 200, 190]]], np.uint8)
    tint = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR).astype(np.float64)
    pixels = np.clip(0.6 * tint + 50 + sum(layers), 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def make_model(
    job: Job,
    photographs: list[bytes],
    registry: Registry,
    folder: Path,
    precisions: tuple[EnginePrecision, ...] = PRECISIONS,
) -> Path:
    """A network of random weights whose classifier tells the tints apart; with all engines that there are here."""
    torch.manual_seed(0)
    config = ModelConfig(
        backbone=job.backbone, classes=tuple(f"tint {number}" for number in range(CLASSES)),
        image=ImageConfig(size_px=job.size_px), action_channels=job.channels,
        localisation_channels=(job.channels // 2, 16, 1),
    )  # fmt: skip
    network = build_network(config).eval()
    _fit_classifier(network, [pixels for data in photographs for pixels in shrunk(data, job.size_px)])
    record = ModelRecord(config=config, recipe=FAST, calibration=Calibration.none(), preprocessing=PREPROCESSING)
    bundle = folder / job.name
    save_model(bundle, network, record)
    for name in ("metrics.json", "training.json"):
        (bundle / name).write_text("{}")
    images = np.stack([decode_image(data, job.size_px).pixels_HWC for data in photographs[:CALIBRATION_IMAGES]])
    for precision in precisions:
        version = registry.publish(job.name, bundle)
        source = load_source(version, registry.fetch(version))
        ingredients = source.ingredients(precision, lambda: [images])
        for target in engines(precision):
            engine = folder / f"{job.name}-{target}-{precision}"
            engine.mkdir()
            made = assemble_engine(source, target, ingredients, engine)
            write_record(made.model_copy(update={"parity": _UNPROVEN}), engine)
            registry.add_engine(version, engine)
    return bundle


def shrunk(data: bytes, size_px: int) -> list[NDArray[np.uint8]]:
    """A photograph by our filter and by those of other systems."""
    image = Image.open(io.BytesIO(data))
    size = (size_px, size_px)
    plain = [np.asarray(image.resize(size, how)) for how in (Image.Resampling.BICUBIC, Image.Resampling.NEAREST)]
    return [decode_image(data, size_px).pixels_HWC, *plain]


def _fit_classifier(network: LGANet, images: list[NDArray[np.uint8]]) -> None:
    """Ridge regression of the tints on the pooled features: as wide a margin as they allow.

    Other systems shrink with other filters; what is compared is speed, and no label shall hang on a filter.
    """
    with torch.no_grad():
        features = torch.cat(
            [network(torch.tensor(image[None])).features_BKHW.mean(dim=(2, 3)) for image in images]
        ).double()
        ways = len(images) // DISTINCT
        tints = [number // ways % CLASSES for number in range(len(images))]
        wanted = torch.eye(CLASSES, dtype=torch.float64)[tints]
        centre, apart = features.mean(dim=0), features - features.mean(dim=0)
        gram = apart.T @ apart
        ridge = 1e-3 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
        weights = 20 * torch.linalg.solve(gram + ridge, apart.T @ (wanted - 1 / CLASSES)).T
        network.action.classifier.weight.copy_(weights)
        network.action.classifier.bias.copy_(-weights @ centre)


def engines(precision: EnginePrecision) -> list[Target]:
    """Targets that compute in a precision on this machine's CPU."""
    return [target for target in targets_for(precision) if not target.startswith("tensorrt")]
