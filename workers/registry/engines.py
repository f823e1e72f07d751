"""The engines of one version: listed, added, fetched; each is two files below the version's own.

``Registry`` offers them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from workers.engines.record import ENGINE_FILE, RECORD_FILE, EngineError, EngineRecord
from workers.errors import ObjectMissing
from workers.logs import get_log
from workers.registry.bundles import weights_digest
from workers.registry.cache import cache_place, cached_folder
from workers.registry.names import RECORD_FILE as MODEL_FILE
from workers.registry.names import Version
from workers.storage import open_store

_SHARED = ("config", "preprocessing", "calibration")
"""What an engine's record repeats of its model's."""


def list_engines(version: Version) -> list[EngineRecord]:
    """The version's own engines that this release can read; the others are left out, with a warning in the log."""
    store, records = open_store(version.uri), []
    keys = [info.key for info in store.list("engines/") if info.key.endswith(f"/{RECORD_FILE}")]
    model = store.get(MODEL_FILE).data if keys else b""
    for key in keys:
        try:
            record = EngineRecord.from_json(store.get(key).data, store.uri(key))
            if key != _key(record, RECORD_FILE):
                raise EngineError(f"{store.uri(key)} describes another engine, {record.folder}")
            _check_origin(record, store.uri(key), version, model)
        except EngineError as error:
            get_log().warning("registry.engine_skipped", model=str(version), reason=str(error))
        else:
            records.append(record)
    return records


def has_engine(version: Version, record: EngineRecord) -> bool:
    """Whether this engine is there, proven and undamaged."""
    store = open_store(version.uri)
    try:
        key = _key(record, RECORD_FILE)
        stored = EngineRecord.from_json(store.get(key).data, store.uri(key))
        _check_origin(stored, store.uri(key), version, store.get(MODEL_FILE).data)
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
    _check_origin(record, str(folder), version, store.get(MODEL_FILE).data)
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


def _check_origin(record: EngineRecord, uri: str, version: Version, model: bytes) -> None:
    """Refuse an engine that was not made from the version, or that nothing proves equal to it.

    The names may differ: a bundle is called by its path, and a registry can be copied.

    Args:
        record: Of the engine.
        uri: Where the engine lies, for the message.
        version: The version that the engine is to serve.
        model: The version's ``model.json``.
    """
    if record.weights_sha256 != weights_digest(model, version.uri):
        raise EngineError(f"{uri} was made from other weights than those of {version}")
    of_engine, of_model = json.loads(record.to_json()), json.loads(model)
    for name in _SHARED:
        # A field with a default may have joined since the model was published.
        if name in of_model and not _repeats(of_engine[name], of_model[name]):
            raise EngineError(f"{uri} was made with another {name} than that of {version}")
    if record.parity is None:
        raise EngineError(f"{uri} holds an engine that nothing proves equal to {version}")


def _repeats(found: object, expected: object) -> bool:
    """Whether everything that is expected is found, whatever else there is."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return all(name in found and _repeats(found[name], value) for name, value in expected.items())
    return found == expected


def _key(record: EngineRecord, file: str) -> str:
    return f"engines/{record.folder}/{file}"
