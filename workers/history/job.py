"""``lga runs list`` and ``lga runs show``: what ran, how far it is, what failed and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from workers.console import result_console
from workers.runs.account import count_written
from workers.runs.listing import chosen_run, run_ids
from workers.runs.plan import Plan, read_plan
from workers.runs.record import Account, RunRecord, read_record
from workers.runs.summary import print_summary
from workers.settings import RunsListSettings, RunsShowSettings
from workers.storage import Store, open_store
from workers.tags import list_shards


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run as it stands now."""

    run_id: str
    plan: Plan | None
    record: RunRecord | None
    written_shards: int


def list_runs(settings: RunsListSettings) -> int:
    """Print a table of all runs, the oldest first."""
    output = open_store(settings.output)
    if settings.format == "json":
        for run_id in run_ids(output):
            print(_as_json(read_state(output, run_id)))
        return 0
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "state", "listed", "unchanged", "ok", "failed", "images/s", "model"):
        table.add_column(heading, no_wrap=True)
    for run_id in run_ids(output):
        state = read_state(output, run_id)
        table.add_row(*(Text(cell) for cell in _cells(state)))
    if not table.row_count:
        print(f"no runs under {output.uri()}")
        return 0
    result_console().print(table)
    return 0


def show_run(settings: RunsShowSettings) -> int:
    """Print one run: its account, its failures, its timing."""
    output = open_store(settings.output)
    run_id = chosen_run(output, settings.run)
    state = read_state(output, run_id)
    if settings.format == "json":
        print(_as_json(state, indent=2))
        return 0
    if state.record is None:
        print(f"run {run_id} is planned, and nothing is scored yet")
        return 0
    record = state.record
    if state.plan is not None and record.account is None:
        # Not finished: count what is there so far.
        record = record.model_copy(update={"account": count_written(output, state.plan)})
    print_summary(record, output)
    return 0


def read_state(output: Store, run_id: str) -> RunState:
    """Plan, record and progress of one run."""
    return RunState(
        run_id=run_id,
        plan=read_plan(output, run_id),
        record=read_record(output, run_id),
        written_shards=sum(1 for _ in list_shards(output, run_id)),
    )


def _as_json(state: RunState, indent: int | None = None) -> str:
    record, plan = state.record, state.plan
    facts: dict[str, Any] = {"run_id": state.run_id, "state": record.state if record else "planned"}
    facts |= record.model_dump(mode="json") if record else {}
    facts |= {"written_shards": state.written_shards, "shards": plan.num_shards if plan else None}
    return json.dumps(facts, indent=indent, ensure_ascii=False)


def _cells(state: RunState) -> list[str]:
    plan, record = state.plan, state.record
    account: Account | None = record.account if record else None
    finished = record is not None and record.state == "finished"
    speed = record.attempts[-1].images_per_s if record and record.attempts else None
    return [
        state.run_id,
        "finished" if finished else f"{state.written_shards} of {plan.num_shards} shards" if plan else "begun",
        str(plan.listed) if plan else "",
        str(plan.skipped) if plan else "",
        str(account.ok) if account else "",
        str(account.failed) if account else "",
        "" if speed is None else f"{speed:.1f}",
        f"{record.model}:{record.version}" if record else "",
    ]
