"""What goes into an engine and what comes out: checked against its record, once at opening and for each batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lga_model.config import ModelConfig
from workers.engines.output import EngineOutput
from workers.engines.record import EngineError, EngineRecord, TensorSpec


def signature(
    config: ModelConfig, heatmap_hw: tuple[int, int]
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of every engine of a model, in their order."""
    size_px = config.image.size_px
    inputs = (TensorSpec(name="images", dtype="uint8", shape=(None, size_px, size_px, 3)),)
    outputs = [TensorSpec(name="probabilities", dtype="float32", shape=(None, len(config.classes)))]
    if config.has_heatmap:
        outputs.append(TensorSpec(name="heatmap", dtype="float32", shape=(None, *heatmap_hw)))
    outputs.append(TensorSpec(name="pam", dtype="float32", shape=(None, *heatmap_hw)))
    return inputs, tuple(outputs)


def check_signature(record: EngineRecord, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Compare what a runtime found in an engine with the record.

    Raises:
        EngineError: Names the first tensor that differs.
    """
    for recorded, found in ((record.inputs, tuple(inputs)), (record.outputs, tuple(outputs))):
        if recorded == found:
            continue
        differing = [pair for pair in zip(recorded, found, strict=False) if pair[0] != pair[1]]
        said, is_ = differing[0] if differing else (f"{len(recorded)} tensors", f"{len(found)} tensors")
        raise EngineError(
            f"engine {record.folder} is not what its record says: {is_} instead of {said}; "
            f"rebuild with: {record.rebuild}"
        )


def check_images(record: EngineRecord, images_BHWC: NDArray[np.uint8]) -> None:
    """Refuse a batch that the engine was not made for.

    Raises:
        EngineError: If it is not uint8 ``[B >= 1, size_px, size_px, 3]``.
    """
    expected = (record.size_px, record.size_px, 3)
    if images_BHWC.dtype != np.uint8 or images_BHWC.shape[1:] != expected or not len(images_BHWC):
        raise EngineError(
            f"engine {record.folder} takes uint8 [B, {record.size_px}, {record.size_px}, 3]; "
            f"got {images_BHWC.dtype} {list(images_BHWC.shape)}"
        )


def poisoned_outputs(record: EngineRecord, images: int) -> dict[str, NDArray[np.float32]]:
    """Arrays for a runtime to write a batch's outputs into, full of NaN: what it forgets to write is seen."""
    return {spec.name: np.full((images, *spec.shape[1:]), np.nan, np.float32) for spec in record.outputs}  # type: ignore[arg-type]  # only the batch is free


def as_output(found: Mapping[str, NDArray[np.float32]]) -> EngineOutput:
    """The outputs of an engine, from arrays by name."""
    return EngineOutput(found["probabilities"], found.get("heatmap"), found["pam"])
