"""The sheet of photographs to label: one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape

import cv2

from lga_model.images import ImageError, decode_image
from workers.errors import StorageError
from workers.review.choose import Pick
from workers.storage import Store

_SIDE_PX = 240
_READERS = 8
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6270; --paper: #f7f7f4; --card: #fff; --line: #d9dce1 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --soft: #a0a8b4; --paper: #12161c; --card: #1a2028; --line: #333c48 }
}
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 76rem; padding: 0 1rem }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)) }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; background: var(--card); overflow: hidden }
.frame { display: grid; place-items: center; aspect-ratio: 1; background: var(--line); color: var(--soft) }
img { max-width: 100%; max-height: 100%; display: block }
figcaption { padding: .5rem .7rem .7rem; overflow-wrap: anywhere } small, .note { color: var(--soft) }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def sheet(picks: Sequence[Pick], photographs: Mapping[str, Store]) -> str:
    """The page, with photographs from the store of their namespace.

    One that cannot be read is an empty frame with its name; keys are text, never markup.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        images = list(pool.map(lambda pick: _thumbnail(photographs[pick.tagged.namespace], pick.tagged.key), picks))
    figures = "\n".join(_figure(pick, image) for pick, image in zip(picks, images, strict=True))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Photographs to label</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_STYLE}</style></head>'
        f"<body><h1>{len(picks)} photographs to label</h1>"
        '<p class="note">Each with the label that it has now, how sure the model is of it, and why it was picked. Mend '
        f"the labels in the manifest.</p><main>{figures}</main></body></html>\n"
    )


def _figure(pick: Pick, image: str | None) -> str:
    key, tagged = escape(pick.tagged.key), pick.tagged
    shown = f'<img alt="{key}" src="{image}">' if image else "cannot be read"
    return (
        f'<figure><div class="frame">{shown}</div><figcaption><b>{escape(tagged.label)}</b> {tagged.confidence:.2f}<br>'
        f"{escape(pick.reason)}<br><small><bdi>{key}</bdi></small></figcaption></figure>"
    )


def _thumbnail(photographs: Store, key: str) -> str | None:
    """The whole photograph, its longer side as long as asked for."""
    try:
        image = decode_image(photographs.get(key).data, _SIDE_PX)
    except (ImageError, StorageError):
        return None
    scale = _SIDE_PX / max(image.width_px, image.height_px)
    size = max(1, round(image.width_px * scale)), max(1, round(image.height_px * scale))
    pixels_HWC = cv2.resize(image.pixels_HWC, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGR))
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
