"""What the page shows of one photograph, and how the page's script receives it.

Shape suffixes: H W = cells of a map.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workers.report.pictures import Thumbnail

MapKind = Literal["person", "evidence", "activity"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Map:
    """One layer over the photograph."""

    name: str
    """As the page calls it, for example ``person``."""
    kind: MapKind
    """Decides its colour."""
    cells_HW: NDArray[np.uint8]
    """255 is the most."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One photograph."""

    key: str
    label: str
    confidence: float | None
    groups: tuple[str, ...]
    """Why it was chosen; names that the page offers as a filter."""
    focus: float | None = None
    verdict: str | None = None
    truth: str | None = None
    """The right label, where it is known."""
    right: tuple[tuple[str, bool], ...] = ()
    """Of each model of the page its name there (nothing when it is alone), and whether it found the right label."""
    labels: tuple[tuple[str, float], ...] = ()
    """The likeliest ones with their probabilities."""
    facts: tuple[tuple[str, str], ...] = ()
    """More to read in the large view."""
    maps: tuple[Map, ...] = ()
    boxes: tuple[Box, ...] = ()
    """Person boxes ``(x0, y0, x1, y1)`` as shares of width and height."""
    photograph: Thumbnail | None = None
    trouble: str = ""
    """Why there is no photograph."""

    @property
    def page_bytes(self) -> int:
        """What the photograph adds to the page."""
        return 0 if self.photograph is None else len(self.photograph.data_uri)


def without_photographs(cards: Sequence[Card]) -> list[Card]:
    """The same cards, to see how large a page is without any photograph."""
    return [replace(card, photograph=None) for card in cards]


def as_json(card: Card) -> dict[str, Any]:
    """The card as the page's script reads it (``page.js``)."""
    picture = card.photograph
    return {
        "key": card.key,
        "label": card.label,
        "confidence": _rounded(card.confidence),
        "focus": _rounded(card.focus),
        "verdict": card.verdict,
        "truth": card.truth,
        "right": card.right,
        "groups": card.groups,
        "labels": [[name, _rounded(score)] for name, score in card.labels],
        "facts": card.facts,
        "maps": [_map_json(each) for each in card.maps],
        "boxes": [[round(value, 4) for value in box] for box in card.boxes],
        "photograph": None if picture is None else [picture.data_uri, picture.width_px, picture.height_px],
        "trouble": card.trouble,
    }


def _map_json(layer: Map) -> dict[str, Any]:
    height, width = layer.cells_HW.shape
    cells = base64.b64encode(np.ascontiguousarray(layer.cells_HW).tobytes()).decode()
    return {"name": layer.name, "kind": layer.kind, "h": height, "w": width, "cells": cells}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
