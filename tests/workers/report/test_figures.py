"""Numbers as people read them."""

from __future__ import annotations

import pytest

from workers.report.figures import direction, signed


@pytest.mark.parametrize(
    ("difference", "shown", "way"),
    [
        (0.25, "+0.250", "good"),
        (-1234.5, "−1,234.500", "bad"),
        (0.0004, "0.000", ""),
        (-0.0004, "0.000", ""),
        (None, "–", ""),
        (float("nan"), "–", ""),
    ],
)
def test_a_difference_has_a_sign_when_its_digits_show_one(difference, shown, way):
    """
    What rounds to nothing is neither good nor bad.
    """
    assert (shown, way) == (signed(difference), direction(signed(difference)))
