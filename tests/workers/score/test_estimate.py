"""How long a run will take, by what earlier ones did."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from workers.runs.record import Attempt, RunRecord, Work
from workers.runs.speed import Hardware, Rates, speed_of_light
from workers.score.estimate import estimate, measured_speed
from workers.score.planning import Pending
from workers.score.shadow.job import estimate_retag
from workers.settings import ScoreSettings

RATES = Rates(images=8, request_s=0.001, fetch_cpu_s=0.001, decode_cpu_s=0.001, engine_s=0.01, engine_cpu_s=0.018)
CORES = Hardware(cores=2, engines=1, on_gpu=False, fetchers=2, concurrency=16)
SETTINGS = ScoreSettings(input="photographs", output="tags", model="people:1", price_per_hour=36)
PENDING = Pending(listed=10_000, listed_bytes=1, objects=3600, size_bytes=1)


def run(name: str, images: int, achieved: float | None, engine: str = "cafe") -> RunRecord:
    """One that took ten seconds, nearly all of them until its first rows came, as those of a short run do."""
    speed = speed_of_light(RATES, CORES, write_cpu_s=0.0, achieved=achieved) if achieved else None
    work = Work(images=images)
    now = datetime(2026, 1, 2, tzinfo=UTC)
    attempt = Attempt(started_at=now, wall_s=10, startup_s=9.9, speed=speed, work=work)
    return RunRecord(
        run_id=name, state="finished", input="photographs", model="people", version=1, engine=engine, target="torch",
        precision="fp32", preprocessing="p", settings={}, started_at=now, attempts=(attempt,),
    )  # fmt: skip


def told(*records: RunRecord) -> dict[str, str]:
    return dict(estimate(SETTINGS, PENDING, measured_speed(records, "cafe")))


def test_the_time_lies_between_what_was_done_and_what_is_possible():
    """
    A short run did 20 images/s with its start, 100 are possible: 3600 objects take 36 to 180 s and ten to start. That
    its rows came in the last tenth of a second is no speed.
    """
    lines = told(run("trial", 200, 20))

    assert "0:00:46 to 0:03:10: run trial did 20.0 images/s of the 100.0 possible" == lines["time"]
    assert lines["cost"].startswith("0.46 to 1.90 at 36 an hour")


def test_a_run_without_a_measured_speed_is_taken_as_a_whole():
    """
    400 images in ten seconds, the start included: no more is known.
    """
    assert told(run("old", 400, None))["time"].startswith("about 0:01:40: run old did 40.0")


@pytest.mark.parametrize(
    "record",
    [run("short", 199, 20), run("other", 5000, 20, engine="beef"), run("nothing", 0, None)],
    ids=["too short", "another engine", "nothing scored"],
)
def test_what_says_nothing_is_not_asked(record):
    """
    The next older run of the engine is taken instead.
    """
    assert told(record)["time"].startswith("unknown")
    assert "run trial" in told(record, run("trial", 200, 20))["time"]


def test_a_full_retag_is_told_from_both_sides():
    """
    36 000 objects at 20 to 100 images/s; the price is of the longer.
    """
    retag = estimate_retag(run("sample", 80, 20), 36_000, 2.0)

    assert (0.1, 0.5, 1.0) == (retag.hours_possible, retag.hours, retag.cost)
    assert estimate_retag(run("nothing", 0, None), 36_000, 2.0) is None
