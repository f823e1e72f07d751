"""How much may fail, and when a run makes no sense any more."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from workers.errors import TooManyFailures
from workers.runs.record import RunRecord

_ENOUGH = 1000  # Objects before a share means anything.
_SURE = 3.29  # Standard deviations: one run in two thousand would be stopped wrongly.


@dataclass(frozen=True, kw_only=True)
class FailureLimits:
    """Largest shares of the objects that may fail."""

    overall: float = 1.0
    by_reason: Mapping[str, float] = field(default_factory=dict)
    """For single reasons; the overall limit counts as well."""


def exceeded(limits: FailureLimits, reasons: dict[str, int], objects: int) -> str | None:
    """Say which limit the failures are above, or None.

    Args:
        limits: What is allowed.
        reasons: Failed objects by reason.
        objects: Scored objects, failed ones among them.
    """
    return _first_above(limits, reasons, objects, lambda failed, limit: failed > limit * objects)


def hopeless(limits: FailureLimits, reasons: dict[str, int], objects: int, of: int) -> str | None:
    """Say which limit a long run will certainly, or almost certainly, be above at its end, or None.

    Certainly: more objects failed already than may fail of all. Almost certainly: the objects so far are a random
    sample (the plan mixes them), and the lower bound of their failure rate, by Wilson, is above the limit.

    Args:
        limits: What is allowed.
        reasons: Failed objects so far, by reason.
        objects: Scored objects so far.
        of: Objects of the whole run.
    """

    def is_lost(failed: int, limit: float) -> bool:
        return failed > limit * of or _lower_bound(failed, objects) > limit

    # A small run, or one that is through, is better finished.
    return None if objects < _ENOUGH or objects >= of else _first_above(limits, reasons, objects, is_lost)


class FailureWatch:
    """Counts the failures of an attempt while it runs, and ends it when the run makes no sense."""

    def __init__(self, limits: FailureLimits, of: int) -> None:
        """Args: of: Objects of the whole run."""
        self._limits, self._of = limits, of
        self._reasons: Counter[str] = Counter()
        self._objects = 0

    def see(self, reasons: dict[str, int], objects: int) -> None:
        """Count a shard.

        Raises:
            TooManyFailures: If the run cannot end within its limits any more.
        """
        self._reasons.update(reasons)
        self._objects += objects
        if told := hopeless(self._limits, self._reasons, self._objects, self._of):
            raise TooManyFailures(
                f"stopped early, since this run makes no sense: {told}. What is written stays; mend the cause and run "
                "the same command again, or allow more failures"
            )


def check_failures(record: RunRecord, limits: FailureLimits) -> None:
    """Say so when more objects failed than the user allows.

    Raises:
        TooManyFailures: The run is complete nevertheless.
    """
    account = record.account
    if account and (told := exceeded(limits, account.reasons, account.ok + account.failed)):
        raise TooManyFailures(f"{told}; all rows are written, the reasons are in them")


def _first_above(
    limits: FailureLimits, reasons: dict[str, int], objects: int, is_above: Callable[[int, float], bool]
) -> str | None:
    failed = sum(reasons.values())
    if limits.overall < 1 and is_above(failed, limits.overall):
        told = ", ".join(f"{count} {reason}" for reason, count in Counter(reasons).most_common(3))
        return f"{failed} of {objects} objects failed ({told}), more than --max-failure-rate {limits.overall:g} allows"
    for reason, limit in limits.by_reason.items():
        if is_above(count := reasons.get(reason, 0), limit):
            allowed = f"--max-reason-rate {reason}={limit:g}"
            return f"{count} of {objects} objects failed as {reason}, more than {allowed} allows"
    return None


def _lower_bound(failed: int, objects: int) -> float:
    """Wilson's lower bound of a share."""
    share, z2 = failed / objects, _SURE**2
    middle = share + z2 / (2 * objects)
    spread = _SURE * math.sqrt(share * (1 - share) / objects + z2 / (4 * objects**2))
    return (middle - spread) / (1 + z2 / objects)
