"""The golden batch: what an engine said when it was proven, asked again whenever it is opened.

An engine can be the right file for the right runtime and still say something else on another machine: other
instructions, another driver, a broken GPU. The images are computed and not photographs, so nothing of a data set lies
in the registry.
"""

from __future__ import annotations

import base64
import binascii

import numpy as np
from numpy.typing import NDArray

from workers.engines.output import EngineOutput
from workers.engines.record import EngineError, EngineRecord
from workers.settings.shared import EnginePrecision

IMAGES = 2
_TOLERANCE: dict[EnginePrecision, float] = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 5e-2, "int8": 0.1, "fp8": 0.1}
"""Largest difference of one probability or heatmap cell between two machines: sums are added in another order, and what
lies between two steps of eight bits may go up on one and down on the other."""


def golden_images(size_px: int) -> NDArray[np.uint8]:
    """Two coloured patterns of stripes, uint8 ``[2, size_px, size_px, 3]``, the same everywhere."""
    image, y, x, channel = np.ogrid[:IMAGES, :size_px, :size_px, :3]
    stripes_BHWC = (x * (2 + channel) + y * (1 + 3 * image)) * 256 // size_px % 256
    images_BHWC: NDArray[np.uint8] = stripes_BHWC.astype(np.uint8)
    return images_BHWC


def written(output: EngineOutput) -> str:
    """Probabilities and heatmap as they stand in a record: float32, little-endian, base64."""
    return base64.b64encode(_joined(output).tobytes()).decode()


def check_golden(record: EngineRecord, output: EngineOutput) -> None:
    """Compare what an engine says about the golden images with its record.

    Raises:
        EngineError: If it differs by more than the precision explains, or the record holds something else.
    """
    said = _joined(output)
    try:
        expected = np.frombuffer(base64.b64decode(record.golden or "", validate=True), "<f4")
    except (ValueError, binascii.Error):
        expected = np.zeros(0, "<f4")
    if expected.shape != said.shape:
        raise EngineError(f"the golden batch of engine {record.folder} is damaged; rebuild with: {record.rebuild}")
    difference = float(np.abs(said - expected).max())
    if not difference <= _TOLERANCE[record.precision]:  # Not so for NaN either.
        raise EngineError(
            f"engine {record.folder} says on this machine what it did not say when it was proven: its golden batch "
            f"differs by {difference:.2g} (allowed: {_TOLERANCE[record.precision]:g}); rebuild here: {record.rebuild}"
        )


def _joined(output: EngineOutput) -> NDArray[np.float32]:
    parts = [array.ravel() for array in (output.probabilities_BA, output.heatmap_BHW) if array is not None]
    return np.concatenate(parts).astype("<f4")
