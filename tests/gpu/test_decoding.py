"""Decoding on an NVIDIA GPU. Skipped where there is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from lga_model.gpu_images import GpuDecoder
from lga_model.images import DecodedImage, ImageLimits, decode_image
from workers.score.decoder import Decoder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


def photograph() -> bytes:
    """A JPEG of coarse noise."""
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", cv2.resize(coarse, (1280, 960)))[1].tobytes()


def test_a_gpu_decodes_the_same_pixels():
    """
    As the CPU, up to what nvJPEG rounds and shrinks otherwise.
    """
    ours, known = GpuDecoder(224).decode(photograph()), decode_image(photograph(), 224)

    assert np.abs(ours.pixels_HWC.astype(int) - known.pixels_HWC.astype(int)).mean() < 1.5


def test_the_decoder_beside_works_on_the_gpu():
    """
    Many photographs through the process that decodes.
    """
    decoder = Decoder(224, ImageLimits(), "gpu")
    try:
        outcomes = [decoded.outcome for decoded in decoder.decode_all((photograph(), 60.0) for _ in range(8))]
    finally:
        decoder.close()

    assert all(isinstance(outcome, DecodedImage) for outcome in outcomes)
