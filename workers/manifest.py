"""A training manifest from wherever it lies, with every image's full URI."""

from __future__ import annotations

import dataclasses

from lga_model.annotations import Manifest, ManifestError, read_manifest
from workers.errors import SettingsError
from workers.storage import split_uri


def load_manifest(uri: str) -> Manifest:
    """Read a manifest; the images' paths, relative to it or not, become full URIs or absolute paths.

    Raises:
        SettingsError: If it is not a manifest.
        StorageError: If it cannot be read.
    """
    store, name = split_uri(uri)
    try:
        manifest = read_manifest(store.get(name).data, uri)
    except ManifestError as error:
        raise SettingsError(f"{error}; write one with `lga prepare`") from error
    annotations = tuple(
        dataclasses.replace(row, image=row.image if _is_full(row.image) else store.uri(row.image))
        for row in manifest.annotations
    )
    return dataclasses.replace(manifest, annotations=annotations)


def _is_full(image: str) -> bool:
    return "://" in image or image.startswith("/")
