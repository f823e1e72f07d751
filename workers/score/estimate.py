"""``lga score --dry-run``: what would be scored, how long it takes and what it costs. Nothing is written."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich.filesize import decimal
from rich.table import Table

from workers.console import result_console
from workers.engines import EngineRecord
from workers.errors import SettingsError
from workers.runs.listing import newest_records
from workers.runs.record import Pace, RunRecord
from workers.score.planning import Pending, PlanRequest, foresee
from workers.score.work import Work
from workers.settings import ScoreSettings
from workers.storage import Store, open_store

_LIST_PAGE = 1000
_LEAST_IMAGES = 200  # Of a run whose speed says anything.


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a run of the same engine was."""

    run_id: str
    pace: Pace
    startup_s: float


def print_estimate(settings: ScoreSettings, work: Work, engine: EngineRecord) -> int:
    """Plan without writing, and print what came out."""
    output = open_store(settings.output)
    request = PlanRequest(
        run_id="dry-run",
        fingerprint=work.digest,
        engine=engine.fingerprint,
        shard_rows=settings.shard_rows,
        now=datetime.now(UTC),
        skip_quarantined=settings.skip_quarantined,
    )
    pending = foresee(output, work.source, work.objects(None), request)
    speed = measured_speed(_records(output), engine.fingerprint)
    table = Table(title="Dry run: nothing is scored, nothing is written", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in estimate(settings, pending, speed):
        table.add_row(name, value)
    result_console().print(table)
    return 0


def _records(output: Store) -> Iterator[RunRecord]:
    """Records, the newest first; none where nothing was ever written."""
    with contextlib.suppress(SettingsError):
        yield from newest_records(output)


def measured_speed(records: Iterable[RunRecord], fingerprint: str) -> Speed | None:
    """The speed of the newest run of an engine that was long enough to tell."""
    for record in records:
        for attempt in reversed(record.attempts):
            if record.engine == fingerprint and attempt.work.images >= _LEAST_IMAGES and attempt.pace:
                return Speed(run_id=record.run_id, pace=attempt.pace, startup_s=attempt.startup_s)
    return None


def estimate(settings: ScoreSettings, pending: Pending, speed: Speed | None) -> list[tuple[str, str]]:
    """The lines of the answer: name and value."""
    shards = math.ceil(pending.objects / settings.shard_rows)
    lines = [
        ("listed", f"{pending.listed} objects, {decimal(pending.listed_bytes)}"),
        ("unchanged", str(pending.listed - pending.objects)),
        ("to score", f"{pending.objects} objects, {decimal(pending.size_bytes)}, in {shards} shards"),
        (
            "requests",
            (
                f"{math.ceil(pending.listed / _LIST_PAGE) if settings.inventory is None else 0} LIST, "
                f"{pending.objects} GET of photographs, {2 * shards} PUT"
            ),
        ),
    ]
    if speed is None:
        lines.append(("time", "unknown: no run of this engine under this output yet; try it with --limit 1000"))
        return lines
    most_s, least_s = (speed.startup_s + pending.objects / rate for rate in speed.pace)
    time = _range(timedelta(seconds=round(least_s)), timedelta(seconds=round(most_s)))
    pace = f"run {speed.run_id} did {speed.pace.did:.1f} images/s of the {speed.pace.possible:.1f} possible"
    lines.append(("time", f"{time}: {pace}"))
    if settings.price_per_hour is not None:
        least, most = (f"{seconds / 3600 * settings.price_per_hour:.2f}" for seconds in (least_s, most_s))
        price = f"at {settings.price_per_hour:g} an hour, without requests and traffic"
        lines.append(("cost", f"{_range(least, most)} {price}"))
    return lines


def _range(least: object, most: object) -> str:
    return f"about {most}" if str(least) == str(most) else f"{least} to {most}"
