"""The overlay of ``lga look``: photograph, where the person is, what spoke for the label, side by side as one PNG.

Shape suffixes: H W = pixels or cells, C = red, green, blue.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lga_model.images import DecodedImage

PANEL_PX = 384
"""Longer side of the photograph in each panel."""

_GAP_PX = 10
_LINE_PX = 22
_PAPER, _INK, _SOFT = (247, 247, 244), (27, 30, 36), (91, 98, 112)

# Colour at the least and at the most, and the opacity at the most: the same as on the pages of `lga report`.
_PERSON = ((0, 150, 170), (0, 225, 215), 0.7)
_EVIDENCE = ((255, 90, 0), (255, 232, 60), 0.85)
_Colours = tuple[tuple[int, int, int], tuple[int, int, int], float]


def overlay(
    image: DecodedImage,
    heatmap_HW: NDArray[np.float32] | None,
    pam_HW: NDArray[np.float32],
    lines: Sequence[str],
) -> bytes:
    """Draw one photograph.

    Args:
        image: Decoded to a square of any size.
        heatmap_HW: Location heatmap in [0, 1], or None.
        pam_HW: Predicting activation map, any range.
        lines: Text below the pictures, the first one in bold ink.

    Returns:
        A PNG file.
    """
    scale = PANEL_PX / max(image.width_px, image.height_px)
    size = max(1, round(image.width_px * scale)), max(1, round(image.height_px * scale))
    photograph = Image.fromarray(image.pixels_HWC).resize(size, Image.Resampling.LANCZOS)
    panels = [("photograph", photograph)]
    if heatmap_HW is not None:
        panels.append(("person", _over(photograph, heatmap_HW, _PERSON)))
    highest = float(pam_HW.max())
    evidence_HW = pam_HW / highest if highest > 0 else np.zeros_like(pam_HW)
    panels.append(("evidence", _over(photograph, evidence_HW, _EVIDENCE)))
    return _png(_sheet(panels, lines))


def _over(photograph: Image.Image, map_HW: NDArray[np.float32], colours: _Colours) -> Image.Image:
    """Lay a map over the photograph, smooth between its cells."""
    share_HW = np.clip(map_HW, 0, 1).astype(np.float32)
    smooth = Image.fromarray(share_HW).resize(photograph.size, Image.Resampling.BICUBIC)
    share_HW1 = np.clip(np.asarray(smooth), 0, 1)[:, :, None]
    low, high, opacity = colours
    colour_HWC = np.array(low) + (np.array(high) - np.array(low)) * share_HW1
    mixed_HWC = np.asarray(photograph) * (1 - opacity * share_HW1) + colour_HWC * opacity * share_HW1
    return Image.fromarray(np.round(mixed_HWC).astype(np.uint8))


def _sheet(panels: Sequence[tuple[str, Image.Image]], lines: Sequence[str]) -> Image.Image:
    width, height = panels[0][1].size
    step = width + _GAP_PX
    text_px = _LINE_PX * (len(lines) + 1)
    small, large = ImageFont.load_default(13), ImageFont.load_default(17)
    # A narrow photograph may have wide words below it.
    widest_px = max((math.ceil(large.getlength(line)) for line in lines), default=0)
    size = max(step * len(panels), widest_px + _GAP_PX) + _GAP_PX, 2 * _GAP_PX + height + text_px
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (name, picture) in enumerate(panels):
        left = _GAP_PX + step * number
        sheet.paste(picture, (left, _GAP_PX))
        draw.text((left, _GAP_PX + height + 3), name, fill=_SOFT, font=small)
    for number, line in enumerate(lines):
        first = number == 0
        place = (_GAP_PX, _GAP_PX + height + _LINE_PX * (number + 1))
        draw.text(place, line, fill=_INK if first else _SOFT, font=large if first else small)
    return sheet


def _png(sheet: Image.Image) -> bytes:
    sink = io.BytesIO()
    sheet.save(sink, "PNG", compress_level=4)  # The best compression would take longer than the model.
    return sink.getvalue()
