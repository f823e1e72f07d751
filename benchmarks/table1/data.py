"""Photographs of a trial: what it learns from, what it is calibrated on, and what it is measured on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lga_model.annotations import Annotation, Manifest, Split, read_manifest, write_manifest
from lga_model.config import Recipe
from lga_model.datasets.misleading import MisleadingConfig, generate_misleading
from workers.train.data import Batch, ImageSource, Loader, training_order, validation_order
from workers.train.dataset import Sample, choose_splits
from workers.train.sampling import epoch_order

_MEASURED_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class Data:
    """Three splits of one data set, decoded once and kept."""

    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]
    source: ImageSource
    threads: int

    def training(self, grid_hw: tuple[int, int], recipe: Recipe, seed: int, epoch: int) -> Iterator[Batch]:
        """Give the augmented batches of one epoch."""
        order = epoch_order(np.array([sample.action for sample in self.train]), recipe, seed, epoch)
        steps = training_order(order, recipe.batch_size, slice(None))
        return self._loader(self.train, grid_hw).training(steps, recipe.augmentation, seed, epoch)

    def measured(self, split: Split, grid_hw: tuple[int, int]) -> Iterator[Batch]:
        """Give a split as it is."""
        samples: tuple[Sample, ...] = getattr(self, split)
        order = validation_order(len(samples), _MEASURED_AT_ONCE, 0, 1)
        return self._loader(samples, grid_hw).validation(order)

    def one(self, index: int, grid_hw: tuple[int, int]) -> Batch:
        """Give one photograph of the test split as a batch."""
        (batch,) = self._loader(self.test, grid_hw).validation([np.array([index])])
        return batch

    def _loader(self, samples: tuple[Sample, ...], grid_hw: tuple[int, int]) -> Loader:
        return Loader(samples, self.source, grid_hw, skip_invalid=False, threads=self.threads)


def manifest_data(path: Path, size_px: int, *, per_class: int | None = None, threads: int = 2) -> Data:
    """Read a manifest with all three splits.

    Args:
        path: As ``lga prepare`` writes it.
        size_px: Side of the network's input.
        per_class: Training images of each class, None for all: how much the mask loss is worth when there are few.
        threads: That decode and augment.
    """
    manifest = read_manifest(path.read_bytes(), str(path))
    located = [
        dataclasses.replace(row, image=str(path.parent / row.image))  # an absolute path stays what it is
        for row in _first_of_class(manifest, per_class)
    ]
    manifest = dataclasses.replace(manifest, annotations=tuple(located))
    splits = choose_splits(manifest, str(path), skip_invalid=False)
    # The test split in the place of the validation split: one way to make samples of rows.
    swap: dict[Split, Split] = {"train": "train", "val": "test", "test": "val"}
    swapped = tuple(dataclasses.replace(row, split=swap[row.split]) for row in located)
    test = choose_splits(dataclasses.replace(manifest, annotations=swapped), str(path), skip_invalid=False).val
    images = len(splits.train) + len(splits.val) + len(test)
    return Data(
        classes=splits.classes, train=splits.train, val=splits.val, test=test,
        source=ImageSource(size_px, cache_bytes=images * size_px**2 * 3), threads=threads,
    )  # fmt: skip


def misleading_data(folder: Path, config: MisleadingConfig, *, size_px: int | None = None, threads: int = 2) -> Data:
    """Render the scenes into ``folder``, unless they are there; ``size_px``: the network's, if not the scenes'."""
    manifest = folder / "manifest.parquet"
    if not manifest.exists():
        manifest_bytes = write_manifest(generate_misleading(folder, config), "parquet")
        manifest.write_bytes(manifest_bytes)
    return manifest_data(manifest, size_px or config.size_px, threads=threads)


def _first_of_class(manifest: Manifest, per_class: int | None) -> Iterator[Annotation]:
    taken = dict.fromkeys(manifest.classes, 0)
    for row in manifest.annotations:
        if row.split == "train":
            taken[row.action] += 1
            if per_class is not None and taken[row.action] > per_class:
                continue
        yield row
