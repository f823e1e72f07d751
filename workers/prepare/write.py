"""A raw data set -> its manifest in a folder or a bucket, and what a person should know about it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from rich.table import Table

from lga_model.annotations import SPLITS, Manifest, read_manifest, write_manifest
from lga_model.datasets.raw import RawDataset
from workers.console import result_console
from workers.logs import get_log
from workers.manifest import manifest_kind, store_manifest
from workers.storage import FolderStore, open_store

_NAMED = 3


def write_dataset(dataset: RawDataset, root: Path, output: str) -> None:
    """Write the manifest and print what is in it; what was left out is counted, and the first of it named.

    Raises:
        StorageError: If it cannot be written.
    """
    _warn(dataset)
    located = [dataclasses.replace(row, image=_located(row.image, root, output)) for row in dataset.annotations]
    content = write_manifest(located, manifest_kind(output))
    # As training will read it: a raw data set may hold boxes that it will not take.
    manifest = read_manifest(content, output)
    for problem in manifest.problems[:_NAMED]:
        get_log().warning("prepare.problem_found", problem=str(problem))
    uri = store_manifest(output, content)
    get_log().info("prepare.manifest_written", manifest=uri, rows=len(located))
    _print_counts(uri, manifest, dataset)


def _warn(dataset: RawDataset) -> None:
    if dataset.missing:
        names = ", ".join(dataset.missing[:_NAMED])
        get_log().warning("prepare.images_missing", images=len(dataset.missing), first=names)
    if dataset.unusable:
        reasons = "; ".join(dataset.unusable[:_NAMED])
        get_log().warning("prepare.images_unusable", images=len(dataset.unusable), first=reasons)


def _print_counts(uri: str, manifest: Manifest, dataset: RawDataset) -> None:
    rows = {"manifest": uri}
    rows |= {f"{split} images": str(len(manifest.split(split))) for split in SPLITS}
    rows |= {
        "images of nobody": str(sum(row.nobody for row in manifest.annotations)),
        "actions": str(len(manifest.classes)),
        "boxes": str(sum(len(row.boxes) for row in manifest.annotations)),
        "images without boxes": str(sum(not row.boxes and not row.nobody for row in manifest.annotations)),
        "missing images": str(len(dataset.missing)),
        "unusable images": str(len(dataset.unusable)),
        "problems": str(len(manifest.problems)),
    }
    rows |= {name: str(count) for name, count in dataset.remarks.items()}
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
