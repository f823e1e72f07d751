"""Images for each CPU second, from JPEG bytes to the network's 448 x 448 pixels: ours against a plain Pillow decode.

The plain decode is what Ray's ``read_images(size=...)`` and most data loaders do: all pixels first, then one bilinear
resize. Rounds are interleaved, the figure is the median over the rounds, time is the CPU time of this process.
"""

from __future__ import annotations

import io
import statistics
import time

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from lga_model.images import decode_image

SIZE_PX = 448
SOURCES = ((500, 375), (1280, 960), (1920, 1080), (4000, 3000))
ROUNDS = 7
PIXELS_PER_ROUND = 30e6


def photograph(width: int, height: int) -> bytes:
    """A JPEG with the detail and the size in bytes of a photograph: blurred noise in several scales."""
    rng = np.random.default_rng(0)
    layers = [
        cv2.resize(rng.normal(0, 40, (height // scale + 1, width // scale + 1, 3)), (width, height))
        for scale in (3, 12, 48)
    ]
    pixels = np.clip(128 + sum(layers), 0, 255).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=88)
    return sink.getvalue()


def plain(data: bytes) -> np.ndarray:
    """Decode all pixels, then resize."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR))


def ours(data: bytes) -> np.ndarray:
    """The project's own decoding."""
    return decode_image(data, SIZE_PX).pixels_HWC


def main() -> None:
    """Measure and print the table."""
    cv2.setNumThreads(1)
    table = Table(title=f"decoding to {SIZE_PX} x {SIZE_PX}, images for each CPU second")
    for column in ("source", "bytes", "plain Pillow", "ours", "ratio", "mean difference"):
        table.add_column(column, justify="right")
    for width, height in SOURCES:
        data = photograph(width, height)
        count = max(1, round(PIXELS_PER_ROUND / (width * height)))
        difference = np.abs(ours(data).astype(int) - plain(data)).mean()
        rates: dict[str, list[float]] = {"plain": [], "ours": []}
        for _ in range(ROUNDS):
            for name, decode in (("plain", plain), ("ours", ours)):
                begun = time.process_time()
                for _ in range(count):
                    decode(data)
                rates[name].append(count / (time.process_time() - begun))
        before, after = statistics.median(rates["plain"]), statistics.median(rates["ours"])
        row = (f"{width}x{height}", f"{len(data)}", f"{before:.0f}", f"{after:.0f}", f"{after / before:.1f}")
        table.add_row(*row, f"{difference:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
