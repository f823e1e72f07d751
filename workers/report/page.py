"""A page out of its parts: one file, everything inside, nothing from elsewhere.

The page's own policy (CSP) names the digests of its one style sheet and its one script: whatever else got into the
file would not run, and no address is ever asked.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from importlib.metadata import version
from itertools import chain
from string import Template
from typing import Literal

from workers.errors import SettingsError
from workers.report.cards import Card, as_json
from workers.report.markup import Markup, element, embedded_json, joined

Mode = Literal["grid", "panels"]

_ORDERS = {
    "chosen": "as chosen",
    "confidence-down": "confidence, high first",
    "confidence-up": "confidence, low first",
    "focus-down": "focus, high first",
    "focus-up": "focus, low first",
    "key": "name",
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A chapter of a page."""

    name: str
    """Of its anchor."""
    title: str
    body: Markup


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The photographs of a page."""

    title: str
    note: Markup
    """How they were chosen, and what is missing."""
    mode: Mode
    """``grid``: tiles with one overlay; ``panels``: a row for each, with all maps side by side."""
    cards: tuple[Card, ...]


@dataclass(frozen=True, kw_only=True)
class Page:
    """What stands on a page."""

    kind: str
    title: str
    summary: Markup
    sections: tuple[Section, ...]
    gallery: Gallery | None
    sources: tuple[tuple[str, str], ...]
    """The files that it was written from."""


def render(page: Page) -> bytes:
    """The file."""
    style, script = _asset("page.css"), _asset("page.js")
    gallery = [_gallery_section(page.gallery)] if page.gallery else []
    sections = [*page.sections, *gallery]
    cards = [as_json(card) for card in page.gallery.cards] if page.gallery else None
    text = Template(_asset("page.html")).substitute(
        title=joined(f"{page.title} · LGA {page.kind}"),
        style=style,
        style_digest=_digest(style),
        script=script,
        script_digest=_digest(script),
        body=joined(_header(page, sections), element("main", map(_section, sections), id="content"), _footer(page)),
        data="" if cards is None else embedded_json("cards", cards),
    )
    # A key may hold half a surrogate pair, which no file can.
    return text.encode("utf-8", "replace")


def fitted(page: Callable[[Sequence[Card], int], Page], cards: Iterable[Card], chosen: int, max_bytes: int) -> Page:
    """The page with as many of the photographs as its size allows.

    Args:
        page: Makes the page of some cards, and of the number of those that were left out.
        cards: With their photographs, the most telling first; no more are read than fit.
        chosen: How many cards there are.
        max_bytes: Largest size of the file.

    Raises:
        SettingsError: If the page is too large without any photograph.
    """
    kept: list[Card] = []
    room = max_bytes - len(render(page([], 0)))
    if room < 0:
        raise SettingsError(f"the page needs {(max_bytes - room) / 1e6:.1f} MB without any photograph; raise --max-mb")
    for card in cards:
        # A card's text is repeated in the filters at most once.
        room -= len(embedded_json("", as_json(card))) + 2 * len(card.label.encode()) + 64
        if room < 0:
            break
        kept.append(card)
    return page(kept, chosen - len(kept))


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Names and values as a list; what has no value is left out."""
    rows = [(element("dt", name), element("dd", value)) for name, value in pairs if value not in (None, "")]
    return element("dl", rows, class_="facts")


def tiles(pairs: Iterable[tuple[str, str, str]]) -> Markup:
    """The few figures that matter most: name, value, and a word on it."""
    boxes = [
        element("div", element("dt", name), element("dd", value), element("dd", note, class_="note") if note else None)
        for name, value, note in pairs
    ]
    return element("dl", boxes, class_="tiles")


def _header(page: Page, sections: Sequence[Section]) -> Markup:
    links = [element("li", element("a", section.title, href=f"#{section.name}")) for section in sections]
    return element(
        "header",
        element(
            "div",
            element("p", element("b", "LGA"), f" {page.kind}", class_="kind"),
            element("button", "Light / dark", type="button", id="theme", hidden=True),
            class_="top",
        ),
        element("h1", element("bdi", page.title)),
        element("div", page.summary, class_="summary"),
        element("nav", element("ul", links), aria_label="Sections"),
    )


def _section(section: Section) -> Markup:
    heading = f"{section.name}-title"
    return element(
        "section", element("h2", section.title, id=heading), section.body, id=section.name, aria_labelledby=heading
    )


def _footer(page: Page) -> Markup:
    return element(
        "footer",
        element("p", "Everything here was read from these files:"),
        facts(page.sources),
        element(
            "p",
            f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by lga-tagger {version('lga-tagger')}. "
            "This file is complete: it loads nothing and sends nothing.",
        ),
    )


def _gallery_section(gallery: Gallery) -> Section:
    body = joined(
        gallery.note,
        element("noscript", element("p", "The photographs need JavaScript; the figures and tables do not.")),
        _filters(gallery),
        element("p", id="found", class_="found", role="status"),
        element("ul", id="gallery", class_=gallery.mode, data_mode=gallery.mode),
        element("p", "No photograph here is like that.", id="nothing", hidden=True),
        element("button", type="button", id="more", class_="more", hidden=True),
        _large_view(),
    )
    return Section(name="photographs", title=gallery.title, body=body)


def _filters(gallery: Gallery) -> Markup:
    cards = gallery.cards
    labels = sorted({label for card in cards for label in (card.label, card.truth) if label})
    verdicts = [name for name in ("accept", "unsure", "no_person") if any(card.verdict == name for card in cards)]
    groups = list(dict.fromkeys(chain.from_iterable(card.groups for card in cards)))
    fields = [
        _choice("chosen as", "group", [(group, group) for group in groups]),
        _choice("label", "label", [(label, label) for label in labels]),
        _choice("verdict", "verdict", [(name, name.replace("_", " ")) for name in verdicts]) if verdicts else None,
        element("label", "name holds", element("input", type="search", name="search", autocomplete="off")),
        _choice("order", "order", list(_ORDERS.items()), everything=None),
        _layers(cards) if gallery.mode == "grid" else None,
        element("button", "Reset", type="reset"),
    ]
    return element("form", fields, id="filters", hidden=True, aria_label="Filter the photographs")


def _layers(cards: Sequence[Card]) -> Markup:
    names = list(dict.fromkeys(layer.name for card in cards for layer in card.maps))
    options = [("", "photograph alone"), *((name, name) for name in names)]
    if len(names) > 1:
        options.append(("+".join(names), " and ".join(names)))
    buttons = [
        element("label", element("input", type="radio", name="layer", value=value, checked=not value), text)
        for value, text in options
    ]
    return element("fieldset", element("legend", "overlay"), buttons)


def _choice(title: str, name: str, options: Sequence[tuple[str, str]], everything: str | None = "all") -> Markup:
    first = [] if everything is None else [("", everything)]
    choices = [element("option", text, value=value) for value, text in [*first, *options]]
    return element("label", title, element("select", choices, name=name))


def _large_view() -> Markup:
    buttons = [
        element("button", "Previous", type="button", id="large-previous"),
        element("span", id="large-place", role="status"),
        element("button", "Next", type="button", id="large-next"),
        element("button", "Close", type="button", id="large-close"),
    ]
    return element(
        "dialog",
        element("div", element("h3", id="large-title"), element("div", buttons, class_="steps"), class_="top"),
        element("p", id="large-key"),
        element("div", id="large-body"),
        id="large",
        aria_labelledby="large-title",
    )


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
