"""The photographs that prove an engine, and those that show int8 its ranges."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lga_model.annotations import Annotation, Manifest, Split
from workers.compile.build import Source
from workers.engines import EngineRecord
from workers.errors import SettingsError
from workers.logs import get_log
from workers.manifest import Batch, load_manifest, read_batches
from workers.registry import TRAINING_FILE
from workers.settings import CompileSettings

_BATCH = 16


class Photographs:
    """Those of the manifest that the settings name, or else of the one that the model was trained on.

    Those that cannot be used are left out and counted: a training may have skipped them as well.
    """

    def __init__(self, source: Source, settings: CompileSettings) -> None:
        self._source, self._settings = source, settings

    def to_prove(self, record: EngineRecord) -> Generator[Batch]:
        """Validation photographs with their annotations, in batches that take every path through the engine.

        An engine for GPUs has one for the batch that it is tuned for and one for other numbers: a batch is one image
        more than it has on its way at once. Where there are not enough photographs for one, they come repeatedly.

        Raises:
            SettingsError: If there are none, or none can be used.
        """
        count = self._settings.parity_images
        if record.gpu is None:
            return self._read(spread(self._rows("val"), count))
        whole = record.gpu.batch * record.gpu.contexts + 1
        return _rebatched(self._read(spread(self._rows("val"), max(count, whole))), whole)

    def to_calibrate(self) -> Iterator[NDArray[np.uint8]]:
        """Training photographs: those of the proof may not have tuned what they prove.

        Raises:
            SettingsError: If there are none, or none can be used.
        """
        with closing(self._read(spread(self._rows("train"), self._settings.calibration_images))) as batches:
            yield from (images_BHWC for _, images_BHWC in batches)

    def _read(self, rows: Sequence[Annotation]) -> Generator[Batch]:
        left_out: list[str] = []
        size_px = self._source.record.config.image.size_px
        with closing(read_batches(rows, size_px, _BATCH, left_out=left_out)) as batches:
            yield from batches
        if len(left_out) == len(rows):
            raise SettingsError(f"not one of {len(rows)} photographs of {self._uri} can be used; {left_out[0]}")
        if left_out:
            get_log().warning(
                "compile.photographs_skipped", images=len(left_out), used=len(rows) - len(left_out), first=left_out[0]
            )

    def _rows(self, split: Split) -> Sequence[Annotation]:
        rows = self._manifest.split(split)
        if not rows:
            name = "validation" if split == "val" else "training"
            raise SettingsError(
                f"{self._uri} has no {name} photographs to prove the engine on; give another --manifest"
            )
        return rows

    @cached_property
    def _manifest(self) -> Manifest:
        return load_manifest(self._uri)

    @cached_property
    def _uri(self) -> str:
        if self._settings.manifest is not None:
            return self._settings.manifest
        source = self._source
        try:
            return str(json.loads((source.bundle / TRAINING_FILE).read_bytes())["manifest"]["uri"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{source.version} does not say what it was trained on; give --manifest") from error


def _rebatched(batches: Generator[Batch], size: int) -> Generator[Batch]:
    """The same photographs in batches of ``size``; the last is smaller, unless it is the only one."""
    rows: list[Annotation] = []
    pixels: list[NDArray[np.uint8]] = []
    whole = False
    with closing(batches):
        for more, images_BHWC in batches:
            rows += more
            pixels += list(images_BHWC)
            while len(rows) >= size:
                yield rows[:size], np.stack(pixels[:size])
                rows, pixels, whole = rows[size:], pixels[size:], True
    if rows and not whole:
        order = [place % len(rows) for place in range(size)]
        rows, pixels = [rows[place] for place in order], [pixels[place] for place in order]
    if rows:
        yield rows, np.stack(pixels)


def spread(rows: Sequence[Annotation], count: int) -> list[Annotation]:
    """Some rows, evenly from all over a split: manifests are often sorted by action."""
    count = min(count, len(rows))
    return [rows[index * len(rows) // count] for index in range(count)]
