"""Where a run's checkpoints lie, which of them are kept, and how they get there.

    <output>/<run>/checkpoints/00000120-5f3a/{*.safetensors, state.json}

The number counts steps; the mark behind it is the attempt's own, so that two attempts that overlap never write into one
folder. ``state.json`` goes last and names the digest of the others: a checkpoint that was cut short is none.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from workers.errors import ObjectMissing
from workers.logs import get_log
from workers.storage import Store
from workers.train.checkpoints import STATE_FILE, CheckpointUnreadable, Files, read_progress

_KEY = re.compile(r"checkpoints/(?P<name>(?P<step>\d{8,})-[0-9a-f]+)/(?P<file>[a-z.]+)")
_KEPT_LAST = 2
"""The newest, and the one before it should the newest turn out to be damaged."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One whole checkpoint."""

    name: str
    step: int
    """Steps since the beginning of the run."""
    map: float | None
    """Validation mAP; None in the middle of an epoch."""


def to_drop(checkpoints: Iterable[Checkpoint], keep_best: int) -> list[Checkpoint]:
    """Decide which checkpoints are not needed any more: all but the newest two and the best few."""
    newest = sorted(checkpoints, key=lambda each: each.step, reverse=True)
    # Of equally good ones the earlier: it was trained for less.
    validated = sorted(
        (each for each in newest if each.map is not None), key=lambda each: (-(each.map or 0), each.step)
    )
    kept = {each.name for each in (*newest[:_KEPT_LAST], *validated[:keep_best])}
    return [each for each in newest if each.name not in kept]


class Shelf:
    """The checkpoints of one run in an object store."""

    def __init__(self, store: Store, *, keep_best: int) -> None:
        """Args: store: Of the run's folder. keep_best: Validated checkpoints that are kept, the best first."""
        self._store, self._keep_best = store, keep_best
        self._attempt = secrets.token_hex(4)
        self._known: dict[str, Checkpoint] = {}

    def checkpoints(self) -> list[Checkpoint]:
        """All whole ones, the newest first.

        Raises:
            CheckpointUnreadable: If one is from another release.
            StorageError: If the store does not answer.
        """
        for match in self._files():
            if match["file"] == STATE_FILE and match["name"] not in self._known:
                self._known[match["name"]] = self._read(match["name"], int(match["step"]))
        # Of one step the validated one: an attempt that was stopped before it validated left the other.
        return sorted(self._known.values(), key=lambda each: (each.step, each.map is not None), reverse=True)

    def best(self) -> Checkpoint | None:
        """The validated checkpoint with the highest mAP, of equal ones the earlier; None when there is none."""
        validated = [each for each in self.checkpoints() if each.map is not None]
        return max(validated, key=lambda each: (each.map or 0, -each.step), default=None)

    def load(self, name: str) -> Files:
        """Read a checkpoint, every file with its digest checked.

        Raises:
            CheckpointUnreadable: If it is damaged.
            StorageError: If the store does not answer.
        """
        state = self._get(name, STATE_FILE)
        files = {STATE_FILE: state}
        for file, digest in read_progress(state).digests.items():
            files[file] = self._get(name, file)
            if hashlib.sha256(files[file]).hexdigest() != digest:
                raise CheckpointUnreadable(
                    f"{self._store.uri(_key(name, file))} is not the file that was written (sha256 differs)"
                )
        return files

    def load_newest(self) -> tuple[Checkpoint, Files] | None:
        """Read the newest checkpoint that is sound; None when there is none. Errors as ``checkpoints``."""
        for checkpoint in self.checkpoints():
            try:
                return checkpoint, self.load(checkpoint.name)
            except (CheckpointUnreadable, ObjectMissing) as error:
                get_log().warning("train.checkpoint_passed_over", checkpoint=checkpoint.name, reason=str(error))
        return None

    def save(self, step: int, files: Files) -> Checkpoint:
        """Write a checkpoint, and drop those that are not needed any more.

        Raises:
            StorageError: If it cannot be written; the others are untouched then.
        """
        name = f"{step:08d}-{self._attempt}"
        for file, data in files.items():
            if file != STATE_FILE:
                self._store.put(_key(name, file), data)
        self._store.put(_key(name, STATE_FILE), files[STATE_FILE])
        saved = Checkpoint(name=name, step=step, map=read_progress(files[STATE_FILE]).map)
        self._known[name] = saved
        for old in to_drop(self._known.values(), self._keep_best):
            self._drop(old)
        return saved

    def _drop(self, checkpoint: Checkpoint) -> None:
        """The state goes first: half a checkpoint is none."""
        files = [match["file"] for match in self._files(checkpoint.name)]
        for file in sorted(files, key=lambda file: file != STATE_FILE):
            self._store.delete(_key(checkpoint.name, file))
        self._known.pop(checkpoint.name, None)

    def _read(self, name: str, step: int) -> Checkpoint:
        return Checkpoint(name=name, step=step, map=read_progress(self._get(name, STATE_FILE)).map)

    def _files(self, name: str = "") -> list[re.Match[str]]:
        try:
            found = [_KEY.fullmatch(entry.key) for entry in self._store.list(f"checkpoints/{name}")]
        except ObjectMissing:  # A run's folder that nobody made yet.
            return []
        return [match for match in found if match]

    def _get(self, name: str, file: str) -> bytes:
        return self._store.get(_key(name, file)).data


def _key(name: str, file: str) -> str:
    return f"checkpoints/{name}/{file}"
