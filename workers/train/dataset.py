"""Manifest -> samples: which images are trained and validated on, checked before the first step."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lga_model.annotations import Annotation, Box, Manifest, Split
from lga_model.losses import NOBODY
from lga_model.nobody import empty_window
from workers.errors import SettingsError
from workers.manifest import refuse_bad_rows
from workers.patience import PatientStore
from workers.storage import split_uri

CHECKED_IMAGES = 5000
"""Largest number of images whose presence is checked beforehand: a bigger data set is checked by an even sample."""
_CHECKS_AT_ONCE = 16
NOBODY_VALIDATED = 1000
"""Most images of nobody that are validated on in each epoch: enough to fit one threshold."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image to learn from or to validate on."""

    uri: str
    action: int
    """Index of the class, or ``NOBODY``."""
    boxes_N4: NDArray[np.float32]
    """People as ``[x0, y0, x1, y1]`` in pixels of the image as it was annotated; N may be 0: not known."""
    width: int
    height: int
    """Size of the image as it was annotated."""
    window: Box | None = None
    """The part of the image that is meant, in the same pixels; None for all of it."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """What a run learns from."""

    classes: tuple[str, ...]
    """Actions of the training split, in alphabetical order."""
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    nobody_train: tuple[Sample, ...]
    """What shows nobody: photographs known to, and parts of the others outside every box."""
    nobody_val: tuple[Sample, ...]
    invalid_rows: int
    """Rows of the manifest that were left out, with ``--skip-invalid``."""
    dropped_boxes: int
    """Boxes that are empty or outside of their image."""

    @property
    def shows_where(self) -> bool:
        """Whether anything to learn from tells where people are."""
        return any(len(sample.boxes_N4) for sample in self.train)


def choose_splits(manifest: Manifest, uri: str, *, skip_invalid: bool) -> Splits:
    """Turn a manifest into samples.

    Raises:
        SettingsError: If there are bad rows (unless they may be skipped), nothing to train or to validate on, fewer
            than two actions, or an action to validate that is never trained.
    """
    if not skip_invalid:
        refuse_bad_rows(manifest, uri)
    train, val = manifest.split("train"), manifest.split("val")
    for split, rows, purpose in (("train", train, "learn from"), ("val", val, "choose the best epoch by")):
        if not rows:
            raise SettingsError(f"{uri} has no rows with split {split!r}, so there is nothing to {purpose}; add some")
    classes = tuple(sorted({row.action for row in train}))
    if len(classes) == 1:
        raise SettingsError(f"{uri} trains one action only ({classes[0]!r}); recognising needs at least two")
    if unknown := sorted({row.action for row in val} - set(classes)):
        raise SettingsError(
            f"{uri} validates actions that it does not train: {', '.join(unknown[:5])}; "
            "add training images of them or drop them"
        )
    return Splits(
        classes=classes,
        train=tuple(_sample(row, classes) for row in train),
        val=tuple(_sample(row, classes) for row in val),
        nobody_train=_nobody(manifest, "train"),
        nobody_val=_evenly(_nobody(manifest, "val"), NOBODY_VALIDATED),
        invalid_rows=len(manifest.bad_rows),
        dropped_boxes=len(manifest.problems) - len(manifest.bad_rows),
    )


def check_images(samples: Sequence[Sample], *, skip_invalid: bool, patience_s: float = 0.0) -> None:
    """See whether the images are there, before an epoch finds out.

    Raises:
        SettingsError: If one is missing and may not be skipped.
        StorageError: If the store cannot be asked.
    """
    if skip_invalid:
        return
    chosen = {int(index) for index in np.linspace(0, len(samples) - 1, min(len(samples), CHECKED_IMAGES))}
    with ThreadPoolExecutor(_CHECKS_AT_ONCE) as pool:
        asked = functools.partial(_missing, patience_s=patience_s)
        missing = [uri for uri in pool.map(asked, (samples[index].uri for index in sorted(chosen))) if uri]
    if missing:
        raise SettingsError(
            f"{len(missing)} of {len(chosen)} images are not there, for example {missing[0]}; "
            "is the manifest where it was written? Mend it, or leave them out with --skip-invalid"
        )


def _missing(uri: str, patience_s: float) -> str | None:
    store, name = split_uri(uri)
    return None if PatientStore(store, patience_s).exists(name) else uri


def _sample(row: Annotation, classes: Sequence[str]) -> Sample:
    return Sample(
        uri=row.image,
        action=classes.index(row.action),
        boxes_N4=_boxes(row.boxes),
        width=row.width,
        height=row.height,
    )


def _nobody(manifest: Manifest, split: Split) -> tuple[Sample, ...]:
    empty = ((row, empty_window(row.boxes, row.width, row.height)) for row in manifest.split(split))
    found: list[tuple[Annotation, Box | None]] = [(row, None) for row in manifest.nobody(split)]
    found += [(row, window) for row, window in empty if window is not None]
    return tuple(
        Sample(uri=row.image, action=NOBODY, boxes_N4=_boxes(()), width=row.width, height=row.height, window=window)
        for row, window in found
    )


def _evenly(samples: tuple[Sample, ...], most: int) -> tuple[Sample, ...]:
    """At most so many of them, from the whole range."""
    return tuple(samples[index] for index in np.linspace(0, len(samples) - 1, min(len(samples), most)).astype(int))


def _boxes(boxes: Iterable[Iterable[float]]) -> NDArray[np.float32]:
    return np.array([tuple(box) for box in boxes], dtype=np.float32).reshape(-1, 4)
