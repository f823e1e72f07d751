"""The files of a version: read from a local folder to be published, and fetched into one to be used."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from workers.errors import ObjectMissing, SettingsError, StorageError
from workers.registry.cache import cache_place, cached_folder
from workers.registry.names import METRICS_FILE, RECORD_FILE, TRAINING_FILE, WEIGHTS_FILE, Version
from workers.storage import open_store


def read_bundle(bundle: Path) -> dict[str, bytes]:
    """The files of a bundle, all four, with the weights' digest checked; those that it lacks are empty objects.

    Raises:
        SettingsError: If it is not whole.
    """
    files = {}
    for file in (TRAINING_FILE, METRICS_FILE, WEIGHTS_FILE, RECORD_FILE):
        try:
            files[file] = (bundle / file).read_bytes()
        except OSError as error:
            if file in (WEIGHTS_FILE, RECORD_FILE) or not isinstance(error, FileNotFoundError):
                raise SettingsError(f"{bundle} is not a model: cannot read {file}: {error.strerror}") from error
            files[file] = b"{}\n"
    if hashlib.sha256(files[WEIGHTS_FILE]).hexdigest() != weights_digest(files[RECORD_FILE], str(bundle)):
        raise SettingsError(f"{bundle}: {WEIGHTS_FILE} is not the file that {RECORD_FILE} names (sha256 differs)")
    return files


def fetch_bundle(version: Version, cache: Path | None) -> Path:
    """The bundle of a version as a local folder; see ``Registry.fetch``."""
    store = open_store(version.uri)
    record = store.get(RECORD_FILE).data
    digests = {
        RECORD_FILE: hashlib.sha256(record).hexdigest(),
        WEIGHTS_FILE: weights_digest(record, store.uri(RECORD_FILE)),
    }

    def download() -> dict[str, bytes]:
        files = {RECORD_FILE: record, WEIGHTS_FILE: store.get(WEIGHTS_FILE).data}
        if hashlib.sha256(files[WEIGHTS_FILE]).hexdigest() != digests[WEIGHTS_FILE]:
            raise StorageError(
                "use", store.uri(WEIGHTS_FILE), f"it is not the file that {RECORD_FILE} names (sha256 differs)"
            )
        for file in (METRICS_FILE, TRAINING_FILE):
            with contextlib.suppress(ObjectMissing):
                files[file] = store.get(file).data
        return files

    return cached_folder(cache_place(cache, "models", version.uri, *digests.values()), digests, download)


def weights_digest(record: bytes, uri: str) -> str:
    """The sha256 of the weights, as a model's record names it; ``uri`` is for the message.

    Raises:
        StorageError: If it is no such record.
    """
    try:
        return str(json.loads(record)["weights_sha256"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError("use", uri, "it is not the record of a model") from error
