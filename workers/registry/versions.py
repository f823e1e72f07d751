"""Versions, their engines and their aliases in an object store; the layout stands in ``workers.registry``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from workers.engines.record import ENGINE_FILE, EngineError, EngineRecord
from workers.engines.record import RECORD_FILE as ENGINE_RECORD_FILE
from workers.errors import ConditionFailed, ObjectMissing, SettingsError, StorageError
from workers.logs import get_log
from workers.registry.aliases import Alias, promoted, rolled_back
from workers.registry.cache import cached_folder, default_cache
from workers.registry.garbage import Candidate, Garbage, find_garbage
from workers.registry.lease import held_lease
from workers.registry.timings import StoredTimings
from workers.settings.shared import EnginePrecision, Target
from workers.storage import ObjectInfo, open_store

WEIGHTS_FILE = "model.safetensors"
RECORD_FILE = "model.json"
METRICS_FILE = "metrics.json"
TRAINING_FILE = "training.json"

_NAME = r"[a-z0-9][a-z0-9._-]{0,62}"
_ALIAS = r"[a-z][a-z0-9-]{0,31}"
_REFERENCE = re.compile(rf"(?P<name>{_NAME})(:(?P<number>[0-9]{{1,9}})|@(?P<alias>{_ALIAS}))")
_VERSION_KEY = re.compile(rf"(?P<name>{_NAME})/versions/(?P<number>[0-9]{{4,9}})/(?P<file>[a-z.]+)")
_ANY_KEY = re.compile(rf"(?P<name>{_NAME})/versions/(?P<number>[0-9]{{4,9}})/.+")
_VERSION_URI = re.compile(rf"(?:.*/)?(?P<name>{_NAME})/versions/(?P<number>[0-9]{{4,9}})")


@dataclass(frozen=True, kw_only=True)
class Version:
    """One published model, or a bundle that no registry numbered."""

    name: str
    number: int
    """From 1; 0 for a bundle outside of a registry."""
    uri: str
    """Folder of its files."""

    def __str__(self) -> str:
        return f"{self.name}:{self.number}" if self.number else self.uri


class Registry:
    """The models under one root, a URI or a path. Nothing is made before the first version is published."""

    def __init__(self, uri: str) -> None:
        self._store = open_store(uri)

    @property
    def uri(self) -> str:
        """The root."""
        return self._store.root

    @property
    def timings(self) -> StoredTimings:
        """What builders of engines measured."""
        return StoredTimings(self._store)

    def names(self) -> list[str]:
        """Models that have a version."""
        return sorted({version.name for version in self._versions("")})

    def versions(self, name: str) -> list[Version]:
        """Complete versions of a model, the oldest first; none for a model that there is not."""
        _check_name(name)
        return self._versions(f"{name}/versions/")

    def aliases(self, name: str) -> dict[str, int]:
        """Where each alias of a model points."""
        return {alias: self.alias(name, alias).version for alias in self._alias_names(name)}

    def alias(self, name: str, alias: str) -> Alias:
        """One alias with its history.

        Raises:
            SettingsError: If there is no such alias.
        """
        _check_name(name)
        _check_alias(alias)
        key = _alias_key(name, alias)
        try:
            return Alias.from_json(self._store.get(key).data, self._store.uri(key))
        except ObjectMissing as error:
            raise SettingsError(
                f"there is no {name}@{alias} in {self.uri} (there is: {self._what_there_is(name)}). "
                f"Set it with: lga models promote --model {name}:VERSION --alias {alias}"
            ) from error

    def created(self, version: Version) -> datetime:
        """When a version was published: its record is written once, as the last of its files or shortly before.

        Raises:
            ObjectMissing: If it is not there.
        """
        store = open_store(version.uri)
        for info in store.list(RECORD_FILE):
            if info.key == RECORD_FILE:
                return info.last_modified
        raise ObjectMissing("read", store.uri(RECORD_FILE), "there is no such object")

    def resolve(self, reference: str) -> Version:
        """Find what a model reference means.

        Args:
            reference: ``NAME:VERSION``, ``NAME@ALIAS``, or the path or URI of a folder with a ``model.json``.

        Raises:
            SettingsError: If there is no such model, version or alias. Says what there is.
        """
        if match := _REFERENCE.fullmatch(reference):
            name = match["name"]
            number = int(match["number"]) if match["number"] else self.alias(name, match["alias"]).version
            version = self._version(name, number)
            if not open_store(version.uri).exists(RECORD_FILE):
                raise SettingsError(
                    f"there is no model {reference} in {self.uri} (there is: {self._what_there_is(name)})"
                )
            return version
        store = open_store(reference)
        if not store.exists(RECORD_FILE):
            raise SettingsError(
                f"{reference!r} is neither NAME:VERSION nor NAME@ALIAS nor a folder with {RECORD_FILE} "
                f"(in {self.uri} there is: {self._what_there_is(reference)})"
            )
        if match := _VERSION_URI.fullmatch(store.root):
            return Version(name=match["name"], number=int(match["number"]), uri=store.root)
        return Version(name=store.root.rpartition("/")[2], number=0, uri=store.root)

    def publish(self, name: str, bundle: Path) -> Version:
        """Copy a bundle into the registry as the next version.

        Args:
            name: Name of the model.
            bundle: Folder with ``model.safetensors`` and ``model.json``, maybe ``metrics.json`` and ``training.json``.

        Raises:
            SettingsError: If the name cannot be used or the bundle is not whole.
            StorageError: If the registry cannot be written; no version exists then.
        """
        _check_name(name)
        files = _read_bundle(bundle)
        version = self._claim(name, files.pop(TRAINING_FILE))
        store = open_store(version.uri)
        record = files.pop(RECORD_FILE)
        for file, data in files.items():
            store.put(file, data)
        store.put(RECORD_FILE, record, if_absent=True)
        get_log().info("registry.version_published", model=name, version=version.number, uri=version.uri)
        return version

    def fetch(self, version: Version, cache: Path | None = None) -> Path:
        """The bundle of a version as a local folder. Not to be changed: others use it too.

        Args:
            version: As ``resolve`` or ``publish`` returned it.
            cache: Where fetched folders are kept; None is a folder of this user below the temporary folder.

        Returns:
            Folder with ``model.safetensors``, ``model.json`` and, when the version has them, ``metrics.json`` and
            ``training.json``. The weights are those that ``model.json`` names.

        Raises:
            StorageError: If it cannot be read or is damaged.
        """
        store = open_store(version.uri)
        record = store.get(RECORD_FILE).data
        digests = {
            RECORD_FILE: hashlib.sha256(record).hexdigest(),
            WEIGHTS_FILE: _weights_digest(record, store.uri(RECORD_FILE)),
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

        return cached_folder(_cache_place(cache, "models", version.uri, *digests.values()), digests, download)

    def engines(self, version: Version) -> list[EngineRecord]:
        """The engines of a version. Those that this release cannot read are left out, with a warning in the log."""
        store = open_store(version.uri)
        records = []
        for key in (info.key for info in store.list("engines/") if info.key.endswith(f"/{ENGINE_RECORD_FILE}")):
            try:
                record = EngineRecord.from_json(store.get(key).data, store.uri(key))
                if key != _engine_key(record, ENGINE_RECORD_FILE):
                    raise EngineError(f"{store.uri(key)} describes another engine, {record.folder}")
            except EngineError as error:
                get_log().warning("registry.engine_skipped", model=str(version), reason=str(error))
            else:
                records.append(record)
        return records

    def has_engine(self, version: Version, record: EngineRecord) -> bool:
        """Whether a version has this engine, undamaged."""
        store = open_store(version.uri)
        try:
            key = _engine_key(record, ENGINE_RECORD_FILE)
            stored = EngineRecord.from_json(store.get(key).data, store.uri(key))
            data = store.get(_engine_key(record, ENGINE_FILE)).data
        except (ObjectMissing, EngineError):
            return False
        return stored.folder == record.folder and hashlib.sha256(data).hexdigest() == record.engine_sha256

    def add_engine(self, version: Version, folder: Path) -> bool:
        """Add an engine to a version.

        Args:
            version: The version that the engine was made from.
            folder: Holds ``engine.bin`` and ``engine.json``.

        Returns:
            Whether it was added; False when the same engine was there already. A damaged one is replaced.

        Raises:
            EngineError: If the engine is not what its record says, is not proven, or was made from other weights.
            StorageError: If the registry cannot be written.
        """
        record = EngineRecord.from_json((folder / ENGINE_RECORD_FILE).read_bytes(), str(folder))
        data = (folder / ENGINE_FILE).read_bytes()
        store = open_store(version.uri)
        if hashlib.sha256(data).hexdigest() != record.engine_sha256:
            raise EngineError(f"{folder / ENGINE_FILE} is not the file that its record names (sha256 differs)")
        if record.weights_sha256 != _weights_digest(store.get(RECORD_FILE).data, store.uri(RECORD_FILE)):
            raise EngineError(f"{folder} was made from other weights than those of {version}")
        if record.parity is None:
            raise EngineError(f"{folder} holds an engine that nothing proves equal to {version}")
        if self.has_engine(version, record):
            return False
        # The record goes last: readers look for it, and it names the digest of the other.
        store.put(_engine_key(record, ENGINE_FILE), data)
        store.put(_engine_key(record, ENGINE_RECORD_FILE), record.to_json())
        get_log().info("registry.engine_added", model=str(version), engine=record.folder, engine_bytes=len(data))
        return True

    def building(self, version: Version, target: Target, precision: EnginePrecision) -> AbstractContextManager[None]:
        """Hold the right to build one kind of engine of a version; wait while another process builds it.

        Raises:
            StorageError: If the registry cannot be written.
        """
        return held_lease(open_store(version.uri), f"building/{target}-{precision}")

    def fetch_engine(self, version: Version, record: EngineRecord, cache: Path | None = None) -> Path:
        """An engine as a local folder, for ``open_engine``. Not to be changed: others use it too.

        Raises:
            EngineError: If its bytes are not those that the record names.
            StorageError: If it cannot be read.
        """
        store = open_store(version.uri)
        key = _engine_key(record, ENGINE_FILE)
        digests = {
            ENGINE_FILE: record.engine_sha256,
            ENGINE_RECORD_FILE: hashlib.sha256(record.to_json()).hexdigest(),
        }

        def download() -> dict[str, bytes]:
            data = store.get(key).data
            if hashlib.sha256(data).hexdigest() != record.engine_sha256:
                raise EngineError(
                    f"{store.uri(key)} is not the file that its record names (sha256 differs); "
                    f"rebuild with: {record.rebuild}"
                )
            return {ENGINE_FILE: data, ENGINE_RECORD_FILE: record.to_json()}

        return cached_folder(_cache_place(cache, "engines", *digests.values()), digests, download)

    def holds(self, version: Version) -> bool:
        """Whether a version is one of this registry's, and not a bundle from elsewhere."""
        return version.number > 0 and version == self._version(version.name, version.number)

    def promote(self, version: Version, alias: str) -> None:
        """Point an alias at a version. Nothing happens when it points there already.

        Raises:
            SettingsError: If the version is not a published one of this registry.
            ConditionFailed: If somebody else moved the alias at the same moment; it is where they put it.
        """
        if not self.holds(version):
            raise SettingsError(f"only a published version can have an alias, and {version} is not one of {self.uri}")
        self._move(version.name, alias, lambda before: promoted(before, version.number))

    def roll_back(self, name: str, alias: str) -> Version:
        """Point an alias back at the version that it held before, which is returned.

        Raises:
            SettingsError: If there is no such alias, or it held no version before.
            ConditionFailed: As ``promote``.
        """

        def change(before: Alias | None) -> Alias:
            after = None if before is None else rolled_back(before)
            if before is None or after is None:
                now = self.alias(name, alias).version
                raise SettingsError(f"alias {alias!r} of {name} held no version before {name}:{now} to go back to")
            return after

        return self.resolve(f"{name}:{self._move(name, alias, change).version}")

    def garbage(self, name: str, *, keep: int, min_age: timedelta) -> list[Garbage]:
        """The numbers of a model that nobody needs any more; see ``find_garbage``."""
        _check_name(name)
        files: dict[int, list[ObjectInfo]] = {}
        for info in self._infos(f"{name}/versions/"):
            if match := _ANY_KEY.fullmatch(info.key):
                files.setdefault(int(match["number"]), []).append(info)
        candidates = [
            Candidate(
                number=number,
                complete=any(info.key.endswith(f"/{RECORD_FILE}") for info in infos),
                written_at=max(info.last_modified for info in infos),
                size_bytes=sum(info.size_bytes for info in infos),
            )
            for number, infos in files.items()
            # The claim alone is what a collected version leaves behind.
            if any(not info.key.endswith(f"/{TRAINING_FILE}") for info in infos)
        ]
        aliases = {alias: self.alias(name, alias) for alias in self._alias_names(name)}
        return find_garbage(candidates, aliases, keep=keep, min_age=min_age, now=datetime.now(UTC))

    def collect(self, name: str, garbage: Garbage) -> bool:
        """Delete what ``garbage`` found, all but ``training.json``: it holds the number, which is never given again.

        Returns:
            False when an alias was moved to the version in the meantime: it is whole again.
        """
        version = self._version(name, garbage.number)
        store = open_store(version.uri)
        # Without its record it is no version: from here on nobody can resolve it, so nobody new can point at it.
        record = None
        with contextlib.suppress(ObjectMissing):
            record = store.get(RECORD_FILE).data
        store.delete(RECORD_FILE)
        if record is not None and garbage.number in self.aliases(name).values():
            store.put(RECORD_FILE, record)
            return False
        for info in list(store.list()):
            if info.key != TRAINING_FILE:
                store.delete(info.key)
        get_log().info("registry.version_collected", model=str(version), reason=garbage.reason)
        return True

    def _move(self, name: str, alias: str, change: Callable[[Alias | None], Alias]) -> Alias:
        """Compare and swap one alias."""
        _check_name(name)
        _check_alias(alias)
        key = _alias_key(name, alias)
        before, token = None, None
        with contextlib.suppress(ObjectMissing):
            blob = self._store.get(key)
            before, token = Alias.from_json(blob.data, self._store.uri(key)), blob.token
        after = change(before)
        if after == before:
            return after
        try:
            self._store.put(key, after.to_json(), if_absent=token is None, if_token=token)
        except ConditionFailed as error:
            now = self.alias(name, alias)
            if now != after:  # Else it was our own write: its answer was lost, and the client sent it again.
                reason = f"somebody else moved it at the same moment, to {name}:{now.version}; look, then try again"
                raise ConditionFailed("move", self._store.uri(key), reason) from error
        get_log().info("registry.alias_moved", model=name, alias=alias, version=after.version)
        return after

    def _claim(self, name: str, training: bytes) -> Version:
        """Take the next number, for good: the conditional write of the first file decides between publishers."""
        taken = [int(match["number"]) for match in self._version_files(f"{name}/versions/")]
        number = max(taken, default=0) + 1
        while True:
            version = self._version(name, number)
            try:
                open_store(version.uri).put(TRAINING_FILE, training, if_absent=True)
            except ConditionFailed:
                number += 1
            else:
                return version

    def _version(self, name: str, number: int) -> Version:
        return Version(name=name, number=number, uri=self._store.uri(f"{name}/versions/{number:04d}"))

    def _versions(self, prefix: str) -> list[Version]:
        found = [(m["name"], int(m["number"])) for m in self._version_files(prefix) if m["file"] == RECORD_FILE]
        return [self._version(name, number) for name, number in sorted(found)]

    def _version_files(self, prefix: str) -> list[re.Match[str]]:
        return [match for key in self._keys(prefix) if (match := _VERSION_KEY.fullmatch(key))]

    def _alias_names(self, name: str) -> list[str]:
        _check_name(name)
        prefix, suffix = f"{name}/aliases/", ".json"
        found = (key.removeprefix(prefix).removesuffix(suffix) for key in self._keys(prefix) if key.endswith(suffix))
        return [alias for alias in found if re.fullmatch(_ALIAS, alias)]

    def _keys(self, prefix: str) -> list[str]:
        """Keys with a prefix; none for a folder that nobody made yet, but a missing bucket is an error."""
        return [info.key for info in self._infos(prefix)]

    def _infos(self, prefix: str) -> list[ObjectInfo]:
        try:
            return list(self._store.list(prefix))
        except ObjectMissing:
            if self.uri.startswith("s3://"):
                raise
            return []

    def _what_there_is(self, name: str) -> str:
        """What a person may have meant, for messages."""
        if re.fullmatch(_NAME, name) and (versions := self.versions(name)):
            aliases = "".join(f", {name}@{alias}" for alias in self._alias_names(name))
            return ", ".join(str(version) for version in versions[-8:]) + aliases
        names = ", ".join(self.names())
        return f"models {names}" if names else "nothing yet; `lga train` publishes a model"


def _read_bundle(bundle: Path) -> dict[str, bytes]:
    """The files of a bundle, all four, with the weights' digest checked; those that it lacks are empty objects."""
    files = {}
    for file in (TRAINING_FILE, METRICS_FILE, WEIGHTS_FILE, RECORD_FILE):
        try:
            files[file] = (bundle / file).read_bytes()
        except OSError as error:
            if file in (WEIGHTS_FILE, RECORD_FILE) or not isinstance(error, FileNotFoundError):
                raise SettingsError(f"{bundle} is not a model: cannot read {file}: {error.strerror}") from error
            files[file] = b"{}\n"
    if hashlib.sha256(files[WEIGHTS_FILE]).hexdigest() != _weights_digest(files[RECORD_FILE], str(bundle)):
        raise SettingsError(f"{bundle}: {WEIGHTS_FILE} is not the file that {RECORD_FILE} names (sha256 differs)")
    return files


def _weights_digest(record: bytes, uri: str) -> str:
    try:
        return str(json.loads(record)["weights_sha256"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError("use", uri, "it is not the record of a model") from error


def _cache_place(cache: Path | None, kind: str, *identity: str) -> Path:
    """A folder of its own for each content."""
    name = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:32]
    return (default_cache() if cache is None else cache) / kind / name


def _engine_key(record: EngineRecord, file: str) -> str:
    return f"engines/{record.folder}/{file}"


def _alias_key(name: str, alias: str) -> str:
    return f"{name}/aliases/{alias}.json"


def _check_name(name: str) -> None:
    if not re.fullmatch(_NAME, name):
        raise SettingsError(
            f"{name!r} cannot name a model: up to 63 of a-z, 0-9, '.', '_', '-', first a letter or digit"
        )


def _check_alias(alias: str) -> None:
    if not re.fullmatch(_ALIAS, alias):
        raise SettingsError(f"{alias!r} cannot be an alias: up to 32 of a-z, 0-9, '-', first a letter")
