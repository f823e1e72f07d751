"""Where every object went, counted from what is really written."""

from __future__ import annotations

from collections import Counter

import numpy as np

from workers.errors import WorkerError
from workers.runs.plan import Plan
from workers.runs.quality import QUALITY_COLUMNS, QualityTally
from workers.runs.record import Account
from workers.storage import Store
from workers.tags import ShardName, list_shards, read_shards


def missing_shards(output: Store, plan: Plan) -> list[int]:
    """Shards of the plan that are not written yet, in order."""
    present = {name.index for name in list_shards(output, plan.run_id)}
    return [shard for shard in range(plan.num_shards) if shard not in present]


def count_written(output: Store, plan: Plan, quality: QualityTally | None = None) -> Account:
    """Count the rows of a run's shards by status and reason.

    Args:
        output: Where the shards are.
        plan: What they should hold.
        quality: Counts the same rows for what they say.

    Raises:
        WorkerError: If a shard has other rows than were planned: then something else than this program wrote there.
    """
    counts: Counter[str] = Counter()
    names = (name for name in list_shards(output, plan.run_id) if name.index < plan.num_shards)
    columns = ["status", "reason"] if quality is None else list(dict.fromkeys(("status", "reason", *QUALITY_COLUMNS)))
    for name, table in read_shards(output, names, columns):
        _check_rows(output, plan, name, table.num_rows)
        for status, reason in zip(np.asarray(table["status"]), table["reason"].to_pylist(), strict=True):
            counts[reason if status == "failed" else "ok"] += 1
        if quality is not None:
            quality.add(table)
    ok = counts.pop("ok", 0)
    reasons = dict(sorted(counts.items()))
    return Account(listed=plan.listed, skipped=plan.skipped, ok=ok, failed=sum(reasons.values()), reasons=reasons)


def balanced_account(output: Store, plan: Plan, quality: QualityTally | None = None) -> Account:
    """The account of a run whose shards are all written.

    Raises:
        WorkerError: If listed is not ok + failed + skipped.
    """
    account = count_written(output, plan, quality)
    if not account.balances:
        raise WorkerError(
            f"the account of run {plan.run_id} does not balance: {account.listed} listed, but {account.ok} ok + "
            f"{account.failed} failed + {account.skipped} skipped. Were shards removed from {output.uri('tags')}? "
            "Run the same command again to score what is missing"
        )
    return account


def _check_rows(output: Store, plan: Plan, name: ShardName, rows: int) -> None:
    if rows != plan.rows_of(name.index):
        raise WorkerError(
            f"{output.uri(name.key)} has {rows} rows where {plan.rows_of(name.index)} were planned; "
            "move it away and run the same command again"
        )
