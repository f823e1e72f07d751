"""Numbers as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

NOTHING = "–"
"""What stands where nothing was measured."""


def number(value: object, digits: int = 3) -> str:
    """A figure with so many digits after the point; a dash for what is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return NOTHING
    return f"{value:,.{digits}f}"


def count(value: object) -> str:
    """A whole number with separators for thousands."""
    return number(value, 0)


def percent(value: object, digits: int = 1) -> str:
    """A share as a percentage."""
    shown = number(100 * value if isinstance(value, int | float) else None, digits)
    return shown if shown == NOTHING else f"{shown} %"


def signed(value: object, digits: int = 3) -> str:
    """A difference with its sign; one that is too small for so many digits has none."""
    shown = number(value, digits)
    if not any(digit in shown for digit in "123456789"):
        return shown.removeprefix("-")
    return shown.replace("-", "−") if shown.startswith("-") else f"+{shown}"


def direction(difference: str) -> str:
    """Whether a difference, as ``signed`` writes it, is ``good``, ``bad`` or neither."""
    return {"+": "good", "−": "bad"}.get(difference[:1], "")


def small(value: object) -> str:
    """A number that may be tiny, such as a deviation."""
    shown = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return f"{value:.1e}" if shown else NOTHING


def seconds(value: object) -> str:
    """A duration in the unit that fits it."""
    if number(value) == NOTHING or not isinstance(value, int | float):
        return NOTHING
    if value < 120:  # noqa: PLR2004 - two minutes
        return f"{value:.1f} s"
    minutes, hours = value / 60, value / 3600
    return f"{minutes:.0f} min" if minutes < 120 else f"{hours:.1f} h"  # noqa: PLR2004 - two hours


def size(value: object) -> str:
    """Bytes in the unit that fits them."""
    if number(value) == NOTHING or not isinstance(value, int | float):
        return NOTHING
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(value) < 1000 or unit == "GB":  # noqa: PLR2004 - the next unit
            break
        value /= 1000
    return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"


def moment(value: object) -> str:
    """A time from a written file, in UTC."""
    try:
        when = datetime.fromisoformat(str(value))
    except ValueError:
        return NOTHING
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
