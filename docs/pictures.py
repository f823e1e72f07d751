"""The pictures of the README, taken of the pages that `make demo` leaves: ``python docs/pictures.py demo-work``."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"


def photographs_of_the_run(page: Page, path: Path) -> None:
    """The photographs whose label came from the background, with both overlays."""
    page.select_option("[name=group]", "label from the background")
    page.check("[name=layer][value='person+evidence']")
    _take(page, "#photographs", 880, path)


def panels_of_the_models(page: Page, path: Path) -> None:
    """What two models look at, in the same photographs."""
    page.select_option("[name=group]", "random sample")
    _take(page, "#gallery", 586, path)


def _take(page: Page, part: str, height_px: int, path: Path) -> None:
    """So much of the page, from the top of one of its parts on."""
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    top, width_px = page.evaluate(
        "part => [document.querySelector(part).getBoundingClientRect().top + scrollY, innerWidth]", part
    )
    clip = {"x": 0.0, "y": top, "width": width_px, "height": height_px}
    page.screenshot(path=path, full_page=True, clip=clip, type="jpeg", quality=80)  # type: ignore[arg-type]


if __name__ == "__main__":
    pages, here = Path(sys.argv[1]).resolve(), Path(__file__).resolve().parent
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        for name, width, take, picture in (
            ("run.html", 1160, photographs_of_the_run, "run.jpg"),
            ("models.html", 1240, panels_of_the_models, "panels.jpg"),
        ):
            tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="light")
            tab.goto((pages / name).as_uri())
            take(tab, here / picture)
        browser.close()
