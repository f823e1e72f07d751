"""When failures are too many, and when that is known early."""

from __future__ import annotations

import pytest

from workers.errors import TooManyFailures
from workers.score.failures import FailureLimits, FailureWatch, exceeded, hopeless

HALF = FailureLimits(overall=0.5)


@pytest.mark.parametrize(
    ("limits", "reasons", "objects", "told"),
    [
        (FailureLimits(), {"missing": 10}, 10, None),
        (HALF, {"missing": 5}, 10, None),
        (HALF, {"missing": 4, "denied": 2}, 10, "6 of 10 objects failed (4 missing, 2 denied)"),
        (FailureLimits(overall=0.0), {}, 10, None),
        (FailureLimits(overall=0.0), {"timeout": 1}, 10, "--max-failure-rate 0"),
        (FailureLimits(by_reason={"denied": 0.1}), {"missing": 9, "denied": 1}, 10, None),
        (FailureLimits(by_reason={"denied": 0.1}), {"denied": 2}, 10, "2 of 10 objects failed as denied"),
        (FailureLimits(by_reason={"denied": 0.0}), {"missing": 10}, 10, None),
    ],
)
def test_the_limits_at_the_end(limits, reasons, objects, told):
    """
    More than the limit is too many; the limit itself is not; the reasons are told, the most frequent first.
    """
    found = exceeded(limits, reasons, objects)

    assert (told is None) == (found is None)
    assert told is None or told in found


@pytest.mark.parametrize(
    ("failed", "objects", "of", "is_hopeless"),
    [
        (1001, 1001, 2000, True),  # Certain: even if all the others are good.
        (51, 51, 100, False),  # Certain too, but soon finished.
        (2000, 2000, 2000, False),  # Finished.
        (999, 999, 10**9, False),  # Too few to tell.
        (1000, 1000, 10**9, True),
        (560, 1000, 10**9, True),
        (540, 1000, 10**9, False),  # Above the limit, but by chance perhaps.
        (0, 10**6, 10**9, False),
    ],
)
def test_a_run_that_makes_no_sense_is_known_early(failed, objects, of, is_hopeless):
    """
    When the limit is certain to be broken, or the sample says so beyond doubt.
    """
    assert is_hopeless == (hopeless(HALF, {"denied": failed}, objects, of) is not None)


def test_without_limits_nothing_is_hopeless():
    """
    The default lets a run finish however many objects fail.
    """
    assert hopeless(FailureLimits(), {"denied": 10**6}, 10**6, 10**6) is None


def test_the_watch_adds_up_shards():
    """
    It ends the attempt at the shard that makes it certain, and says why and what to do.
    """
    watch = FailureWatch(FailureLimits(by_reason={"denied": 0.25}), 10_000)
    watch.see({"denied": 100, "missing": 900}, 1000)
    watch.see({"denied": 200}, 500)
    with pytest.raises(TooManyFailures, match=r"800 of 2000 objects failed as denied.*run the same command again"):
        watch.see({"denied": 500}, 500)
