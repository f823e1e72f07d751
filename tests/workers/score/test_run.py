"""Which run an attempt works on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from workers.errors import SettingsError
from workers.runs.plan import Plan, plan_key
from workers.runs.record import RunRecord, read_record, update_record
from workers.score.inventory import Selection, open_source
from workers.score.run import claim_run, fingerprint
from workers.storage import open_store

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DIGEST = "1a2b3c4d" + "0" * 56


def finish(output, run_id: str) -> None:
    record = RunRecord(
        run_id=run_id,
        state="finished",
        input="s3://b",
        model="people",
        version=7,
        engine="cafe",
        target="onnxruntime",
        precision="fp32",
        preprocessing="p",
        settings={},
        started_at=NOW,
    )
    update_record(output, record, lambda before: before)


def test_a_new_run_is_named_by_time_and_work(store_uri):
    """
    The first attempt of any work starts a run.
    """
    assert "20260102T030405Z-1a2b3c4d" == claim_run(open_store(store_uri), DIGEST, None, NOW)


def test_an_unfinished_run_is_continued(store_uri):
    """
    A later attempt at the same work finds it; another work has its own.
    """
    output = open_store(store_uri)
    first = claim_run(output, DIGEST, None, NOW)

    assert first == claim_run(output, DIGEST, None, NOW + timedelta(days=1))
    assert first != claim_run(output, "f" * 64, None, NOW)


def test_a_finished_run_is_followed_by_a_new_one(store_uri):
    """
    The nightly run is a run of its own.
    """
    output = open_store(store_uri)
    finish(output, claim_run(output, DIGEST, None, NOW))

    assert "20260103T030405Z-1a2b3c4d" == claim_run(output, DIGEST, None, NOW + timedelta(days=1))


def test_attempts_that_start_together_agree(store_uri):
    """
    Of several attempts in the same moments one names the run, and all work on it.
    """
    output = open_store(store_uri)
    with ThreadPoolExecutor(4) as pool:
        moments = [NOW + timedelta(seconds=number) for number in range(4)]
        chosen = set(pool.map(lambda now: claim_run(output, DIGEST, None, now), moments))

    assert 1 == len(chosen)


def test_a_name_that_was_asked_for_is_taken(store_uri):
    """
    ``--run`` names the run, and leaves it to be found without the name.
    """
    output = open_store(store_uri)

    assert "mine" == claim_run(output, DIGEST, "mine", NOW)
    assert "mine" == claim_run(output, DIGEST, None, NOW)
    assert "other" == claim_run(output, DIGEST, "other", NOW)
    with pytest.raises(SettingsError, match="current-"):
        claim_run(output, DIGEST, "current-x", NOW)


def test_a_name_of_other_work_is_refused_and_leaves_nothing(store_uri):
    """
    The next attempt without a name starts a run of its own, also when the name was taken between claim and plan.
    """
    output, other = open_store(store_uri), "f" * 64
    plan = Plan(
        run_id="mine", fingerprint=DIGEST, parts="a", listed=0, skipped=0, shard_rows=1, created_at=NOW
    ).model_dump_json()
    assert "early" == claim_run(output, other, "early", NOW)
    output.put(plan_key("early"), plan.encode())
    output.put(plan_key("mine"), plan.encode())

    with pytest.raises(SettingsError, match="run mine was started with another input"):
        claim_run(output, other, "mine", NOW)
    assert "20260102T030405Z-ffffffff" == claim_run(output, other, None, NOW)


def test_the_fingerprint_is_of_the_work(tmp_path):
    """
    Input, selection, engine and columns count; the spelling of the input and the order of patterns do not.
    """
    base = fingerprint(open_source("s3://b/p"), Selection(include=("a", "b")), "cafe", scores=True)

    assert base == fingerprint(open_source("s3://b/p/"), Selection(include=("b", "a")), "cafe", scores=True)
    others = {
        fingerprint(open_source("s3://b/q"), Selection(include=("a", "b")), "cafe", scores=True),
        fingerprint(open_source("s3://b/p"), Selection(include=("a",)), "cafe", scores=True),
        fingerprint(open_source("s3://b/p"), Selection(include=("a", "b"), limit=3), "cafe", scores=True),
        fingerprint(open_source("s3://b/p"), Selection(include=("a", "b")), "beef", scores=True),
        fingerprint(open_source("s3://b/p"), Selection(include=("a", "b")), "cafe", scores=False),
    }
    assert 5 == len(others - {base})


def test_changes_of_the_record_are_never_lost(store_uri):
    """
    Attempts that write at the same time all find their way into it.
    """
    output = open_store(store_uri)
    finish(output, "r1")
    record = read_record(output, "r1")

    def add(number: int) -> None:
        def change(before: RunRecord) -> RunRecord:
            return before.model_copy(update={"settings": before.settings | {str(number): number}})

        update_record(output, record, change)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(6)))

    assert {str(number): number for number in range(6)} == read_record(output, "r1").settings
