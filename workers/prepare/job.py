"""``lga prepare``: read or render a data set, write its manifest, print what is in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lga_model.annotations import Split
from lga_model.datasets.coco import read_coco
from lga_model.datasets.folders import read_folders
from lga_model.datasets.misleading import MisleadingConfig, generate_misleading
from lga_model.datasets.mpii import read_mpii
from lga_model.datasets.raw import DatasetError, RawDataset
from lga_model.datasets.stanford40 import read_stanford40
from workers.errors import SettingsError, StorageError
from workers.manifest import manifest_kind
from workers.prepare.write import write_dataset
from workers.settings import (
    PrepareCocoSettings,
    PrepareFoldersSettings,
    PrepareMisleadingSettings,
    PrepareMpiiSettings,
    PrepareStanford40Settings,
)


def prepare_stanford40(settings: PrepareStanford40Settings) -> int:
    """Write the manifest of the Stanford40 data set."""
    return _prepare(
        settings.root,
        settings.output,
        lambda root: read_stanford40(root, validation_share=settings.validation_share, seed=settings.seed),
    )


def prepare_mpii(settings: PrepareMpiiSettings) -> int:
    """Write the manifest of the MPII Human Pose data set."""
    return _prepare(
        settings.root,
        settings.output,
        lambda root: read_mpii(
            root,
            validation_images=settings.validation_images,
            validation_share=settings.validation_share,
            seed=settings.seed,
        ),
    )


def prepare_coco(settings: PrepareCocoSettings) -> int:
    """Write the manifest of COCO-style annotations."""
    given: dict[Split, Path | None] = {"train": settings.train, "val": settings.val, "test": settings.test}
    if settings.images.is_absolute() or ".." in settings.images.parts:
        raise SettingsError(f"--images {settings.images}: name a folder below --root {settings.root}")
    return _prepare(
        settings.root,
        settings.output,
        lambda root: read_coco(
            root,
            {split: root / path for split, path in given.items() if path is not None},
            images=root / settings.images,
            action_field=settings.action_field,
            person=settings.person,
            empty_is_nobody=settings.empty_is_nobody,
            validation_share=settings.validation_share,
            seed=settings.seed,
        ),
    )


def prepare_folders(settings: PrepareFoldersSettings) -> int:
    """Write the manifest of folders of photographs."""
    return _prepare(
        settings.root,
        settings.output,
        lambda root: read_folders(
            root,
            nobody=settings.nobody,
            validation_share=settings.validation_share,
            test_share=settings.test_share,
            seed=settings.seed,
        ),
    )


def prepare_misleading(settings: PrepareMisleadingSettings) -> int:
    """Render the misleading scenes and write their manifest."""
    output = settings.output or str(settings.root / "manifest.parquet")
    manifest_kind(output)
    try:
        config = MisleadingConfig(
            seed=settings.seed,
            train=settings.train,
            val=settings.val,
            test=settings.test,
            size_px=settings.size_px,
            strength=settings.strength,
        )
        annotations = tuple(generate_misleading(settings.root, config))
    except ValueError as error:
        raise SettingsError(f"cannot render such scenes: {error}") from error
    except OSError as error:
        raise StorageError("write images to", str(settings.root), error.strerror or str(error)) from error
    write_dataset(RawDataset(annotations=annotations), settings.root, output)
    return 0


def _prepare(root: Path, output: str, read: Callable[[Path], RawDataset]) -> int:
    """Read a data set and write its manifest. A wrong name of the manifest is told before anything is read."""
    manifest_kind(output)
    try:
        dataset = read(root)
    except DatasetError as error:
        raise SettingsError(f"{error}; check --root") from error
    write_dataset(dataset, root, output)
    return 0
