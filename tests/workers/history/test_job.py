"""``lga runs``."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from workers.__main__ import main
from workers.runs.plan import Plan, plan_key
from workers.runs.record import Account, Attempt, RunRecord, Work, record_key
from workers.storage import open_store

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def put_run(output, run_id: str, *, finished: bool) -> None:
    plan = Plan(run_id=run_id, fingerprint="f", parts="p", listed=7, skipped=2, shard_rows=3, created_at=NOW)
    output.put(plan_key(run_id), plan.model_dump_json().encode())
    account = Account(listed=7, skipped=2, ok=4, failed=1, reasons={"missing": 1})
    record = RunRecord(
        run_id=run_id,
        state="finished" if finished else "running",
        input="s3://b/[red]photos",
        model="people",
        version=7,
        engine="cafe",
        target="onnxruntime",
        precision="fp32",
        preprocessing="p",
        settings={},
        started_at=NOW,
        attempts=(Attempt(started_at=NOW, images_per_s=12.345, bottleneck="engine", work=Work(images=5)),),
        account=account if finished else None,
    )
    output.put(record_key(run_id), record.model_dump_json().encode())


def test_runs_are_listed_with_their_state(store_uri, put_shard, capsys):
    """
    Finished, unfinished and merely planned runs; pointers and other files are no runs.
    """
    output = open_store(store_uri)
    put_run(output, "done", finished=True)
    put_run(output, "half", finished=False)
    put_shard(output, "half", ["a", "b", "c"])
    output.put("runs/current-1a2b3c4d.json", b"{}")
    code = main(["runs", "list", "--output", store_uri])
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}

    assert 0 == code
    assert {"run", "done", "half"} == lines.keys()
    assert ["done", "finished", "7", "2", "4", "1", "12.3", "people:7"] == lines["done"]
    assert ["half", "1", "of", "2", "shards", "7", "2", "12.3", "people:7"] == lines["half"]


def test_a_run_is_shown_with_its_failures(store_uri, capsys):
    """
    Without a name the newest; names from outside are no markup.
    """
    put_run(open_store(store_uri), "done", finished=True)
    code = main(["runs", "show", "--output", store_uri])
    out = capsys.readouterr().out

    assert 0 == code
    assert "s3://b/[red]photos" in out
    assert {("listed", "7"), ("failed", "1"), ("missing", "1")} <= {tuple(line.split()) for line in out.splitlines()}


def test_an_unfinished_run_is_counted_from_its_shards(store_uri, put_shard, capsys):
    """
    What is written so far, and no more.
    """
    output = open_store(store_uri)
    put_run(output, "half", finished=False)
    put_shard(output, "half", ["a", "b", "c"])
    main(["runs", "show", "--output", store_uri, "--run", "half"])
    lines = {tuple(line.split()) for line in capsys.readouterr().out.splitlines()}

    assert {("state", "running"), ("ok", "3"), ("failed", "0")} <= lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs", "show"], "there are no runs"),
        (["runs", "show", "--run", "nobody"], "there is no run nobody"),
    ],
)
def test_where_nothing_is_a_message_says_so(s3, capsys, arguments, message):
    """
    No traceback: what was looked for, and where.
    """
    code = main([*arguments, "--output", s3.bucket()])

    assert 2 == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [["runs", "list"], ["runs", "show"]])
def test_a_missing_bucket_is_an_error_of_the_world(s3, capsys, command):
    """
    Exit code 5 and the bucket's name.
    """
    code = main([*command, "--output", f"{s3.bucket()}-nobody"])

    assert 5 == code
    assert "no such bucket" in capsys.readouterr().err
