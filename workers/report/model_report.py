"""From versions in the registry to their page: files in, panels made with the models themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from workers.engines.torch import load_graph
from workers.errors import SettingsError
from workers.manifest import load_manifest
from workers.registry import Registry
from workers.report import figures as show
from workers.report.cards import Card, Map
from workers.report.comparison_page import comparison_page
from workers.report.markup import element
from workers.report.model_files import ModelFiles, check_used, read_evaluations, read_model
from workers.report.model_page import model_page
from workers.report.page import Gallery, Page, fitted
from workers.report.panels import Look, Seen, in_random_order, look_at, photographs_of
from workers.settings import ReportSettings

_PHOTOGRAPHS = 48
_POOL = 4
"""So many times more photographs are looked at than are shown."""

SAMPLE = "random sample"
Layout = Callable[[Gallery | None], Page]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One way to choose photographs among those that were looked at."""

    name: str
    fits: Callable[[Seen], bool]
    rank: Callable[[Seen], float]
    """The lowest first."""


def model_report(settings: ReportSettings, reference: str) -> Page:
    """The page about one model.

    Raises:
        SettingsError: If there is no such model, evaluation or manifest.
        StorageError: If they cannot be read.
    """
    registry = Registry(settings.registry)
    evaluations = read_evaluations(settings.evaluation)
    files = read_model(registry, reference, evaluations)
    check_used(evaluations, [files])
    sources = _sources(settings, [files])
    seen = _look(settings, registry, [files])
    cards = _chosen(seen, _model_choices(), _model_card, _shown(settings))
    note = "A random sample, the surest mistakes, and those with the least focus in the true box."
    title = "What it looks at"
    return _fitted(settings, lambda gallery: model_page(files, gallery, sources), cards, len(seen), (title, note))


def comparison_report(settings: ReportSettings, first: str, second: str) -> Page:
    """The page about two models. Errors as ``model_report``."""
    registry = Registry(settings.registry)
    evaluations = read_evaluations(settings.evaluation)
    models = [read_model(registry, reference, evaluations) for reference in (first, second)]
    check_used(evaluations, models)
    sources = _sources(settings, models)
    seen = _look(settings, registry, models)
    cards = _chosen(seen, _comparison_choices(), _comparison_card, _shown(settings))
    note = (
        "The paper's Fig. 5. A random sample, those that one model alone gets right, and where focus changed most. "
        "Order and label go by what B says."
    )

    def layout(gallery: Gallery | None) -> Page:
        return comparison_page(models[0], models[1], gallery, sources)

    return _fitted(settings, layout, cards, len(seen), ("What they look at", note))


def _sources(settings: ReportSettings, models: Sequence[ModelFiles]) -> list[tuple[str, str]]:
    sources = [source for files in models for source in files.sources]
    sources += [("evaluation", uri) for uri in settings.evaluation]
    return sources + ([("photographs", f"{settings.manifest}, split {settings.split}")] if settings.manifest else [])


def _shown(settings: ReportSettings) -> int:
    return _PHOTOGRAPHS if settings.max_photographs is None else settings.max_photographs


def _look(settings: ReportSettings, registry: Registry, models: Sequence[ModelFiles]) -> list[Seen]:
    """Photographs of the manifest through all models; none without a manifest."""
    shown = _shown(settings)
    if settings.manifest is None or not shown:
        return []
    annotations = load_manifest(settings.manifest).split(settings.split)
    if not annotations:
        raise SettingsError(f"{settings.manifest} has no photographs in its split {settings.split}")
    graphs = [load_graph(registry.fetch(files.version), files.name)[0] for files in models]
    seen = list(look_at(graphs, in_random_order(annotations)[: _POOL * shown]))
    if not seen:
        raise SettingsError(f"none of the photographs of {settings.manifest} can be read; is the manifest up to date?")
    return seen


def _fitted(
    settings: ReportSettings, layout: Layout, cards: Sequence[Card], looked_at: int, words: tuple[str, str]
) -> Page:
    def page(kept: Sequence[Card], left_out: int) -> Page:
        return layout(_gallery(kept, left_out, looked_at, *words) if cards else None)

    return fitted(page, cards, len(cards), round(settings.max_mb * 1e6))


def _gallery(cards: Sequence[Card], left_out: int, looked_at: int, title: str, note: str) -> Gallery:
    notes = [
        note,
        f"Chosen among {show.count(looked_at)} photographs, taken by a digest of their names.",
        "SAM: where the features are active, each channel scaled first. PAM: the cells that spoke for the label.",
        "Heatmap: where it sees a person. SAM and PAM are scaled for each photograph, the heatmap is not.",
    ]
    if left_out:
        notes.append(f"{show.count(left_out)} more were left out to keep this file small (--max-mb).")
    return Gallery(title=title, note=element("p", " ".join(notes)), mode="panels", cards=tuple(cards))


def _chosen(
    seen: Sequence[Seen], choices: Sequence[Choice], card: Callable[[Seen, tuple[str, ...]], Card], shown: int
) -> list[Card]:
    """Half of the photographs at random, the rest shared among the choices; one may have several reasons."""
    reasons: dict[int, list[str]] = {number: [SAMPLE] for number in range(min(len(seen), (shown + 1) // 2))}
    each = (shown - len(reasons)) // max(1, len(choices))
    for choice in choices:
        fitting = [number for number, one in enumerate(seen) if choice.fits(one)]
        for number in sorted(fitting, key=lambda number: choice.rank(seen[number]))[:each]:
            reasons.setdefault(number, []).append(choice.name)
    chosen = [seen[number] for number in reasons]
    return [
        replace(card(one, tuple(names)), photograph=photograph, trouble="" if photograph else "cannot be read any more")
        for one, names, photograph in zip(chosen, reasons.values(), photographs_of(chosen), strict=True)
    ]


def _model_choices() -> tuple[Choice, ...]:
    return (
        Choice(name="surest mistakes", fits=lambda one: not _right(one), rank=lambda one: -one.looks[0].confidence),
        Choice(
            name="least focused",
            fits=lambda one: one.looks[0].focus_in_boxes is not None,
            rank=lambda one: one.looks[0].focus_in_boxes or 0.0,
        ),
    )


def _comparison_choices() -> tuple[Choice, ...]:
    return (
        Choice(name="only B is right", fits=lambda one: not _right(one, 0) and _right(one, 1), rank=_loss_of_focus),
        Choice(name="only A is right", fits=lambda one: _right(one, 0) and not _right(one, 1), rank=_gain_of_focus),
        Choice(name="focus rose most", fits=lambda one: _gain_of_focus(one) > 0, rank=_loss_of_focus),
        Choice(name="focus fell most", fits=lambda one: _gain_of_focus(one) < 0, rank=_gain_of_focus),
    )


def _right(one: Seen, model: int = 0) -> bool:
    return one.looks[model].label == one.annotation.action


def _gain_of_focus(one: Seen) -> float:
    before, after = (look.focus_in_boxes for look in one.looks)
    return 0.0 if before is None or after is None else after - before


def _loss_of_focus(one: Seen) -> float:
    return -_gain_of_focus(one)


def _model_card(one: Seen, reasons: tuple[str, ...]) -> Card:
    look = one.looks[0]
    return _card(
        one,
        look,
        reasons,
        (("says", _says(look)), ("focus in the box", show.number(look.focus_in_boxes, 2))),
        look.maps(),
        ("",),
    )


def _comparison_card(one: Seen, reasons: tuple[str, ...]) -> Card:
    before, after = one.looks
    facts = (
        ("A says", _says(before)),
        ("B says", _says(after)),
        ("focus in the box", f"A {show.number(before.focus_in_boxes, 2)}, B {show.number(after.focus_in_boxes, 2)}"),
    )
    return _card(one, after, reasons, facts, (*before.maps("A: "), *after.maps("B: ")), ("A", "B"))


def _says(look: Look) -> str:
    return f"{look.label} {show.number(look.confidence, 2)}"


def _card(
    one: Seen,
    look: Look,
    reasons: tuple[str, ...],
    facts: tuple[tuple[str, str], ...],
    maps: tuple[Map, ...],
    names: tuple[str, ...],
) -> Card:
    return Card(
        key=one.annotation.image.rpartition("/")[2],
        label=look.label,
        confidence=look.confidence,
        focus=look.focus_in_boxes,
        truth=one.annotation.action,
        right=tuple((name, _right(one, number)) for number, name in enumerate(names)),
        groups=reasons,
        labels=look.labels,
        facts=facts,
        maps=maps,
        boxes=one.boxes,
    )
