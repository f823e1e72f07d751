"""Parts of photographs that show nobody: what a heatmap has to stay silent on.

Data sets of actions hold no photograph without people, but every photograph holds background. The largest part
outside all of its boxes, as a photograph of its own, teaches the heatmap silence and measures how well it keeps it.

Only as good as the boxes: where a data set boxes the acting person alone, a part may show a bystander.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lga_model.images import ImageLimits, Pixels, check_size, decode_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lga_model.annotations import Box

_MARGIN = 0.05
"""Boxes grow by this share of their sides before anything beside them counts as empty: hands stick out."""
_SMALLEST = 0.25
"""A window is at least this share of the photograph's width and of its height: it bounds what is decoded for it."""
_LONGEST = 2.0
"""A window is at most this many times as long as it is wide."""
_MOST_BOXES = 50
"""A crowd leaves no window worth the search."""


def empty_window(boxes: Sequence[Box], width: int, height: int) -> Box | None:
    """Find the largest part of a photograph outside all boxes.

    Args:
        boxes: ``(x0, y0, x1, y1)`` in pixels. Without any, nothing is known about who is where.
        width: Of the photograph, in pixels.
        height: Of the photograph, in pixels.

    Returns:
        The part in pixels, or None when every part is too small or the photograph has no boxes.
    """
    if not 0 < len(boxes) <= _MOST_BOXES:
        return None
    windows = {(0.0, 0.0, float(width), float(height))}
    for box in boxes:
        x_margin, y_margin = _MARGIN * (box[2] - box[0]), _MARGIN * (box[3] - box[1])
        grown = (box[0] - x_margin, box[1] - y_margin, box[2] + x_margin, box[3] + y_margin)
        windows = {part for window in windows for part in _beside(window, grown) if _is_large(part, width, height)}
    # The same photograph gives the same window: of two equal ones the first by its corner.
    return max(
        (trimmed for window in windows if _is_large(trimmed := _trimmed(window), width, height)),
        key=lambda window: (_area(window), window),
        default=None,
    )


def decode_window(
    data: bytes, size_px: int, window: Box, width: int, height: int, limits: ImageLimits | None = None
) -> Pixels:
    """Decode one part of a photograph as if it were a photograph of its own.

    Args:
        data: The encoded file.
        size_px: Side of the square that the part is squeezed to.
        window: The part, in pixels of the upright photograph.
        width: Of that photograph, in pixels.
        height: Of that photograph, in pixels.
        limits: As for ``decode_image``.

    Returns:
        ``[size_px, size_px, 3]``, RGB uint8.

    Raises:
        ImageError: As ``decode_image``.
        SizeError: If the photograph has other sides.
    """
    x0, y0, x1, y1 = window[0] / width, window[1] / height, window[2] / width, window[3] / height
    # Large enough that the part keeps the sharpness it has: a blurred background would give itself away.
    side_px = math.ceil(size_px / min(x1 - x0, y1 - y0))
    whole = decode_image(data, side_px, limits)
    check_size(whole, width, height)
    whole_HWC = whole.pixels_HWC
    rows, columns = slice(int(y0 * side_px), math.ceil(y1 * side_px)), slice(int(x0 * side_px), math.ceil(x1 * side_px))
    part_HWC = cv2.resize(whole_HWC[rows, columns], (size_px, size_px), interpolation=cv2.INTER_AREA)
    return np.asarray(part_HWC, dtype=np.uint8)


def _beside(window: Box, box: Box) -> Iterator[Box]:
    """The largest parts of a window to the left, to the right, above and below a box; all of it when they miss."""
    left, top, right, bottom = window
    x0, y0, x1, y1 = box
    if x1 <= left or x0 >= right or y1 <= top or y0 >= bottom:
        yield window
        return
    if x0 > left:
        yield left, top, x0, bottom
    if x1 < right:
        yield x1, top, right, bottom
    if y0 > top:
        yield left, top, right, y0
    if y1 < bottom:
        yield left, y1, right, bottom


def _is_large(window: Box, width: int, height: int) -> bool:
    return window[2] - window[0] >= _SMALLEST * width and window[3] - window[1] >= _SMALLEST * height


def _trimmed(window: Box) -> Box:
    """The middle of a window that is too long: squeezed to a square it would look like no photograph."""
    x0, y0, x1, y1 = window
    x_spare = max(0.0, (x1 - x0) - _LONGEST * (y1 - y0)) / 2
    y_spare = max(0.0, (y1 - y0) - _LONGEST * (x1 - x0)) / 2
    return x0 + x_spare, y0 + y_spare, x1 - x_spare, y1 - y_spare


def _area(window: Box) -> float:
    return (window[2] - window[0]) * (window[3] - window[1])
