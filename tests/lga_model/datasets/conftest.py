"""Photographs for data sets made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

WritePhotograph = Callable[[Path], None]


@pytest.fixture
def write_photograph() -> WritePhotograph:
    """Writes a JPEG of 120 x 80 pixels, and the folders above it."""

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.full((80, 120, 3), 128, np.uint8))

    return write
