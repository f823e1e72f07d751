"""One attempt: passes until nothing is missing, and an honest end."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from prometheus_client import generate_latest
from ray.exceptions import RayError
from typing_extensions import override

from workers.errors import ClusterError, SettingsError, Stopped, Throttled
from workers.logs import get_log
from workers.progress import ProgressBar
from workers.runs.account import missing_shards
from workers.runs.record import RunRecord, read_record
from workers.runs.speed import Hardware, Rates
from workers.score.attempt import Parts, finish_run
from workers.score.commit import Committer
from workers.score.metrics import ScoreMetrics
from workers.score.pipeline import plan_resources
from workers.score.predict import EngineBroken
from workers.storage import FolderStore
from workers.tags import TagForm, tag_schema

RATES = Rates(images=8, request_s=0.01, fetch_cpu_s=0.001, decode_cpu_s=0.01, engine_s=0.002, engine_cpu_s=0.001)
Stream = Callable[[int, int], Iterator[pa.Table]]


class PipelineHere:
    """The stream without Ray. ``trouble`` sees the number of the pass and a shard, and may lose rows or raise.

    All rows of a pass are made ``ahead_s`` seconds before the first of them comes out.
    """

    def __init__(
        self, output, plan, score: Callable[[int], list[pa.Table]], trouble: Stream | None, ahead_s: float
    ) -> None:
        self.output, self.plan, self.resources = output, plan, plan_resources(2, 0, 1, None)
        self.rates = RATES
        self.hardware = Hardware(cores=2, engines=1, on_gpu=False, fetchers=2, concurrency=4)
        self.score, self.trouble, self.ahead_s, self.passes, self.closed = score, trouble, ahead_s, 0, 0

    def stream(self, shards: list[int]) -> Iterator[pa.Table]:
        self.passes += 1
        try:
            if self.ahead_s:
                tables = [table for shard in shards for table in self.score(shard)]
                time.sleep(self.ahead_s)
                yield from tables
                return
            for shard in shards:
                if self.trouble is None or self.trouble(self.passes, shard):
                    yield from self.score(shard)
        finally:
            self.closed += 1


class FullStore(FolderStore):
    """Refuses the first shards that are written to it."""

    refusals = 0

    @override
    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_token: str | None = None) -> str:
        if key.startswith("tags/") and self.refusals:
            self.refusals -= 1
            raise Throttled("write", key, "full")
        return super().put(key, data, if_absent=if_absent, if_token=if_token)


@pytest.fixture
def attempt(tmp_path, photograph, make_plan, score_here):
    """Starts attempts at one run of eight objects in three shards; number 4 is no image.

    Those who load them have a clock that is ``clock_s`` seconds ahead.
    """
    source, output = FolderStore(tmp_path / "photos"), FullStore(tmp_path / "output")
    for number in range(8):
        source.put(f"{number}.png", photograph(number * 30) if number != 4 else b"no image")
    plan = make_plan(output, source)
    schema = tag_schema(TagForm(classes=("dark", "bright"), heatmap_hw=(2, 2)))
    record = RunRecord(
        run_id=plan.run_id,
        state="running",
        input=str(source.path),
        model="people",
        version=7,
        engine="cafe",
        target="onnxruntime",
        precision="fp32",
        preprocessing="p",
        settings={},
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
    )

    def start(trouble=None, ahead_s=0.0, clock_s=0.0) -> tuple[RunRecord, Parts]:
        def score(shard: int) -> list[pa.Table]:
            tables = score_here(output, source, plan, shard)
            at = tables[0].column_names.index("begun_at")
            return [table.set_column(at, "begun_at", pc.add(table["begun_at"], clock_s)) for table in tables]

        pipeline = PipelineHere(output, plan, score, trouble, ahead_s)
        with contextlib.closing(Committer(output, plan, schema)) as committer, ProgressBar("x", 8, shown=False) as bar:
            parts = Parts(
                pipeline=pipeline, committer=committer, metrics=ScoreMetrics(), bar=bar, log=get_log(), pause_s=0
            )
            start.parts = parts
            return finish_run(parts, record), parts

    start.output, start.plan = output, plan
    return start


def numbers(metrics: ScoreMetrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_a_run_ends_with_a_balanced_account(attempt):
    """
    Record and metrics say the same as the shards.
    """
    record, parts = attempt()

    assert ("finished", 8, 7, 1) == (record.state, record.account.listed, record.account.ok, record.account.failed)
    assert record == read_record(attempt.output, "r1")
    assert ["finished"] == [one.outcome for one in record.attempts]
    assert 8 == record.attempts[0].work.images
    found = numbers(parts.metrics)
    assert 7 == found['lga_score_images_total{status="ok"}']
    assert 1 == found['lga_score_failures_total{reason="not_an_image"}']
    assert 0 == found['lga_score_failures_total{reason="timeout"}']
    assert 3 == found["lga_score_shards_committed_total"]
    assert [8, 0, 8, 0] == [
        found[f'lga_score_objects{{state="{state}"}}'] for state in ("listed", "skipped", "written", "pending")
    ]
    assert 7 == found["lga_score_confidence_count"] == found["lga_score_focus_count"]


def test_photographs_that_were_decoded_ahead_took_time(attempt):
    """
    The rate counts from the first request: rows that all come out at once were not made in no time.
    """
    record, _ = attempt(ahead_s=0.2)
    speed = record.attempts[0].speed

    assert 0 < speed.achieved <= 8 / 0.2
    assert pytest.approx(speed.achieved / speed.light, rel=1e-3) == speed.efficiency


@pytest.mark.parametrize("clock_s", [-120, 120])
def test_a_worker_with_another_clock_makes_no_run_faster(attempt, clock_s):
    """
    Where it tells of requests before the attempt, or after their rows, the rate counts from the attempt's begin.
    """
    record, _ = attempt(clock_s=clock_s)
    (one,) = record.attempts

    assert one.images_per_s <= one.speed.achieved < 10 * one.images_per_s


def test_rows_that_got_lost_are_scored_again(attempt):
    """
    A pass that loses a shard is followed by another that does only that shard.
    """
    seen = []

    def lose(number: int, shard: int) -> bool:
        seen.append((number, shard))
        return number > 1 or shard != 1

    record, parts = attempt(lose)

    assert [(1, 0), (1, 1), (1, 2), (2, 1)] == seen
    assert (2, 7) == (parts.pipeline.passes, record.account.ok)


@pytest.mark.parametrize("error", [RayError("a node died"), EngineBroken("a GPU keeps its error")])
def test_trouble_in_the_cluster_is_survived(attempt, error):
    """
    What was whole before the trouble is committed, the rest comes in the next pass.
    """

    def die(number: int, shard: int) -> bool:
        if number == 1 and shard == 2:
            raise error
        return True

    record, parts = attempt(die)

    assert (2, "finished", 8) == (parts.pipeline.passes, record.state, record.attempts[0].work.images)


def test_trouble_that_lasts_ends_the_attempt(attempt):
    """
    After five passes without a shard it gives up, says why, and the next attempt continues.
    """

    def die(_number: int, shard: int) -> bool:
        if shard == 1:
            raise RayError("a node died\nwith a long story")
        return True

    with pytest.raises(ClusterError, match=r"committed nothing: RayError: a node died\. Look at the Ray cluster"):
        attempt(die)

    assert [1, 2] == missing_shards(attempt.output, attempt.plan)
    assert ["failed"] == [one.outcome for one in read_record(attempt.output, "r1").attempts]
    record, _ = attempt()
    assert ["failed", "finished"] == [one.outcome for one in record.attempts]
    assert [3, 5] == [one.work.images for one in record.attempts]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Throttled("read", "s3://b", "none of 256 objects arrived; is the store up?"), "is the store up"),
        (EngineBroken("engine e fails on every image; look at that machine"), "look at that machine"),
    ],
)
def test_what_stays_down_is_told_as_such(attempt, error, told):
    """
    The last error of the store, or of an engine that no new process mends, is the message.
    """

    def down(_number: int, _shard: int) -> bool:
        raise error

    with pytest.raises(type(error), match=told) as caught:
        attempt(down)

    assert 5 == caught.value.exit_code

    assert 5 == attempt.parts.pipeline.passes


def test_what_only_a_person_can_mend_is_not_tried_again(attempt):
    """
    A wrong engine ends the attempt at once.
    """

    def wrong(_number: int, _shard: int) -> bool:
        raise SettingsError("this engine is of another GPU")

    with pytest.raises(SettingsError, match="another GPU"):
        attempt(wrong)

    assert 1 == attempt.parts.pipeline.passes


def test_a_signal_leaves_a_run_that_continues(attempt):
    """
    Ctrl-C and SIGTERM end the attempt; its shards stay, and the record says that it was stopped.
    """

    def stop(_number: int, shard: int) -> bool:
        if shard == 2:
            raise Stopped(signal.SIGTERM)
        return True

    with pytest.raises(Stopped):
        attempt(stop)
    before = read_record(attempt.output, "r1")
    record, parts = attempt()

    assert ("running", ["stopped"], None) == (before.state, [one.outcome for one in before.attempts], before.account)
    assert ("finished", 8) == (record.state, record.account.ok + record.account.failed)
    assert 8 == numbers(parts.metrics)['lga_score_objects{state="written"}']


def test_a_shard_that_cannot_be_written_is_scored_again(attempt):
    """
    The stream is closed, so that its actors do not stay beside those of the next pass.
    """
    attempt.output.refusals = 1
    record, parts = attempt()

    assert ("finished", 7) == (record.state, record.account.ok)
    assert (2, 2) == (parts.pipeline.passes, parts.pipeline.closed)


def test_an_attempt_that_comes_second_changes_nothing(attempt):
    """
    Both end well; the account is that of the first.
    """
    first, _ = attempt()
    second, parts = attempt()

    assert (first.account, first.finished_at) == (second.account, second.finished_at)
    assert 2 == len(second.attempts)
    assert 0 == parts.pipeline.passes
