"""The sheet of photographs to label: one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape

import cv2

from lga_model.images import ImageError, decode_image
from workers.errors import StorageError
from workers.review.choose import Pick
from workers.storage import Store

_SIDE_PX = 200
_READERS = 8
_STYLE = """
body { font: 15px system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)) }
figure { margin: 0 } img, .none { width: 200px; height: 200px; background: #ddd; display: block }
figcaption { overflow-wrap: anywhere } small { color: #555 }
"""


def sheet(picks: Sequence[Pick], photographs: Store) -> str:
    """The page. A photograph that cannot be read is a grey square with its name; keys are text, never markup."""
    with ThreadPoolExecutor(_READERS) as pool:
        images = list(pool.map(lambda pick: _thumbnail(photographs, pick.tagged.key), picks))
    figures = "\n".join(_figure(pick, image) for pick, image in zip(picks, images, strict=True))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Photographs to label</title>'
        f"<style>{_STYLE}</style><h1>{len(picks)} photographs to label</h1><main>{figures}</main></html>\n"
    )


def _figure(pick: Pick, image: str | None) -> str:
    key, tagged = escape(pick.tagged.key), pick.tagged
    shown = f'<img alt="{key}" src="{image}">' if image else '<div class="none"></div>'
    return (
        f"<figure>{shown}<figcaption><b>{escape(tagged.label)}</b> {tagged.confidence:.2f}, {escape(pick.reason)}"
        f"<br><small>{key}</small></figcaption></figure>"
    )


def _thumbnail(photographs: Store, key: str) -> str | None:
    """The photograph squeezed to a square, as the model sees it."""
    try:
        pixels_HWC = decode_image(photographs.get(key).data, _SIDE_PX).pixels_HWC
    except (ImageError, StorageError):
        return None
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGR))
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
