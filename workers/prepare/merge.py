"""Corrected labels into a manifest: what changes, what is new, and what contradicts itself. Decides from rows alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from lga_model.annotations import Annotation


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """One image with two labels, or in two splits, in one and the same file."""

    image: str
    said: tuple[str, ...]
    """The labels or the splits."""

    def __str__(self) -> str:
        return f"{self.image} is {' and '.join(self.said)}"


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A new manifest, and how it came about."""

    annotations: tuple[Annotation, ...]
    """Rows of the old manifest in their order, then the new images."""
    corrected: tuple[Conflict, ...]
    """Images whose label changed: the old one, then the new one."""
    added: tuple[str, ...]
    duplicates: tuple[str, ...]
    """Images that a file names more than once, with the same label and split; one row is kept."""
    conflicts: tuple[Conflict, ...]
    """Images that a file names with different labels or splits; only a person knows which is right."""


def merge(base: Sequence[Annotation], labels: Sequence[Annotation]) -> Merged:
    """Put corrected labels in the place of old ones, and new images behind them.

    A label decides the action, or that nobody is there. The split stays the old row's, so that no image moves from the
    test split to training; boxes, size and keypoints stay as well, unless the label has boxes or shows nobody. Boxes
    bring the size that they were drawn in, and keypoints of another size go.

    Args:
        base: The manifest so far, images under their full names.
        labels: The corrected labels, likewise.
    """
    old, twice_before, at_odds_before = _by_image(base)
    new, twice, at_odds = _by_image(labels)
    corrected, rows = [], []
    for image, row in old.items():
        label = new.get(image)
        if label is not None and label.label != row.label:
            corrected.append(Conflict(image=image, said=(row.label, label.label)))
        rows.append(row if label is None else _corrected(row, label))
    added = [row for image, row in new.items() if image not in old]
    return Merged(
        annotations=(*rows, *added),
        corrected=tuple(corrected),
        added=tuple(row.image for row in added),
        duplicates=(*twice_before, *twice),
        conflicts=(*at_odds_before, *at_odds),
    )


def _corrected(row: Annotation, label: Annotation) -> Annotation:
    said = dataclasses.replace(row, action=label.action, nobody=label.nobody)
    if label.nobody:
        return dataclasses.replace(said, boxes=())
    if not label.boxes:
        return said
    same_size = (row.width, row.height) == (label.width, label.height)
    return dataclasses.replace(
        said,
        boxes=label.boxes,
        width=label.width,
        height=label.height,
        keypoints=row.keypoints if same_size else label.keypoints,
    )


def _by_image(rows: Sequence[Annotation]) -> tuple[dict[str, Annotation], list[str], list[Conflict]]:
    """The first row of each image, the images that have several, and those whose rows disagree."""
    found: dict[str, list[Annotation]] = {}
    for row in rows:
        found.setdefault(row.image, []).append(row)
    twice, at_odds = [], []
    for image, each in found.items():
        labels, splits = (
            tuple(dict.fromkeys(row.label for row in each)),
            tuple(dict.fromkeys(row.split for row in each)),
        )
        if len(labels) > 1 or len(splits) > 1:
            at_odds.append(Conflict(image=image, said=labels if len(labels) > 1 else splits))
        elif len(each) > 1:
            twice.append(image)
    return {image: each[0] for image, each in found.items()}, twice, at_odds
