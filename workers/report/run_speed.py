"""How fast a run was, what the time went into, and how near it came to what its hardware allows."""

from __future__ import annotations

from collections.abc import Sequence

from workers.documents import Document, figures, inside, items, section
from workers.report import figures as show
from workers.report.markup import Markup, element, joined, table
from workers.report.plots import bar

_STAGES = {
    "fetch_s": ("fetching", "requests, many at once"),
    "decode_s": ("decoding", "CPU time"),
    "predict_s": ("engine", "time that engines computed"),
    "commit_s": ("writing", "time that shards took"),
}
_OWN_RATES = ("fetch", "decode", "engine", "write")


def speed(record: Document) -> Markup:
    """The attempts, the time for each image by stage, and the speed of light of the last attempt."""
    attempts = items(record, "attempts")
    if not attempts:
        return element("p", "run.json holds no timing yet.", class_="note")
    heads = (
        *(("attempt", None), ("outcome", None)),
        *((name, "number") for name in ("images", "time", "until the first rows", "images/s")),
        *(("limited by", None), ("ran on", None)),
    )
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
    head = element("tr", (element("th", name, scope="col", class_=kind) for name, kind in heads))
    return joined(
        table(element("caption", "attempts"), element("thead", head), element("tbody", body)),
        _stages(attempts),
        _speed_of_light(attempts[-1]),
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
    return table(element("caption", "time for each image"), element("tbody", rows), class_="bars")


def _speed_of_light(attempt: Document) -> Markup:
    """What each stage would allow alone, and how near the run came, where it was recorded."""
    speed = section(attempt, "speed")
    rates = {name: value for name, value in figures(speed).items() if name in _OWN_RATES}
    if not rates:
        return element("p", "This run recorded no speed of light.", class_="note")
    slowest = min(rates.values())
    rows = [
        element(
            "tr",
            element("th", name, scope="row"),
            element("td", bar(slowest / value if value else 1), class_="wide"),
            element("td", f"{show.number(value, 1)} images/s", class_="number"),
        )
        for name, value in rates.items()
    ]
    limit = (
        f"Limited by: {speed['bottleneck']}. To go faster: {speed.get('advice')}." if "bottleneck" in speed else None
    )
    return joined(
        element("h3", "Speed of light"),
        element(
            "p",
            f"Once under way {show.number(speed.get('achieved'), 1)} images/s, "
            f"{show.percent(speed.get('efficiency'))} of the {show.number(speed.get('light'), 1)} that this hardware "
            "allows with all stages at work. ",
            limit,
        ),
        table(
            element("caption", "each stage alone; the fuller its bar, the nearer it is to being the limit"),
            element("tbody", rows),
            class_="bars",
        ),
    )
