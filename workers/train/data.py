"""Samples -> batches: read, decode, augment, ahead of the step that needs them.

Each worker reads for itself, and not through Ray Data, whose actors would start anew in each epoch and forget what they
had read: benchmarks/README.md has the figures. What a sample looks like depends on (seed, epoch, place) alone, never on
the number of workers or the timing of threads: one worker and eight see the same batches.

Shape suffixes: B = images of a batch, H W = pixels or cells, C = RGB.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lga_model.annotations import Box
from lga_model.augment import random_matrix, warp_image
from lga_model.config import Augmentation
from lga_model.images import ImageError, ImageLimits, Pixels, SizeError, check_size, decode_image
from lga_model.nobody import decode_window
from lga_model.targets import human_mask
from workers.errors import ObjectMissing, SettingsError
from workers.patience import patiently
from workers.storage import read_uri
from workers.train.dataset import Sample
from workers.train.sampling import Indices

_Loaded = tuple[int, Sample, Pixels, NDArray[np.float32]]
_Key = tuple[str, Box | None]
"""URI of an image, and the part of it that is meant."""
_Load = Callable[[int], _Loaded | None]

_AHEAD = 3
"""Batches under way while one is computed."""
_SUBSTITUTES = 100
"""Unusable images in a row after which the data set itself is wrong."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one step learns from."""

    image_BHWC: Tensor
    """RGB, uint8."""
    action_B: Tensor
    mask_BHW: Tensor
    """Human mask on the cells of the feature map, float32 in [0, 1]."""
    has_boxes_B: Tensor
    index_B: Tensor
    """Number of each image in its split, int64."""
    uris: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(
            image_BHWC=self.image_BHWC.to(device, non_blocking=True),
            action_B=self.action_B.to(device, non_blocking=True),
            mask_BHW=self.mask_BHW.to(device, non_blocking=True),
            has_boxes_B=self.has_boxes_B.to(device, non_blocking=True),
            index_B=self.index_B,
            uris=self.uris,
        )

    def split(self, size: int) -> list[Batch]:
        """The same images in smaller batches; the last may be smaller still."""
        return [
            Batch(
                image_BHWC=self.image_BHWC[start : start + size],
                action_B=self.action_B[start : start + size],
                mask_BHW=self.mask_BHW[start : start + size],
                has_boxes_B=self.has_boxes_B[start : start + size],
                index_B=self.index_B[start : start + size],
                uris=self.uris[start : start + size],
            )
            for start in range(0, len(self.uris), size)
        ]


def patient_reader(patience_s: float) -> Callable[[str], bytes]:
    """Reads the bytes of a URI; storage may be away for so many seconds."""
    return lambda uri: patiently(lambda: read_uri(uri), patience_s)


class UnusableImage(ValueError):
    """An image is missing, cannot be decoded, or is not of the size that its boxes were drawn in."""


class ImageSource:
    """Reads and decodes images, and remembers as many as fit; safe to use from several threads.

    The first images are kept and the others read in each epoch: with a new order in every epoch, throwing out the
    oldest would throw out exactly what comes next.
    """

    def __init__(
        self,
        size_px: int,
        cache_bytes: int,
        limits: ImageLimits | None = None,
        *,
        read: Callable[[str], bytes] = read_uri,
    ) -> None:
        """Args: cache_bytes: Memory for decoded images, 0 for none. read: Gives the bytes of a URI."""
        self._read = read
        self.size_px, self.limits = size_px, limits or ImageLimits()
        self._free_bytes = cache_bytes
        self._kept: dict[_Key, Pixels] = {}
        self._failed: dict[_Key, str] = {}
        self._lock = threading.Lock()

    @property
    def unusable(self) -> dict[str, str]:
        """URI and reason of every image that failed, as a whole or the part that was asked for."""
        return {uri: reason for (uri, _), reason in self._failed.items()}

    def pixels(self, sample: Sample) -> Pixels:
        """Decode one image to ``[size_px, size_px, 3]``, RGB uint8. Treat it as read-only: others may share it.

        Raises:
            UnusableImage: If it is missing, not a readable image, or has boxes and another size.
            StorageError: If the store fails.
        """
        key = sample.uri, sample.window
        if (kept := self._kept.get(key)) is not None:
            return kept
        if key in self._failed:
            raise UnusableImage(self._failed[key])
        try:
            pixels = self._decode(sample)
        except (ObjectMissing, ImageError, SizeError) as error:
            # A part that fails says nothing about the whole, which may be a good photograph.
            self._failed[key] = "missing" if isinstance(error, ObjectMissing) else str(error)
            raise UnusableImage(self._failed[key]) from error
        with self._lock:
            if key not in self._kept and pixels.nbytes <= self._free_bytes:
                self._free_bytes -= pixels.nbytes
                self._kept[key] = pixels
        return pixels

    def _decode(self, sample: Sample) -> Pixels:
        data, size_px = self._read(sample.uri), self.size_px
        if sample.window is not None:
            return decode_window(data, size_px, sample.window, sample.width, sample.height, self.limits)
        image = decode_image(data, size_px, self.limits)
        if len(sample.boxes_N4):
            check_size(image, sample.width, sample.height)
        return image.pixels_HWC


class Loader:
    """Batches of one split for one worker."""

    def __init__(
        self,
        samples: Sequence[Sample],
        source: ImageSource,
        grid_hw: tuple[int, int],
        *,
        skip_invalid: bool,
        threads: int,
    ) -> None:
        """Args: grid_hw: Cells of the feature map, for the masks. threads: That read and decode."""
        self.samples, self.source, self.grid_hw = samples, source, grid_hw
        self.skip_invalid, self.threads = skip_invalid, threads

    def training(self, steps: Sequence[Indices], augmentation: Augmentation, seed: int, epoch: int) -> Iterator[Batch]:
        """Augmented batches, one for each array of places. An unusable image gives its place to the next usable one.

        Places are those of ``epoch_order``: an image that an epoch shows again looks different each time.

        Raises:
            SettingsError: At an unusable image that may not be skipped.
        """

        def load(place: int) -> _Loaded:
            number, sample, pixels = self._usable(place % len(self.samples))
            matrix = random_matrix(np.random.default_rng((seed, epoch, place)), augmentation)
            mask = human_mask(sample.boxes_N4, sample.width, sample.height, self.grid_hw, matrix)
            return number, sample, warp_image(pixels, matrix), mask

        return self._batches(steps, load)

    def validation(self, steps: Sequence[Indices]) -> Iterator[Batch]:
        """Batches as they are. Unusable images are left out, which only ``skip_invalid`` allows."""

        def load(index: int) -> _Loaded | None:
            sample = self.samples[index]
            try:
                pixels = self.source.pixels(sample)
            except UnusableImage as error:
                self._refuse_unless_skipped(sample, error)
                return None
            return index, sample, pixels, human_mask(sample.boxes_N4, sample.width, sample.height, self.grid_hw)

        return self._batches(steps, load)

    def _usable(self, index: int) -> tuple[int, Sample, Pixels]:
        for offset in range(min(_SUBSTITUTES, len(self.samples))):
            number = (index + offset) % len(self.samples)
            sample = self.samples[number]
            try:
                return number, sample, self.source.pixels(sample)
            except UnusableImage as error:
                self._refuse_unless_skipped(sample, error)
        raise SettingsError(f"{_SUBSTITUTES} images in a row are unusable, the last {sample.uri}; check the manifest")

    def _refuse_unless_skipped(self, sample: Sample, error: UnusableImage) -> None:
        if not self.skip_invalid:
            raise SettingsError(f"cannot use {sample.uri}: {error}; mend it, or leave it out with --skip-invalid")

    def _batches(self, steps: Sequence[Indices], load: _Load) -> Iterator[Batch]:
        with ThreadPoolExecutor(self.threads, thread_name_prefix="loader") as pool:
            under_way: deque[list[Future[_Loaded | None]]] = deque()
            waiting = iter(steps)
            try:
                while True:
                    while len(under_way) < _AHEAD and (step := next(waiting, None)) is not None:
                        under_way.append([pool.submit(load, int(index)) for index in step])
                    if not under_way:
                        return
                    loaded = [item for future in under_way.popleft() if (item := future.result()) is not None]
                    if loaded:
                        yield _collate(loaded)
            finally:
                pool.shutdown(cancel_futures=True)


def training_order(order: Indices, batch_size: int, share: slice) -> list[Indices]:
    """One worker's share of each global batch of one epoch.

    The ragged end of the order is dropped: every worker has to take as many steps as the others.

    Args:
        order: Places of the epoch, as ``epoch_order`` gives them.
        batch_size: Of all workers together.
        share: Which places of each batch are this worker's.
    """
    return list(order[: len(order) - len(order) % batch_size].reshape(-1, batch_size)[:, share])


def validation_order(samples: int, batch_size: int, rank: int, workers: int) -> list[Indices]:
    """This worker's share of a split, in batches; together the workers cover each image once."""
    share = np.arange(rank, samples, workers)
    return [share[start : start + batch_size] for start in range(0, len(share), batch_size)]


def _collate(loaded: Sequence[_Loaded]) -> Batch:
    numbers, samples, pixels, masks = zip(*loaded, strict=True)
    return Batch(
        image_BHWC=torch.from_numpy(np.stack(pixels)),
        action_B=torch.tensor([sample.action for sample in samples]),
        mask_BHW=torch.from_numpy(np.stack(masks)),
        has_boxes_B=torch.tensor([len(sample.boxes_N4) > 0 for sample in samples]),
        index_B=torch.tensor(numbers),
        uris=tuple(sample.uri for sample in samples),
    )
