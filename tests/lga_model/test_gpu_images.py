"""Decoding as a GPU does it, computed on the CPU: the same pixels as always, up to a level or two."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lga_model.gpu_images import GpuDecoder
from lga_model.images import ImageError, ImageLimits, decode_image

SIZE = 64


def photograph(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Waves in both directions: detail that a wrong filter would lose, corners that differ."""
    x, y = np.meshgrid(np.linspace(0, 9, width), np.linspace(0, 5, height))
    waves = np.stack([np.sin(x) * np.cos(y), np.cos(x + y), np.sin(y) * x / 9], axis=2)
    return Image.fromarray((127 + 120 * waves).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(photograph(300, 200), quality=95, exif=exif)


@pytest.mark.parametrize(
    "data",
    [
        encoded(photograph(300, 200), quality=95),
        encoded(photograph(301, 97), quality=90, progressive=True),
        encoded(photograph(40, 30), quality=95),
        encoded(photograph(300, 50), quality=95),
        encoded(photograph(300, 200, "L"), quality=95),
        *(oriented(number) for number in range(1, 9)),
    ],
)
def test_a_jpeg_becomes_the_same_square(data):
    """
    Larger and smaller than the square, progressive, grey, turned and mirrored.
    """
    ours, known = GpuDecoder(SIZE, device="cpu").decode(data), decode_image(data, SIZE)
    apart = np.abs(ours.pixels_HWC.astype(int) - known.pixels_HWC.astype(int))

    assert (known.width_px, known.height_px) == (ours.width_px, ours.height_px)
    assert ours.pixels_HWC.flags["C_CONTIGUOUS"]
    assert apart.mean() < 1.5
    assert apart.max() <= 16


@pytest.mark.parametrize(
    "data",
    [
        encoded(photograph(300, 200), "PNG"),
        encoded(photograph(300, 200, "CMYK"), quality=95),
        encoded(photograph(300, 200), "WEBP"),
    ],
    ids=["png", "cmyk", "webp"],
)
def test_what_a_gpu_does_not_read_goes_the_usual_way(data):
    """
    Exactly the pixels of the CPU.
    """
    assert (GpuDecoder(SIZE, device="cpu").decode(data).pixels_HWC == decode_image(data, SIZE).pixels_HWC).all()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        encoded(photograph(300, 200))[:-200],
        b"\xff\xd8\xff" + b"\0" * 100,
        encoded(photograph(3000, 3000)),
    ],
    ids=["empty", "text", "truncated", "broken header", "too large"],
)
def test_what_is_wrong_has_the_same_reason(data):
    """
    A photograph that is cut off is told as such, and not shown half grey.
    """
    limits = ImageLimits(max_pixels=1_000_000)
    with pytest.raises(ImageError) as usual:
        decode_image(data, SIZE, limits)
    with pytest.raises(ImageError) as here:
        GpuDecoder(SIZE, limits, device="cpu").decode(data)

    assert (usual.value.reason, usual.value.detail) == (here.value.reason, here.value.detail)
