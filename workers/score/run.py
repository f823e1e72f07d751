"""Which run this is: a new one, or one that was begun and not finished.

For each way to ask (input, selection, engine, columns) one small object names the current run. Attempts that start
together, as Kubernetes retries do, agree on it by conditional writes.

    <output>/runs/current-1a2b3c4d.json     {"run_id": "20260102T030405Z-1a2b3c4d"}
    <output>/runs/lease-1a2b3c4d.json       who works on it
    <output>/runs/<run_id>/plan.json        what is to be done; written once
    <output>/runs/<run_id>/run.json         what was done
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from workers.errors import ConditionFailed, ObjectMissing, SettingsError, StorageError
from workers.runs.plan import other_work, read_plan
from workers.runs.record import is_finished
from workers.score.inventory import Selection, Source
from workers.storage import Store

_TRIES = 20


def fingerprint(source: Source, selection: Selection, engine: str, *, scores: bool, **more: object) -> str:
    """What makes two runs the same work: 64 hex digits over input, selection, engine, columns and whatever else."""
    asked = {
        "input": source.uri,
        "selection": selection.describe(),
        "engine": engine,
        "scores": scores,
        **more,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def claim_run(output: Store, digest: str, wanted: str | None, now: datetime) -> str:
    """Decide which run to work on: the one that was asked for, an unfinished one, or a new one.

    Args:
        output: Where runs are recorded.
        digest: ``fingerprint`` of the work.
        wanted: Name of the run, or None.
        now: Names a new run.

    Raises:
        SettingsError: If the name is one that other files have, or the run of that name is other work.
    """
    if wanted is not None and wanted.startswith(("current-", "lease-")):
        raise SettingsError(f"--run {wanted}: names that start with 'current-' or 'lease-' are taken; choose another")
    if wanted is not None and _is_other_work(output, wanted, digest):
        raise other_work(wanted)
    pointer = f"runs/current-{digest[:8]}.json"
    for _ in range(_TRIES):
        current, token = _current(output, pointer)
        if current is not None and _is_other_work(output, current, digest):
            current = None  # Two works began with one name, and the other one planned it first.
        if current is not None and not is_finished(output, current):
            return wanted or current
        chosen = wanted or f"{now:%Y%m%dT%H%M%SZ}-{digest[:8]}"
        if chosen == current:
            return chosen
        try:
            output.put(pointer, _content(chosen), if_absent=token is None, if_token=token)
        except ConditionFailed:
            continue  # Another attempt was faster: look at what it chose.
        return chosen
    raise StorageError("claim a run in", output.uri(pointer), "other attempts keep changing it; start again later")


def _is_other_work(output: Store, run_id: str, digest: str) -> bool:
    plan = read_plan(output, run_id)
    return plan is not None and plan.fingerprint != digest


def lease_key(digest: str) -> str:
    """The key of the lease of a piece of work, under the output."""
    return f"runs/lease-{digest[:8]}.json"


def _current(output: Store, pointer: str) -> tuple[str | None, str | None]:
    try:
        blob = output.get(pointer)
    except ObjectMissing:
        return None, None
    try:
        return str(json.loads(blob.data)["run_id"]), blob.token
    except (ValueError, TypeError, KeyError):
        return None, blob.token  # Unreadable: replaced by the next claim.


def _content(run_id: str) -> bytes:
    return (json.dumps({"run_id": run_id}) + "\n").encode()
