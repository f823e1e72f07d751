"""The engines of one version: listed, added, fetched; each is two files below the version's own.

``Registry`` offers them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from workers.engines.record import ENGINE_FILE, RECORD_FILE, EngineError, EngineRecord
from workers.errors import ObjectMissing
from workers.logs import get_log
from workers.registry.bundles import weights_digest
from workers.registry.cache import cache_place, cached_folder
from workers.registry.names import RECORD_FILE as MODEL_FILE
from workers.registry.names import Version
from workers.storage import open_store


def list_engines(version: Version) -> list[EngineRecord]:
    """The engines that this release can read; the others are left out, with a warning in the log."""
    store, records = open_store(version.uri), []
    for key in (info.key for info in store.list("engines/") if info.key.endswith(f"/{RECORD_FILE}")):
        try:
            record = EngineRecord.from_json(store.get(key).data, store.uri(key))
            if key != _key(record, RECORD_FILE):
                raise EngineError(f"{store.uri(key)} describes another engine, {record.folder}")
        except EngineError as error:
            get_log().warning("registry.engine_skipped", model=str(version), reason=str(error))
        else:
            records.append(record)
    return records


def has_engine(version: Version, record: EngineRecord) -> bool:
    """Whether this engine is there, undamaged."""
    store = open_store(version.uri)
    try:
        key = _key(record, RECORD_FILE)
        stored = EngineRecord.from_json(store.get(key).data, store.uri(key))
        data = store.get(_key(record, ENGINE_FILE)).data
    except (ObjectMissing, EngineError):
        return False
    return stored.folder == record.folder and hashlib.sha256(data).hexdigest() == record.engine_sha256


def add_engine(version: Version, folder: Path) -> bool:
    """Add an engine that a folder holds; see ``Registry.add_engine``."""
    record = EngineRecord.from_json((folder / RECORD_FILE).read_bytes(), str(folder))
    data = (folder / ENGINE_FILE).read_bytes()
    store = open_store(version.uri)
    if hashlib.sha256(data).hexdigest() != record.engine_sha256:
        raise EngineError(f"{folder / ENGINE_FILE} is not the file that its record names (sha256 differs)")
    if record.weights_sha256 != weights_digest(store.get(MODEL_FILE).data, store.uri(MODEL_FILE)):
        raise EngineError(f"{folder} was made from other weights than those of {version}")
    if record.parity is None:
        raise EngineError(f"{folder} holds an engine that nothing proves equal to {version}")
    if has_engine(version, record):
        return False
    # The record goes last: readers look for it, and it names the digest of the other.
    store.put(_key(record, ENGINE_FILE), data)
    store.put(_key(record, RECORD_FILE), record.to_json())
    get_log().info("registry.engine_added", model=str(version), engine=record.folder, engine_bytes=len(data))
    return True


def fetch_engine(version: Version, record: EngineRecord, cache: Path | None) -> Path:
    """An engine as a local folder; see ``Registry.fetch_engine``."""
    store = open_store(version.uri)
    key = _key(record, ENGINE_FILE)
    digests = {
        ENGINE_FILE: record.engine_sha256,
        RECORD_FILE: hashlib.sha256(record.to_json()).hexdigest(),
    }

    def download() -> dict[str, bytes]:
        data = store.get(key).data
        if hashlib.sha256(data).hexdigest() != record.engine_sha256:
            raise EngineError(
                f"{store.uri(key)} is not the file that its record names (sha256 differs); "
                f"rebuild with: {record.rebuild}"
            )
        return {ENGINE_FILE: data, RECORD_FILE: record.to_json()}

    return cached_folder(cache_place(cache, "engines", *digests.values()), digests, download)


def _key(record: EngineRecord, file: str) -> str:
    return f"engines/{record.folder}/{file}"
