"""Which of the objects are wanted."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which of the objects are wanted."""

    include: tuple[str, ...] = ("*",)
    """Shell patterns; ``*`` crosses slashes. They see the key below the prefix, as in `aws s3 sync`."""
    exclude: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    """Ends of keys, in any case; none means any: then the bytes decide what is an image."""
    min_bytes: int = 0
    """Smaller objects are left out; an object of unknown size is not."""
    sample: float = 1.0
    """Share of the objects, chosen by their keys: the same ones every night."""
    limit: int | None = None
    """At most this many objects."""

    def describe(self) -> dict[str, object]:
        """Everything that makes two selections different, as plain JSON."""
        return {
            "include": sorted(self.include),
            "exclude": sorted(self.exclude),
            "suffixes": sorted(suffix.lower() for suffix in self.suffixes),
            "min_bytes": self.min_bytes,
            "sample": self.sample,
            "limit": self.limit,
        }


def select(tables: Iterator[pa.Table], prefix: str, selection: Selection) -> Iterator[pa.Table]:
    """The wanted rows of a listing.

    Args:
        tables: With the columns ``key`` and ``size_bytes``, null for an unknown size.
        prefix: Front of every key, which the patterns do not see.
        selection: What is wanted.
    """
    wanted, rest = _wanted(prefix, selection), selection.limit
    for table in tables:
        found = table
        if selection.min_bytes:
            sizes = found["size_bytes"]
            found = found.filter(pc.fill_null(pc.greater_equal(sizes, selection.min_bytes), fill_value=True))
        if wanted is not None:
            found = found.filter(pa.array([wanted(key) for key in found["key"].to_pylist()], pa.bool_()))
        if rest is not None:
            found = found.slice(0, rest)
            rest -= found.num_rows
        if found.num_rows:
            yield found
        if rest == 0:
            return


def position(key: str) -> float:
    """Where a key stands between 0 and 1, by its digest: evenly spread, and always the same."""
    digest = hashlib.md5(key.encode(), usedforsecurity=False).digest()
    return float(np.frombuffer(digest[:8], ">u8")[0]) / 2**64


def _wanted(prefix: str, selection: Selection) -> Callable[[str], bool] | None:
    """Whether a key is wanted; None when all are."""
    checks: list[Callable[[str], bool]] = []
    skipped = len(prefix)
    if "*" not in selection.include:
        included = _any_of(selection.include)
        checks.append(lambda key: included(key[skipped:]))
    if selection.exclude:
        excluded = _any_of(selection.exclude)
        checks.append(lambda key: not excluded(key[skipped:]))
    if selection.suffixes:
        suffixes = tuple(suffix.lower() for suffix in selection.suffixes)
        checks.append(lambda key: key.lower().endswith(suffixes))
    if selection.sample < 1:
        checks.append(lambda key: position(key) < selection.sample)
    return (lambda key: all(check(key) for check in checks)) if checks else None


def _any_of(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    matches = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)).match
    return lambda name: matches(name) is not None
