"""HTML that cannot be broken from inside: whatever is not ``Markup`` is escaped where it enters.

Object keys, labels and messages are anybody's text. They pass through ``element`` as plain strings, or through
``embedded_json`` into a script element; nothing else puts text into a page.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable
from typing import Any

VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta"})

Child = "Markup | str | int | float | None | Iterable[Child]"


class Markup(str):
    """Finished HTML. Made by this module's functions, and nowhere from outside text."""

    __slots__ = ()


def element(tag: str, /, *children: Any, **attributes: str | float | bool | None) -> Markup:  # noqa: ANN401 - see Child
    """One element.

    Args:
        tag: Its name.
        *children: Markup as it is, other text escaped, numbers, nested iterables of these; None is nothing.
        **attributes: ``class_`` and ``for_`` lose the underscore at their end, others turn theirs into hyphens. True
            is an attribute without a value; None and False leave it out.
    """
    inside = "".join(
        f" {_name(key)}" if value is True else f' {_name(key)}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{tag}{inside}>" if tag in VOID else f"<{tag}{inside}>{joined(*children)}</{tag}>")


def joined(*children: Any) -> Markup:  # noqa: ANN401 - see Child
    """Children without an element around them; see ``element``."""
    return Markup("".join(_pieces(children)))


def listed(each: Iterable[Any]) -> Markup:
    """Things in a row, with commas."""
    return joined((", " if number else "", one) for number, one in enumerate(each))


def names(each: Iterable[str]) -> Markup:
    """Names in a row, with commas. What a name does to the direction of writing ends with it."""
    return listed(element("bdi", name) for name in each)


def table(*parts: Any, class_: str | None = None) -> Markup:  # noqa: ANN401 - see Child
    """A table in a frame of its own, which scrolls where the page is too narrow for it."""
    return element("div", element("table", *parts, class_=class_), class_="scroll")


def embedded_json(name: str, document: object) -> Markup:
    """Data for the page's own script, in an element that browsers do not run.

    ``</script>`` and ``<!--`` cannot occur in it: every ``<``, ``>`` and ``&`` is written as an escape of JSON.
    """
    text = json.dumps(without_nan(document), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')


def without_nan(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """JSON knows no NaN and no infinity: what could not be measured is null."""
    if isinstance(value, dict):
        return {str(name): without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _pieces(children: Iterable[Any]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str | int | float):
            yield html.escape(str(child))
        else:
            yield from _pieces(child)
