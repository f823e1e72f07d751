"""A training manifest from wherever it lies: every image under its full name, and its photographs as pixels."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lga_model.annotations import Annotation, Manifest, ManifestError, read_manifest
from lga_model.images import ImageError, SizeError, check_size, decode_image
from lga_model.nobody import decode_window, empty_window
from workers.errors import ObjectMissing, SettingsError
from workers.patience import PatientStore
from workers.storage import read_uri, split_uri

_SHOWN = 5
_PATIENCE_S = 120.0
_READERS = 8

Decode = Callable[[bytes, Annotation, int], NDArray[np.uint8]]
Batch = tuple[Sequence[Annotation], NDArray[np.uint8]]


def load_manifest(uri: str) -> Manifest:
    """Read a manifest. The images of its rows become full URIs or absolute paths, wherever the manifest lies.

    Raises:
        SettingsError: If there is none, or it cannot be understood. Bad rows are not raised: see ``refuse_bad_rows``.
        StorageError: If it cannot be read.
    """
    store, name = split_uri(uri)
    try:
        manifest = read_manifest(store.get(name).data, uri)
    except ManifestError as error:
        raise SettingsError(f"{error}; write one with `lga prepare`") from error
    except ObjectMissing as error:
        raise SettingsError(f"there is no manifest {uri} ({error.reason}); write one with `lga prepare`") from error
    annotations = tuple(
        dataclasses.replace(annotation, image=_full_name(annotation.image, store.root))
        for annotation in manifest.annotations
    )
    return dataclasses.replace(manifest, annotations=annotations)


def manifest_kind(output: str) -> Literal["parquet", "jsonl"]:
    """The manifest's format, from its name.

    Raises:
        SettingsError: If the name ends in neither.
    """
    if output.endswith(".parquet"):
        return "parquet"
    if output.endswith(".jsonl"):
        return "jsonl"
    raise SettingsError(f"{output}: the name of a manifest ends in .parquet or .jsonl")


def store_manifest(uri: str, content: bytes) -> str:
    """Write a manifest, and give its full name. It is a person's work: storage that is briefly away is asked again.

    Raises:
        StorageError: If it cannot be written.
    """
    store, name = split_uri(uri)
    PatientStore(store, _PATIENCE_S).put(name, content)
    return store.uri(name)


def refuse_bad_rows(
    manifest: Manifest, uri: str, *, remedy: str = "Mend them, or leave them out: --skip-invalid"
) -> None:
    """Stop at a manifest with rows that cannot be used.

    Raises:
        SettingsError: Names the first of them by line and reason.
    """
    bad = manifest.bad_rows
    if not bad:
        return
    shown = "; ".join(str(problem) for problem in bad[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    raise SettingsError(f"{uri} has {len(bad)} bad rows: {shown}{more}. {remedy}")


def whole_photograph(data: bytes, annotation: Annotation, size_px: int) -> NDArray[np.uint8]:
    """All of a photograph, as the network takes it.

    Raises:
        ImageError: If it cannot be decoded.
        SizeError: If it has boxes and another size.
    """
    image = decode_image(data, size_px)
    if annotation.boxes:
        check_size(image, annotation.width, annotation.height)
    return image.pixels_HWC


def part_without_people(data: bytes, annotation: Annotation, size_px: int) -> NDArray[np.uint8]:
    """The largest part outside all boxes of a photograph that has one, as ``empty_window`` finds it."""
    window = empty_window(annotation.boxes, annotation.width, annotation.height)
    if window is None:
        raise ValueError(f"{annotation.image} has no part without people")
    return decode_window(data, size_px, window, annotation.width, annotation.height)


def read_batches(
    annotations: Sequence[Annotation],
    size_px: int,
    batch_size: int,
    decode: Decode = whole_photograph,
    *,
    left_out: list[str] | None = None,
) -> Generator[Batch]:
    """Photographs of a loaded manifest in batches; the next batch is read while the present one is worked on.

    Args:
        annotations: Rows of the manifest.
        size_px: Side of the square.
        batch_size: Images in a batch.
        decode: What to take of each photograph.
        left_out: Takes the reason of each photograph that cannot be used, which is then left out of its batch.

    Yields:
        The annotations of a batch and their pixels, RGB uint8 ``[B, size_px, size_px, 3]``; the last may be smaller.

    Raises:
        SettingsError: Without ``left_out``, at the first photograph that is missing, is no image, or is not of the
            size of its row.
        StorageError: If the store does not answer.
    """
    chunks = [annotations[start : start + batch_size] for start in range(0, len(annotations), batch_size)]
    pool = ThreadPoolExecutor(_READERS)

    def start_reading(chunk: Sequence[Annotation]) -> list[Future[NDArray[np.uint8]]]:
        return [pool.submit(_pixels, annotation, size_px, decode) for annotation in chunk]

    try:
        reading = [start_reading(chunk) for chunk in chunks[:1]]
        for number, chunk in enumerate(chunks):
            reading += [start_reading(following) for following in chunks[number + 1 : number + 2]]
            usable = list(_usable(chunk, reading.pop(0), left_out))
            if usable:
                rows, images = zip(*usable, strict=True)
                yield rows, np.stack(images)
    finally:
        pool.shutdown(cancel_futures=True)


def _usable(
    chunk: Sequence[Annotation], reading: Sequence[Future[NDArray[np.uint8]]], left_out: list[str] | None
) -> Iterator[tuple[Annotation, NDArray[np.uint8]]]:
    for annotation, image in zip(chunk, reading, strict=True):
        try:
            yield annotation, image.result()
        except SettingsError as error:
            if left_out is None:
                raise
            left_out.append(str(error))


def _pixels(annotation: Annotation, size_px: int, decode: Decode) -> NDArray[np.uint8]:
    try:
        return decode(read_uri(annotation.image), annotation, size_px)
    except ImageError as error:
        raise SettingsError(f"the manifest names {annotation.image}, which cannot be decoded: {error}") from error
    except SizeError as error:
        raise SettingsError(f"the manifest and {annotation.image} do not fit: {error}") from error
    except ObjectMissing as error:
        raise SettingsError(f"the manifest names {annotation.image}, but {error.reason}") from error


def _full_name(image: str, folder: str) -> str:
    """An image's URI or absolute path; a relative one starts from the manifest's folder."""
    if "://" in image or image.startswith("/"):
        return image
    scheme, mark, path = folder.rpartition("://")
    return scheme + mark + posixpath.normpath(f"{path}/{image}")
