"""Which versions nobody needs any more. Decides; ``Registry.collect`` acts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from workers.registry.aliases import Alias


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One number of a model, as it lies there."""

    number: int
    complete: bool
    """Whether it is a version; else a publisher left it half written."""
    written_at: datetime
    """Its newest file."""
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """One number that may go, and why."""

    number: int
    size_bytes: int
    reason: str


def find_garbage(
    candidates: Iterable[Candidate], aliases: Mapping[str, Alias], *, keep: int, min_age: timedelta, now: datetime
) -> list[Garbage]:
    """Decide which numbers of one model may go.

    What an alias points at stays, and every version that a rollback could reach; so do the newest versions, and what
    is younger than ``min_age``: somebody may be publishing or promoting it at this moment.

    Args:
        candidates: Every number that has more than its claim.
        aliases: Of the model.
        keep: Newest versions that stay in any case.
        min_age: Younger ones stay as well.
        now: Is what ages are counted from.
    """
    needed = {number for alias in aliases.values() for number in alias.held}
    found = sorted(candidates, key=lambda each: each.number)
    newest = {each.number for each in [each for each in found if each.complete][-keep:]} if keep else set[int]()
    garbage = []
    for each in found:
        if now - each.written_at < min_age or each.number in needed or each.number in newest:
            continue
        reason = "no alias needs it" if each.complete else "never finished"
        garbage.append(Garbage(number=each.number, size_bytes=each.size_bytes, reason=reason))
    return garbage
