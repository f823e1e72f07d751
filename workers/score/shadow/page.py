"""The comparison as one self-contained page: no script, nothing from elsewhere, all text escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib import resources
from string import Template
from typing import Any

_SHOWN = 40  # Rows of a table.


def page(facts: dict[str, Any]) -> str:
    """The page as HTML.

    Args:
        facts: As in the JSON: input, production, candidate, sampled, listed, comparison, retag.
    """
    comparison, retag = facts["comparison"], facts["retag"]
    template = Template(resources.files("workers.score.shadow").joinpath("page.html").read_text(encoding="utf-8"))
    share = comparison["flip_share"]
    return template.substitute(
        production=escape(_name(facts["production"])),
        candidate=escape(_name(facts["candidate"])),
        input=escape(facts["input"]),
        compared=comparison["compared"],
        sampled=facts["sampled"],
        listed=facts["listed"],
        flips=comparison["flips"],
        share="-" if share is None else f"{share:.1%}",
        figures=_table(("figure", "value"), _figures(comparison, retag)),
        matrix=_matrix(comparison["matrix"]),
        confidence=_bars("confidence", comparison["production"]["confidence"], comparison["candidate"]["confidence"]),
        focus=_bars("focus", comparison["production"]["focus"], comparison["candidate"]["focus"]),
        folders=_table(
            ("folder", "compared", "flips"),
            ((name or "(none)", *counts) for name, counts in list(comparison["by_folder"].items())[:_SHOWN]),
        ),
    )


def _name(model: dict[str, Any]) -> str:
    return f"{model['model']}:{model['version']} ({model['target']} {model['precision']}, engine {model['engine']})"


def _figures(comparison: dict[str, Any], retag: dict[str, Any] | None) -> Iterable[tuple[object, ...]]:
    for title, name in (
        ("confidence, mean shift", "confidence_shift"),
        ("focus, mean shift", "focus_shift"),
        ("heatmap, mean difference of a cell", "heatmap_difference"),
        ("heatmap, overlap (IoU)", "heatmap_overlap"),
    ):
        value = comparison[name]
        yield title, "-" if value is None else f"{value:.4f}"
    for output, index in comparison["drift"].items():
        yield f"drift of {output} (PSI)", "-" if index is None else f"{index:.3f}"
    yield "tagged by production alone", comparison["only_production"]
    yield "tagged by the candidate alone", comparison["only_candidate"]
    if retag is not None:
        yield "full re-tag, hours on these machines", f"{retag['hours_possible']:.2f} to {retag['hours']:.2f}"
        if retag["cost"] is not None:
            yield "full re-tag, cost at most", f"{retag['cost']:.2f}"


def _table(headings: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _matrix(matrix: dict[str, dict[str, int]]) -> str:
    """Rows are production's labels, columns the candidate's; the diagonal is what stays."""
    names = sorted(matrix.keys() | {new for row in matrix.values() for new in row})
    head = "<th></th>" + "".join(f'<th scope="col" class="side"><span>{escape(name)}</span></th>' for name in names)
    body = []
    for old in names:
        row, total = matrix.get(old, {}), max(1, sum(matrix.get(old, {}).values()))
        cells = "".join(_cell(old, new, row.get(new, 0), total) for new in names)
        body.append(f'<tr><th scope="row">{escape(old)}</th>{cells}</tr>')
    return f'<table class="matrix"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _cell(old: str, new: str, count: int, total: int) -> str:
    if not count:
        return "<td></td>"
    level = 1 + round(4 * count / total)
    title = escape(f"{old} -> {new}: {count} of {total}", quote=True)
    return f'<td class="{"same" if old == new else "flip"}{level}" title="{title}">{count}</td>'


def _bars(name: str, production: Iterable[int], candidate: Iterable[int]) -> str:
    """Two histograms side by side, as shares."""
    sides = [list(production), list(candidate)]
    shares = [[count / max(1, sum(side)) for count in side] for side in sides]
    most = max((share for side in shares for share in side), default=0) or 1
    parts = []
    for side, (css, values) in enumerate(zip(("production", "candidate"), shares, strict=True)):
        for index, share in enumerate(values):
            height = 100 * share / most
            title = f"<title>{css}, {index / 10:.1f} to {(index + 1) / 10:.1f}: {share:.1%}</title>"
            parts.append(
                f'<rect class="{css}" x="{index * 40 + 4 + side * 16}" y="{110 - height:.1f}" width="15" '
                f'height="{height:.1f}">{title}</rect>'
            )
    marks = "".join(f'<text x="{index * 40}" y="124">{index / 10:.1f}</text>' for index in range(11))
    label = f"Share of photographs by {name}, production beside candidate"
    return f'<svg viewBox="0 0 420 128" role="img" aria-label="{label}">{"".join(parts)}{marks}</svg>'
