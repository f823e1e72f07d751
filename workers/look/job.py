"""``lga look``: photographs through one model, the answer in the terminal, an overlay for each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from itertools import chain, count
from pathlib import PurePosixPath

import numpy as np
from rich.table import Table
from rich.text import Text

from lga_model.activations import focus
from lga_model.images import DecodedImage, ImageError, decode_image
from workers.console import result_console
from workers.errors import ObjectMissing, SettingsError
from workers.look.model import Looker, opened
from workers.look.overlay import PANEL_PX, overlay
from workers.registry import Registry
from workers.settings import LookSettings
from workers.storage import open_store, read_uri

_LABELS = 3


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model says about one photograph."""

    image: str
    label: str
    confidence: float
    focus: float | None
    """Share of the evidence on the person; None without a heatmap, or without evidence."""
    verdict: str
    labels: dict[str, float]
    """The likeliest ones."""
    label_set: list[str]
    overlay: str = ""
    """Where the overlay is."""


def look(settings: LookSettings) -> int:
    """Look at each photograph; print what the model says and write the overlays."""
    registry = Registry(settings.registry)
    version = registry.resolve(settings.model)
    store = open_store(settings.overlay)
    names = _overlay_names(settings.images)
    answers = []
    with opened(registry, version, settings.engine) as looker:
        for uri, name in zip(settings.images, names, strict=True):
            answer, drawn = _look_at(looker, uri)
            store.put(name, drawn)
            answers.append(replace(answer, overlay=store.uri(name)))
        title = f"{version}, {looker.runtime}"
    if settings.format == "json":
        for answer in answers:
            print(json.dumps(asdict(answer), ensure_ascii=False))
    else:
        result_console().print(_table(answers, title))
    return 0


def _look_at(looker: Looker, uri: str) -> tuple[Answer, bytes]:
    """The answer, and the overlay as PNG."""
    data = _read(uri)
    image = _decoded(data, uri, looker.size_px)
    output = looker.infer(image.pixels_HWC[None])
    probability_A, pam_HW = output.probabilities_BA[0].astype(np.float64), output.pam_BHW[0]
    heatmap_HW = None if output.heatmap_BHW is None else output.heatmap_BHW[0]
    order_A = np.argsort(-probability_A, kind="stable")
    share = np.nan if output.heatmap_BHW is None else focus(output.pam_BHW, output.heatmap_BHW)[0]
    peak_B = None if heatmap_HW is None else np.array([heatmap_HW.max()])
    members_A = looker.calibration.label_set(probability_A)
    answer = Answer(
        image=uri,
        label=looker.classes[order_A[0]],
        confidence=round(float(probability_A[order_A[0]]), 4),
        focus=round(float(share), 4) if np.isfinite(share) else None,
        verdict=str(looker.calibration.verdict(probability_A.max(keepdims=True), peak_B)[0]),
        labels={looker.classes[index]: round(float(probability_A[index]), 4) for index in order_A[:_LABELS]},
        label_set=[looker.classes[index] for index in order_A if members_A[index]],
    )
    # Sharper than the model saw it.
    return answer, overlay(_decoded(data, uri, PANEL_PX), heatmap_HW, pam_HW, _caption(answer))


def _read(uri: str) -> bytes:
    try:
        return read_uri(uri)
    except ObjectMissing as error:
        raise SettingsError(f"there is no photograph {uri}: {error.reason}") from error


def _decoded(data: bytes, uri: str, size_px: int) -> DecodedImage:
    try:
        return decode_image(data, size_px)
    except ImageError as error:
        raise SettingsError(f"{uri} cannot be looked at: {error}") from error


def _overlay_names(images: tuple[str, ...]) -> list[str]:
    """NAME.look.png each; a name that is taken already gets a number."""
    names: list[str] = []
    for uri in images:
        name = PurePosixPath(uri.rstrip("/")).name
        stem = name.rpartition(".")[0] or name
        candidates = chain([stem], (f"{stem}-{number}" for number in count(2)))
        names.append(next(each for each in (f"{one}.look.png" for one in candidates) if each not in names))
    return names


def _caption(answer: Answer) -> list[str]:
    return [
        f"{answer.label}  {answer.confidence:.2f}",
        f"focus {_figure(answer.focus)}, {answer.verdict}; then {_then(answer)}",
    ]


def _table(answers: list[Answer], title: str) -> Table:
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for heading in ("image", "label", "confidence", "focus", "verdict", "then", "overlay"):
        table.add_column(heading, justify="right" if heading in {"confidence", "focus"} else "left", overflow="fold")
    for answer in answers:
        figures = f"{answer.confidence:.3f}", _figure(answer.focus)
        cells = (answer.image, answer.label, *figures, answer.verdict, _then(answer), answer.overlay)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _then(answer: Answer) -> str:
    """The labels after the likeliest one."""
    return ", ".join(f"{name} {score:.2f}" for name, score in list(answer.labels.items())[1:])


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
