"""The page about a run: its account, its speed, its labels, what is doubtful, what failed, and the photographs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workers.report import figures as show
from workers.report.cards import Card
from workers.report.documents import Document, figures, inside, items, section
from workers.report.markup import Markup, element, joined
from workers.report.page import Gallery, Page, Section, facts, tiles
from workers.report.plots import Axis, bar, density, histogram, stacked
from workers.report.run_facts import FAILURE_EXAMPLES, ClassFacts, FailureFacts, RunFacts

_STAGES = {
    "fetch_s": ("fetching", "requests, many at once"),
    "decode_s": ("decoding", "CPU time"),
    "predict_s": ("engine", "time that engines computed"),
    "commit_s": ("writing", "time that shards took"),
}
_VERDICTS = (("accept", "accepted"), ("unsure", "unsure"), ("no_person", "nobody seen"))


def run_page(
    record: Document, tags: RunFacts, cards: Sequence[Card], left_out: int, sources: Sequence[tuple[str, str]]
) -> Page:
    """Lay out one run.

    Args:
        record: Its ``run.json``.
        tags: What its shards say.
        cards: Photographs to show.
        left_out: How many more were chosen, for which there is no room.
        sources: The files that all of this was read from.
    """
    sections = [
        Section(name="account", title="Where every object went", body=_account(record, tags)),
        Section(name="speed", title="Speed", body=_speed(record)),
        Section(name="labels", title="Labels", body=_labels(tags)),
        Section(name="confidence", title="How sure, and where it looked", body=_plots(tags)),
        *_drift(record),
        *([Section(name="failures", title="Failures", body=_failures(tags))] if tags.failures else []),
    ]
    return Page(
        kind="run",
        title=str(record.get("run_id", "run")),
        summary=_summary(record, tags),
        sections=tuple(sections),
        gallery=Gallery(title="Photographs", note=_how_chosen(cards, left_out), mode="grid", cards=tuple(cards))
        if cards or left_out
        else None,
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
                ("accepted", show.percent(accepted / tags.ok if tags.ok else None), "sure enough to use unseen"),
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
    verdicts = {name: sum(getattr(each, name) for each in tags.classes) for name, _ in _VERDICTS}
    parts = [
        *((title, name, verdicts[name]) for name, title in _VERDICTS),
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
        element("table", element("caption", "objects by outcome"), element("tbody", rows), class_="legend-table"),
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


def _speed(record: Document) -> Markup:
    attempts = items(record, "attempts")
    if not attempts:
        return element("p", "run.json holds no timing yet.", class_="note")
    heads = ("attempt", "outcome", "images", "time", "until the first rows", "images/s", "limited by", "ran on")
    body = [
        element(
            "tr",
            element("th", show.moment(attempt.get("started_at")), scope="row"),
            element("td", attempt.get("outcome") or "not ended"),
            element("td", show.count(inside(attempt, "work", "images")), class_="number"),
            element("td", show.seconds(attempt.get("wall_s")), class_="number"),
            element("td", show.seconds(attempt.get("startup_s")), class_="number"),
            element("td", show.number(attempt.get("images_per_s"), 1), class_="number"),
            element("td", attempt.get("bottleneck") or show.NOTHING),
            element("td", f"{attempt.get('engines', show.NOTHING)} × {attempt.get('device') or show.NOTHING}"),
        )
        for attempt in attempts
    ]
    head = element("tr", (element("th", name, scope="col") for name in heads))
    return joined(
        element(
            "div",
            element("table", element("caption", "attempts"), element("thead", head), element("tbody", body)),
            class_="scroll",
        ),
        _stages(attempts),
        _speed_of_light(record, attempts[-1]),
    )


def _stages(attempts: Sequence[Document]) -> Markup | None:
    """Milliseconds for each image, over all attempts: what the time went into."""
    images = sum(figures(attempt, "work").get("images", 0) for attempt in attempts)
    if not images:
        return None
    spent = {
        name: 1000 * sum(figures(attempt, "work").get(name, 0) for attempt in attempts) / images for name in _STAGES
    }
    longest = max(spent.values()) or 1
    rows = [
        element(
            "tr",
            element("th", _STAGES[name][0], scope="row"),
            element("td", bar(value / longest), class_="wide"),
            element("td", f"{show.number(value, 2)} ms", class_="number"),
            element("td", _STAGES[name][1], class_="note"),
        )
        for name, value in spent.items()
    ]
    return element("table", element("caption", "time for each image"), element("tbody", rows), class_="bars")


def _speed_of_light(record: Document, last: Document) -> Markup:
    """The rate that each resource would allow alone, where the run recorded it."""
    light = section(last, "speed_of_light") or section(record, "speed_of_light")
    rates = figures(light, "rates") or figures(light)
    if not rates:
        return element("p", "run.json of this run holds no speed-of-light figures.", class_="note")
    return element(
        "table",
        element("caption", "speed of light: what each resource would allow alone"),
        element(
            "tbody",
            (
                element(
                    "tr",
                    element("th", name.replace("_", " "), scope="row"),
                    element("td", show.number(value, 2), class_="number"),
                )
                for name, value in rates.items()
            ),
        ),
        class_="bars",
    )


def _labels(tags: RunFacts) -> Markup:
    if not tags.classes:
        return element("p", "No photograph has a label.", class_="note")
    most = max(each.photographs for each in tags.classes)
    absent = None if tags.known_classes is None else tags.known_classes - len(tags.classes)
    numbers = ("photographs", "share", "accepted", "unsure", "nobody", "median confidence", "median focus")
    head = element(
        "tr",
        (element("th", name, scope="col") for name in ("label", "")),
        (element("th", name, scope="col", class_="number") for name in numbers),
    )
    return joined(
        element(
            "p",
            f"{show.count(len(tags.classes))} labels were given"
            + (f"; {show.count(absent)} that the model knows were not." if absent else "."),
        ),
        element(
            "div",
            element(
                "table",
                element("caption", "photographs of each label; a click on a label shows those on this page"),
                element("thead", head),
                element("tbody", (_label_row(each, most, tags.ok) for each in tags.classes)),
                class_="sortable bars",
            ),
            class_="scroll",
        ),
    )


def _label_row(each: ClassFacts, most: int, total: int) -> Markup:
    parts = [(name, getattr(each, name)) for name, _ in _VERDICTS]
    rest = most - sum(amount for _, amount in parts)
    cells = (
        (each.photographs, show.count(each.photographs)),
        (each.photographs / total, show.percent(each.photographs / total)),
        (each.accept / each.photographs, show.percent(each.accept / each.photographs, 0)),
        (each.unsure / each.photographs, show.percent(each.unsure / each.photographs, 0)),
        (each.no_person / each.photographs, show.percent(each.no_person / each.photographs, 0)),
        (each.confidence, show.number(each.confidence, 2)),
        (each.focus, show.number(each.focus, 2)),
    )
    link = element("a", element("bdi", each.label or show.NOTHING), href="#photographs", data_label=each.label)
    return element(
        "tr",
        element("th", link, scope="row"),
        element("td", stacked([*parts, ("nothing", rest)]), class_="wide"),
        (
            element("td", text, class_="number", data_value="" if value is None else round(value, 6))
            for value, text in cells
        ),
    )


def _plots(tags: RunFacts) -> Markup:
    confidence, focus = Axis(label="confidence"), Axis(label="focus")
    mark = None
    if tags.accepted_from is not None:
        mark = (tags.accepted_from, f"accepted from {show.number(tags.accepted_from, 2)}")
    plots = [
        histogram(
            "Confidence", confidence, tags.confidence_bins,
            "Probability of the label, calibrated on validation: of those at 0.8, eight in ten should be right.",
            mark,
        )
    ]  # fmt: skip
    if any(tags.focus_bins):
        plots += [
            histogram(
                "Focus", focus, tags.focus_bins,
                "Share of the evidence for the label that lies on the person. Low: the label came from the background.",
            ),
            density(
                "Confidence and focus", confidence, focus, tags.density,
                "Lower right is where to look first: the model is sure, and looked elsewhere.",
            ),
        ]  # fmt: skip
    else:
        plots.append(element("p", "The model has no location heatmap, so there is no focus.", class_="note"))
    return element("div", plots, class_="plots")


def _drift(record: Document) -> Iterator[Section]:
    """What the run recorded of its distance to the model's validation photographs, where it did."""
    drift = section(record, "drift") or section(record, "quality", "drift")
    rows = {name.replace("_", " "): value for name, value in figures(drift).items()}
    if not rows:
        return
    body = element(
        "table",
        element("caption", "distance to the validation photographs (PSI: below 0.1 alike, above 0.25 another kind)"),
        element(
            "tbody",
            (
                element("tr", element("th", name, scope="row"), element("td", show.number(value, 3), class_="number"))
                for name, value in rows.items()
            ),
        ),
    )
    yield Section(name="drift", title="Drift", body=body)


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
        element(
            "div", element("table", element("thead", head), element("tbody", rows), class_="failures"), class_="scroll"
        ),
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
