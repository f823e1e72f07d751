"""Photographs for a page: read many at once, decoded by the one hardened decoder, made small.

Shape suffixes: H W = pixels, C = red, green, blue.
"""

from __future__ import annotations

import base64
import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lga_model.images import DecodedImage, ImageError, decode_image
from workers.errors import StorageError
from workers.storage import Blob

THUMBNAIL_PX = 240
"""Longer side of a photograph on a page."""

_READERS = 16
_QUALITY = 72
_GIVE_UP = 24
"""So many failures in a row, from the first photograph on, mean that the store cannot be reached at all."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A photograph as read, or why it could not be."""

    image: DecodedImage | None = None
    size_bytes: int = 0
    token: str = ""
    """Of the content that was read; for an S3 object its etag."""
    trouble: str = ""


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A small WebP image, as the page embeds it."""

    data_uri: str
    width_px: int
    height_px: int


def read_pictures(names: Sequence[str], get: Callable[[str], Blob], size_px: int) -> Iterator[Picture]:
    """Read photographs, many at once, in their order. Nothing is raised for a single one.

    Args:
        names: What ``get`` takes.
        get: Reads one object, raising ``StorageError``.
        size_px: Side of the square that they are decoded to.
    """
    failures = 0
    with ThreadPoolExecutor(_READERS) as pool:
        ahead: deque[Future[Picture]] = deque()
        waiting = iter(names)
        try:
            for _ in range(2 * _READERS):
                _submit_next(pool, ahead, waiting, get, size_px)
            while ahead:
                picture = ahead.popleft().result()
                failures = failures + 1 if picture.trouble and failures >= 0 else -1
                yield picture
                if failures >= _GIVE_UP:
                    yield from (Picture(trouble=f"not tried: {picture.trouble}") for _ in [*ahead, *waiting])
                    return
                _submit_next(pool, ahead, waiting, get, size_px)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def thumbnail(image: DecodedImage) -> Thumbnail:
    """A decoded photograph in its own proportions again, its longer side at most ``THUMBNAIL_PX``."""
    scale = min(THUMBNAIL_PX, max(image.pixels_HWC.shape)) / max(image.width_px, image.height_px)
    width = max(1, round(image.width_px * scale))
    height = max(1, round(image.height_px * scale))
    small = Image.fromarray(image.pixels_HWC).resize((width, height), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    small.save(sink, "WEBP", quality=_QUALITY, method=4)
    data_uri = "data:image/webp;base64," + base64.b64encode(sink.getvalue()).decode()
    return Thumbnail(data_uri=data_uri, width_px=width, height_px=height)


def byte_map(values_HW: NDArray[np.floating], highest: float) -> NDArray[np.uint8]:
    """A map in [0, highest] as bytes, 255 for ``highest``; what lies outside is cut off."""
    if highest <= 0:
        return np.zeros(values_HW.shape, np.uint8)
    cells_HW: NDArray[np.uint8] = np.round(np.clip(values_HW / highest, 0, 1) * 255).astype(np.uint8)
    return cells_HW


def _submit_next(
    pool: ThreadPoolExecutor,
    ahead: deque[Future[Picture]],
    waiting: Iterator[str],
    get: Callable[[str], Blob],
    size_px: int,
) -> None:
    name = next(waiting, None)
    if name is not None:
        ahead.append(pool.submit(_read, name, get, size_px))


def _read(name: str, get: Callable[[str], Blob], size_px: int) -> Picture:
    try:
        blob = get(name)
        image = decode_image(blob.data, size_px)
    except StorageError as error:
        return Picture(trouble=error.reason)
    except ImageError as error:
        return Picture(trouble=str(error))
    return Picture(image=image, size_bytes=len(blob.data), token=blob.token.strip('"'))
