"""The registry: its versions, with everything that hangs on one; the layout stands in ``workers.registry``."""

from __future__ import annotations

import contextlib
import re
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from workers.engines.record import EngineRecord
from workers.errors import ConditionFailed, ObjectMissing, SettingsError
from workers.lease import Held, LeaseOptions, leased
from workers.logs import get_log
from workers.registry.aliases import Alias, promoted, rolled_back
from workers.registry.bundles import fetch_bundle, read_bundle
from workers.registry.engines import add_engine, fetch_engine, has_engine, list_engines
from workers.registry.garbage import Candidate, Garbage, find_garbage
from workers.registry.names import (
    ALIAS_KEY,
    ANY_KEY,
    RECORD_FILE,
    REFERENCE,
    TRAINING_FILE,
    VERSION_KEY,
    VERSION_URI,
    Version,
    is_name,
    versions_prefix,
)
from workers.registry.pointers import move_alias, read_alias
from workers.registry.timings import StoredTimings
from workers.settings.shared import EnginePrecision, Target
from workers.storage import ObjectInfo, open_store

_BUILDER_LEASE_S = 60.0
"""A builder that gave no sign of life for so long is dead: some compilers let no other thread run for a while."""


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
        return self._versions(versions_prefix(name))

    def aliases(self, name: str) -> dict[str, int]:
        """Where each alias of a model points."""
        return {alias: self.alias(name, alias).version for alias in self._alias_names(name)}

    def alias(self, name: str, alias: str) -> Alias:
        """One alias with its history.

        Raises:
            SettingsError: If there is no such alias.
        """
        if (found := read_alias(self._store, name, alias)) is None:
            raise SettingsError(
                f"there is no {name}@{alias} in {self.uri} (there is: {self._what_there_is(name)}). "
                f"Set it with: lga models promote --model {name}:VERSION --alias {alias}"
            )
        return found

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
        if match := REFERENCE.fullmatch(reference):
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
        if match := VERSION_URI.fullmatch(store.root):
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
        prefix, files = versions_prefix(name), read_bundle(bundle)
        version = self._claim(name, prefix, files.pop(TRAINING_FILE))
        store = open_store(version.uri)
        record = files.pop(RECORD_FILE)
        for file, data in files.items():
            store.put(file, data)
        store.put(RECORD_FILE, record)
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
        return fetch_bundle(version, cache)

    def engines(self, version: Version) -> list[EngineRecord]:
        """The engines of a version. Those that this release cannot read are left out, with a warning in the log."""
        return list_engines(version)

    def has_engine(self, version: Version, record: EngineRecord) -> bool:
        """Whether a version has this engine, undamaged."""
        return has_engine(version, record)

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
        return add_engine(version, folder)

    def building(self, version: Version, target: Target, precision: EnginePrecision) -> AbstractContextManager[Held]:
        """Hold the right to build one kind of engine of a version; wait while another process builds it.

        Raises:
            StorageError: If the registry cannot be written.
        """
        options = LeaseOptions(lease_s=_BUILDER_LEASE_S)
        return leased(open_store(version.uri), f"building/{target}-{precision}.json", options)

    def fetch_engine(self, version: Version, record: EngineRecord, cache: Path | None = None) -> Path:
        """An engine as a local folder, for ``open_engine``. Not to be changed: others use it too.

        Raises:
            EngineError: If its bytes are not those that the record names.
            StorageError: If it cannot be read.
        """
        return fetch_engine(version, record, cache)

    def holds(self, version: Version) -> bool:
        """Whether a version is one of this registry's, and not a bundle from elsewhere."""
        return version.number > 0 and version == self._version(version.name, version.number)

    def promote(self, version: Version, alias: str) -> None:
        """Point an alias at a version. Nothing happens when it points there already.

        Raises:
            SettingsError: If the version is not a published one of this registry.
            ConditionFailed: If somebody else moved the alias at the same moment, and it is where they put it; or if the
                version was deleted at the same moment.
        """
        if not self.holds(version):
            raise SettingsError(f"only a published version can have an alias, and {version} is not one of {self.uri}")
        move_alias(self._store, version.name, alias, lambda before: promoted(before, version.number))
        # ``collect`` deletes the record and then looks at the aliases: one of the two always sees the other.
        if not open_store(version.uri).exists(RECORD_FILE):
            reason = f"it was deleted at the same moment; move {version.name}@{alias} to another version"
            raise ConditionFailed("promote", version.uri, reason)

    def roll_back(self, name: str, alias: str) -> Version:
        """Point an alias back at the version that it held before, which is returned.

        Raises:
            SettingsError: If there is no such alias, it held no version before, or that one is there no more: the alias
                stays where it is.
            ConditionFailed: As ``promote``.
        """

        def change(before: Alias | None) -> Alias:
            after = None if before is None else rolled_back(before)
            if before is None or after is None:
                now = self.alias(name, alias).version
                raise SettingsError(f"alias {alias!r} of {name} held no version before {name}:{now} to go back to")
            self.resolve(f"{name}:{after.version}")
            return after

        return self.resolve(f"{name}:{move_alias(self._store, name, alias, change).version}")

    def garbage(self, name: str, *, keep: int, min_age: timedelta) -> list[Garbage]:
        """The numbers of a model that nobody needs any more; see ``find_garbage``."""
        files: dict[int, list[ObjectInfo]] = {}
        for info in self._infos(versions_prefix(name)):
            if match := ANY_KEY.fullmatch(info.key):
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

    def _claim(self, name: str, prefix: str, training: bytes) -> Version:
        """Take the next number, for good: the conditional write of the first file decides between publishers.

        One that arrived and was never answered is repeated by the client and then refused: that number stays unused.
        """
        taken = [int(match["number"]) for match in self._version_files(prefix)]
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
        return [match for key in self._keys(prefix) if (match := VERSION_KEY.fullmatch(key))]

    def _alias_names(self, name: str) -> list[str]:
        versions_prefix(name)
        return [match["alias"] for key in self._keys(f"{name}/aliases/") if (match := ALIAS_KEY.fullmatch(key))]

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
        if is_name(name) and (versions := self.versions(name)):
            aliases = "".join(f", {name}@{alias}" for alias in self._alias_names(name))
            return ", ".join(str(version) for version in versions[-8:]) + aliases
        names = ", ".join(self.names())
        return f"models {names}" if names else "nothing yet; `lga train` publishes a model"
