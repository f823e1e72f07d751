"""The pages in a real Chromium: filters, overlays, the large view, both themes, the keyboard; and no harm done."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from workers.__main__ import main

from .conftest import CLASSES, HOSTILE, write_hostile_run, write_photograph

ROOT = Path(__file__).resolve().parents[3]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs Debian's chromium; none at {CHROMIUM}")


@dataclass
class Opened:
    """A page in the browser, and everything that it complained about or asked for."""

    page: object
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def found(self) -> str:
        return self.page.text_content("#found")

    def shown(self) -> int:
        return self.page.locator("#gallery > li").count()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS, chromium_sandbox=False)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> Path:
    """The report of the hostile run."""
    folder = tmp_path_factory.mktemp("hostile")
    path = folder / "page.html"

    assert 0 == main(["report", "--output", str(write_hostile_run(folder)), "--html", str(path)])

    return path


@contextmanager
def tab(browser, html: Path, width: int = 1000) -> Iterator[Opened]:
    """A page in a fresh tab."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme="dark")
    seen = Opened(page=page)
    page.on("console", lambda message: seen.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.goto(html.as_uri())
    yield seen
    page.close()


@pytest.fixture
def opened(browser, html) -> Iterator[Opened]:
    """The report in a fresh tab."""
    with tab(browser, html) as seen:
        yield seen


def test_the_page_is_quiet_and_harmless(opened):
    """
    No complaint, no request but for the file itself and its own pictures, and nothing of the hostile names has run.
    """
    opened.page.click("#gallery button.card")

    assert [] == opened.complaints
    assert [] == [url for url in opened.requests[1:] if not url.startswith("data:")]
    assert opened.page.evaluate("window.hacked === undefined")
    assert HOSTILE in "".join(opened.page.locator("#gallery .key").all_text_contents())


def test_filters_show_what_they_say(opened):
    """
    By label, group, verdict and name; the number is told; reset brings all back; nothing found says so.
    """
    page = opened.page
    everything = opened.shown()
    page.select_option("[name=label]", "cooking")
    cooking = opened.shown()
    page.select_option("[name=verdict]", "no_person")
    nobody = opened.shown(), opened.found()
    page.fill("[name=search]", "no such name")
    nothing = opened.shown(), page.is_visible("#nothing")
    page.click("#filters button[type=reset]")
    page.wait_for_function("document.querySelectorAll('#gallery > li').length > 1")
    page.select_option("[name=order]", "confidence-up")
    first = page.text_content("#gallery li .numbers")

    assert (13, 5) == (everything, cooking)
    assert (1, "1 of 13 photographs") == nobody
    assert (0, True) == nothing
    assert first.startswith("confidence 0.50")
    assert "13 photographs" == opened.found()


def test_a_label_in_the_table_filters_the_photographs(opened):
    """
    A click on a label of the table shows its photographs.
    """
    opened.page.click("a[data-label=sitting]")

    assert "3 of 13 photographs" == opened.found()


def test_overlays_are_drawn_from_the_maps(opened):
    """
    One canvas on every photograph, coloured where the map is: the first cell is the person.
    """
    opened.page.check("[name=layer][value=person]")
    alphas = opened.page.eval_on_selector(
        "#gallery canvas",
        "node => [...node.getContext('2d').getImageData(0, 0, 2, 2).data].filter((_, i) => i % 4 === 3)",
    )

    assert 12 == opened.page.locator("#gallery canvas").count()
    assert alphas[0] > 150
    assert [0, 0, 0] == alphas[1:]


def test_the_keyboard_is_enough(opened):
    """
    A tile opens with Enter, arrows walk, Escape closes and gives the focus back; the skip link comes first.
    """
    page = opened.page
    page.keyboard.press("Tab")
    skip = page.evaluate("document.activeElement.textContent")
    page.focus("#gallery button.card")
    page.keyboard.press("Enter")
    place = [page.text_content("#large-place")]
    page.keyboard.press("ArrowRight")
    place.append(page.text_content("#large-place"))
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    place.append(page.text_content("#large-place"))
    page.keyboard.press("Escape")
    focused = page.evaluate("document.activeElement.className")

    assert "Skip to the content" == skip
    assert ["1 of 13", "2 of 13", "1 of 13"] == place
    assert not page.is_visible("#large")
    assert "card" == focused


def test_a_table_sorts_by_a_heading(opened):
    """
    Down, then up; the heading says which way.
    """
    column = "#labels tbody tr td:nth-child(3)"
    opened.page.click("#labels thead button:has-text('photographs')")
    down = opened.page.locator(column).all_text_contents()
    opened.page.click("#labels thead button:has-text('photographs')")
    up = opened.page.locator(column).all_text_contents()

    assert ["5", "5", "3"] == down == up[::-1]
    assert 1 == opened.page.locator("#labels th[aria-sort=ascending]").count()


def test_everything_has_a_name_and_an_order(opened):
    """
    Each field and button has a name, plots too; ids are unique, headings skip no level, the language is told.
    """
    nameless = opened.page.evaluate("""
        [...document.querySelectorAll('input, select, button')]
            .filter((node) => !node.closest('[hidden]') && !(node.labels?.length || node.textContent.trim())).length
    """)
    unnamed_plots = opened.page.evaluate("document.querySelectorAll('svg[role=img]:not([aria-label])').length")
    doubled = opened.page.evaluate("""
        (ids => ids.length - new Set(ids).size)([...document.querySelectorAll('[id]')].map((node) => node.id))
    """)
    levels = opened.page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map((node) => Number(node.tagName[1]))")

    assert (0, 0, 0) == (nameless, unnamed_plots, doubled)
    assert 1 == levels[0]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert "en" == opened.page.get_attribute("html", "lang")


@pytest.mark.parametrize("width", [360, 1400])
def test_both_themes_are_readable_at_any_width(opened, width):
    """
    No sideways scrolling of the page; text keeps a contrast of 4.5 on its ground, in dark, light and switched by hand.
    """
    page = opened.page
    page.set_viewport_size({"width": width, "height": 800})
    contrasts = {}
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        contrasts[scheme] = page.evaluate(CONTRASTS)
    page.click("#theme")
    contrasts["switched"] = page.evaluate(CONTRASTS)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for scheme, found in contrasts.items():
        assert [] == [each for each in found if each[1] < 4.5], scheme


def test_pages_about_models_are_as_quiet_and_as_narrow(browser, make_bundle, own_cache, tmp_path):
    """
    Hostile names of photographs and actions; who of two models is right is told by name; nothing runs or sticks out.
    """
    rows = []
    for number, action in enumerate(CLASSES):
        image = tmp_path / f"{number}{HOSTILE}"
        write_photograph(image)
        rows.append({"image": str(image), "action": action, "split": "test", "boxes": [[9, 9, 50, 60]]})
        rows[-1] |= {"width": 96, "height": 72}
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one, other = (make_bundle(classes=CLASSES, seed=seed, localisation=bool(seed)) for seed in (0, 1))
    for bundle in (one, other):
        metrics = {"validation": {"map": 0.5, "average_precision": dict.fromkeys(CLASSES, 0.4)}}
        (bundle / "metrics.json").write_text(json.dumps(metrics))
    for what in (["--model", other], ["--compare", one, other]):
        asked = ["report", *what, "--manifest", tmp_path / "m.jsonl", "--html", tmp_path / "m.html"]

        assert 0 == main([str(word) for word in asked])

        with tab(browser, tmp_path / "m.html", width=390) as seen:
            chips = seen.page.locator("#gallery .chip").all_text_contents()

            assert ([], "3 photographs") == (seen.complaints, seen.found())
            assert [] == [url for url in seen.requests[1:] if not url.startswith("data:")]
            assert seen.page.evaluate("window.hacked === undefined && document.documentElement.scrollWidth <= 390")
            assert [] == [each for each in seen.page.evaluate(CONTRASTS) if each[1] < 4.5]
            assert {"", "A", "B"} >= {chip.rpartition(" ")[0] for chip in chips}
            assert (len(what) - 1) * 3 == len(chips)


def test_the_pictures_of_the_readme_can_be_taken_again(opened, tmp_path):
    """
    `docs/pictures.py` finds on a page what it takes.
    """
    program = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
    program["photographs_of_the_run"](opened.page, tmp_path / "run.jpg")

    assert (tmp_path / "run.jpg").read_bytes().startswith(b"\xff\xd8")
    assert opened.page.is_checked("[name=layer][value='person+evidence']")


def test_on_paper_a_page_is_light_and_without_controls(opened):
    """
    Whatever the theme on the screen: dark ink on white, no filters, no buttons.
    """
    page = opened.page
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.emulate_media(media="print", color_scheme="dark")

    assert [] == [each for each in page.evaluate(CONTRASTS) if each[1] < 4.5]
    assert "rgb(255, 255, 255)" == page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert not any(page.is_visible(control) for control in ("nav", "#filters", "#theme"))


CONTRASTS = """() => {
    const channels = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0);
    const ground = (node) => {
        for (; node; node = node.parentElement) {
            const rgb = channels(getComputedStyle(node).backgroundColor);
            if (rgb.length < 4 || rgb[3] > 0) return rgb;
        }
        return [255, 255, 255];
    };
    const found = {};
    const text = 'p, dt, dd, th, td, h1, h2, a, button, label, .chip, .note, figcaption';
    for (const node of document.querySelectorAll(text)) {
        if (!node.offsetParent || !node.textContent.trim()) continue;
        const [a, b] = [light(channels(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
        const name = `${node.tagName}.${node.className}`;
        found[name] = Math.min(found[name] ?? 99, (a + 0.05) / (b + 0.05));
    }
    return Object.entries(found);
}"""
