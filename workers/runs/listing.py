"""Which runs there are under an output."""

from __future__ import annotations

import re
from collections.abc import Iterator

from workers.errors import ObjectMissing, SettingsError
from workers.runs.record import RunRecord, read_record
from workers.storage import Store

_RUN_FILE = re.compile(r"runs/(?P<run_id>[^/]+)/(plan|run)\.json")


def run_ids(output: Store) -> list[str]:
    """Runs that have a plan or a record, by the time of their first file, the oldest first.

    Raises:
        SettingsError: If there is no such folder.
        StorageError: If there is no such bucket, or it cannot be read.
    """
    started: dict[str, float] = {}
    try:
        for info in output.list("runs/"):
            if match := _RUN_FILE.fullmatch(info.key):
                when = info.last_modified.timestamp()
                started[match["run_id"]] = min(when, started.get(match["run_id"], when))
    except ObjectMissing as error:
        if output.root.startswith("s3://"):
            raise
        raise SettingsError(f"there is no folder {output.uri()}; check --output") from error
    return sorted(started, key=lambda run_id: (started[run_id], run_id))


def newest_records(output: Store) -> Iterator[RunRecord]:
    """The records of runs, the newest first; runs without one are left out."""
    for run_id in reversed(run_ids(output)):
        record = read_record(output, run_id)
        if record is not None:
            yield record


def chosen_run(output: Store, wanted: str | None) -> str:
    """The run that was asked for, or the newest.

    Raises:
        SettingsError: If there is none, or none of that name. Says what there is.
    """
    there_are = run_ids(output)
    if wanted is None and there_are:
        return there_are[-1]
    if wanted is None:
        raise SettingsError(f"there are no runs under {output.uri()}; check --output")
    if wanted not in there_are:
        shown = ", ".join(there_are[-8:]) or "none"
        raise SettingsError(f"there is no run {wanted} under {output.uri()}; there are: {shown}")
    return wanted
