"""``lga prepare``: read or render a data set, write its manifest, print what is in it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.table import Table

from lga_model.annotations import SPLITS, Annotation, Manifest, read_manifest, write_manifest
from lga_model.datasets.misleading import MisleadingConfig, generate_misleading
from lga_model.datasets.stanford40 import DatasetError, read_stanford40
from workers.console import result_console
from workers.errors import SettingsError, StorageError
from workers.logs import get_log
from workers.settings import PrepareMisleadingSettings, PrepareStanford40Settings
from workers.storage import FolderStore, open_store, split_uri

_NAMED = 3


def prepare_stanford40(settings: PrepareStanford40Settings) -> int:
    """Write the manifest of the Stanford40 data set."""
    kind = _kind(settings.output)
    try:
        dataset = read_stanford40(settings.root, validation_share=settings.validation_share, seed=settings.seed)
    except DatasetError as error:
        raise SettingsError(f"{error}; check --root") from error
    if dataset.missing:
        names = ", ".join(dataset.missing[:_NAMED])
        get_log().warning("prepare.images_missing", images=len(dataset.missing), first=names)
    _write(dataset.annotations, settings.root, settings.output, kind, missing=len(dataset.missing))
    return 0


def prepare_misleading(settings: PrepareMisleadingSettings) -> int:
    """Render the misleading scenes and write their manifest."""
    output = settings.output or str(settings.root / "manifest.parquet")
    kind = _kind(output)
    try:
        config = MisleadingConfig(
            seed=settings.seed,
            train=settings.train,
            val=settings.val,
            test=settings.test,
            size_px=settings.size_px,
            strength=settings.strength,
        )
        annotations = list(generate_misleading(settings.root, config))
    except ValueError as error:
        raise SettingsError(f"cannot render such scenes: {error}") from error
    except OSError as error:
        raise StorageError("write images to", str(settings.root), error.strerror or str(error)) from error
    _write(annotations, settings.root, output, kind, missing=0)
    return 0


def _kind(output: str) -> Literal["parquet", "jsonl"]:
    """The manifest's format, from its name. Decided first: a wrong name should not cost a rendered data set."""
    if output.endswith(".parquet"):
        return "parquet"
    if output.endswith(".jsonl"):
        return "jsonl"
    raise SettingsError(f"--output {output}: the name of a manifest ends in .parquet or .jsonl")


def _write(
    annotations: Sequence[Annotation], root: Path, output: str, kind: Literal["parquet", "jsonl"], *, missing: int
) -> None:
    located = [dataclasses.replace(row, image=_located(row.image, root, output)) for row in annotations]
    content = write_manifest(located, kind)
    # As training will read it: a raw data set may hold boxes that it will not take.
    manifest = read_manifest(content, output)
    for problem in manifest.problems[:_NAMED]:
        get_log().warning("prepare.problem_found", problem=str(problem))
    store, name = split_uri(output)
    store.put(name, content)
    get_log().info("prepare.manifest_written", manifest=store.uri(name), rows=len(located), missing_images=missing)
    _print_counts(store.uri(name), manifest, missing)


def _print_counts(uri: str, manifest: Manifest, missing: int) -> None:
    rows = {"manifest": uri}
    rows |= {f"{split} images": str(len(manifest.split(split))) for split in SPLITS}
    rows |= {
        "actions": str(len(manifest.classes)),
        "boxes": str(sum(len(row.boxes) for row in manifest.annotations)),
        "images without boxes": str(sum(not row.boxes for row in manifest.annotations)),
        "missing images": str(missing),
        "problems": str(len(manifest.problems)),
    }
    table = Table(show_header=False, box=None)
    for title, value in rows.items():
        table.add_row(title, value)
    result_console().print(table)


def _located(image: str, root: Path, output: str) -> str:
    """An image's path as the manifest names it.

    Beside or below a manifest on this machine it is relative, so that both can be moved together. Anything else is an
    absolute path: a chain of ``..`` breaks as soon as one of the two is moved.
    """
    path = Path(os.path.abspath(root)) / image  # noqa: PTH100 - resolve() would follow links that the user chose
    folder = open_store(output.rpartition("/")[0] or ("/" if output.startswith("/") else "."))
    if isinstance(folder, FolderStore) and path.is_relative_to(folder.path):
        return path.relative_to(folder.path).as_posix()
    return str(path)
