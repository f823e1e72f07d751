"""The page about a run: its account, its speed, its labels, what is doubtful, what failed, and the photographs."""

from __future__ import annotations

from collections.abc import Sequence

from workers.documents import Document, items, section
from workers.report import figures as show
from workers.report.cards import Card
from workers.report.markup import Markup, element, joined, table
from workers.report.page import Gallery, Page, Section, facts, tiles
from workers.report.plots import stacked
from workers.report.run_drift import drift
from workers.report.run_facts import FAILURE_EXAMPLES, FailureFacts, RunFacts
from workers.report.run_labels import VERDICTS, label_plots, label_table
from workers.report.run_speed import speed


def run_page(
    record: Document,
    tags: RunFacts,
    reference: Document,
    cards: Sequence[Card],
    left_out: int,
    sources: Sequence[tuple[str, str]],
) -> Page:
    """Lay out one run.

    Args:
        record: Its ``run.json``.
        tags: What its shards say.
        reference: What the model said about its validation photographs (``metrics.json``); empty when not known.
        cards: Photographs to show.
        left_out: How many more were chosen, for which there is no room.
        sources: The files that all of this was read from.
    """
    chapters = (
        ("account", "Where every object went", _account(record, tags)),
        ("speed", "Speed", speed(record)),
        ("labels", "Labels", label_table(tags)),
        ("confidence", "How sure, and where it looked", label_plots(tags) if tags.ok else None),
        ("drift", "Drift", drift(record, reference)),
        ("failures", "Failures", _failures(tags) if tags.failures else None),
    )
    gallery = Gallery(title="Photographs", note=_how_chosen(cards, left_out), mode="grid", cards=tuple(cards))
    return Page(
        kind="run",
        title=str(record.get("run_id", "run")),
        summary=_summary(record, tags),
        sections=tuple(
            Section(name=name, title=title, body=body) for name, title, body in chapters if body is not None
        ),
        gallery=gallery if cards or left_out else None,
        sources=tuple(sources),
    )


def _summary(record: Document, tags: RunFacts) -> Markup:
    account = section(record, "account")
    listed, skipped = account.get("listed"), account.get("skipped")
    last = (items(record, "attempts") or [{}])[-1]
    accepted = sum(each.accept for each in tags.classes)
    scored = tags.ok + tags.failed
    return joined(
        None
        if record.get("state") == "finished"
        else element("p", "This run is not finished: the page shows what is written so far.", class_="warning"),
        facts(
            (
                ("photographs", element("bdi", record.get("input", show.NOTHING))),
                ("model", _words(record, ":", "model", "version")),
                ("engine", _words(record, " ", "target", "precision", "engine")),
                ("began", show.moment(record.get("started_at"))),
                ("ended", show.moment(record.get("finished_at"))),
            )
        ),
        tiles(
            (
                (
                    "listed",
                    show.count(listed),
                    f"{show.count(skipped)} unchanged since an earlier run" if skipped else "",
                ),
                ("tagged", show.count(tags.ok), show.percent(tags.ok / scored) + " of the scored" if scored else ""),
                ("failed", show.count(tags.failed), _reasons(tags)),
                (
                    "accepted",
                    show.percent(accepted / tags.ok if tags.ok else None),
                    "of the tagged, by the threshold fitted on validation",
                ),
                ("images/s", show.number(last.get("images_per_s"), 1), _limit(last)),
            )
        ),
    )


def _words(record: Document, between: str, *names: str) -> str:
    """Some values of the record in one line; what it lacks is left out."""
    return between.join(str(record[name]) for name in names if record.get(name) is not None)


def _reasons(tags: RunFacts) -> str:
    return ", ".join(f"{failure.reason} {show.count(failure.objects)}" for failure in tags.failures[:3])


def _limit(attempt: Document) -> str:
    bottleneck = attempt.get("bottleneck")
    return f"limited by the {bottleneck}" if bottleneck else ""


def _account(record: Document, tags: RunFacts) -> Markup:
    account = section(record, "account")
    listed, skipped = (account.get(name) for name in ("listed", "skipped"))
    verdicts = {name: sum(getattr(each, name) for each in tags.classes) for name, _ in VERDICTS}
    parts = [
        *((title, name, verdicts[name]) for name, title in VERDICTS),
        ("without a verdict", "plain", tags.ok - sum(verdicts.values())),
        ("failed", "failed", tags.failed),
        ("unchanged, not scored again", "skipped", skipped if isinstance(skipped, int) else 0),
    ]
    parts = [part for part in parts if part[2] > 0]
    whole = sum(amount for *_, amount in parts)
    rows = [
        element(
            "tr",
            element("th", element("i", class_=f"swatch {kind}"), title, scope="row"),
            element("td", show.count(amount), class_="number"),
            element("td", show.percent(amount / whole), class_="number"),
        )
        for title, kind, amount in parts
    ]
    return joined(
        stacked([(kind, amount) for _, kind, amount in parts]),
        table(element("caption", "objects by outcome"), element("tbody", rows), class_="legend-table"),
        element("p", _balance(listed, whole), class_="note"),
    )


def _balance(listed: object, whole: int) -> str:
    if not isinstance(listed, int):
        return "The run has no account yet; these are the rows that are written."
    if listed == whole:
        return f"The account balances: {show.count(listed)} listed, and each of them is in one of these lines."
    return (
        f"The account does not balance: {show.count(listed)} listed, but {show.count(whole)} found in the files. "
        "The run is unfinished, or shards were removed."
    )


def _failures(tags: RunFacts) -> Markup:
    return joined(element("p", "An object that failed has a row too, with its reason."), map(_failure, tags.failures))


def _failure(failure: FailureFacts) -> Markup:
    rows = [
        element("tr", element("td", element("bdi", key), class_="key"), element("td", element("bdi", detail)))
        for key, detail in failure.examples
    ]
    more = failure.objects - len(failure.examples)
    head = element("tr", element("th", "object", scope="col"), element("th", "what happened", scope="col"))
    return element(
        "details",
        element("summary", element("b", failure.reason or show.NOTHING), f" {show.count(failure.objects)}"),
        table(element("thead", head), element("tbody", rows), class_="failures"),
        element("p", f"The first {FAILURE_EXAMPLES} by name; {show.count(more)} more.", class_="note")
        if more
        else None,
        open=failure.objects <= FAILURE_EXAMPLES,
    )


def _how_chosen(cards: Sequence[Card], left_out: int) -> Markup:
    unread = sum(1 for card in cards if card.photograph is None)
    notes = [
        "For each label the surest, the least sure and the least focused, and photographs in which nobody was seen.",
        "The random sample alone shows what the run is like on the whole.",
    ]
    if left_out:
        notes.append(f"{show.count(left_out)} more were chosen and left out to keep this file small (--max-mb).")
    if unread:
        notes.append(f"{show.count(unread)} of these could not be read when this page was made; the tile says why.")
    return element("p", " ".join(notes))
