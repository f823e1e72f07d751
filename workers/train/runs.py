"""A run's folder: what it is, its checkpoints, and what came out of it.

<output>/<run>/run.json            what the run is: the same name continues only the same training
<output>/<run>/checkpoints/...     see `shelf.py`
<output>/<run>/publishing.json     the lease of the attempt that publishes, see `workers.lease`
<output>/<run>/published.json      the version that came out, so that a repeat publishes nothing twice
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from workers.errors import ConditionFailed, ObjectMissing, SettingsError
from workers.logs import get_log
from workers.storage import Store
from workers.train.plan import Plan

_RUN_FILE = "run.json"
_PUBLISHED_FILE = "published.json"
PUBLISHING_FILE = "publishing.json"


@dataclass(frozen=True, kw_only=True)
class Publication:
    """The version that a run was published as."""

    version: str
    epochs: int
    """Epochs that the run had when it was published: a longer one is published again."""


def open_run(store: Store, plan: Plan, *, workers: int | None = None) -> Plan:
    """Claim the run's folder for a plan, or see that it is the same plan as before.

    Args:
        store: Of the run's folder.
        plan: What to train.
        workers: When nobody asked for the plan's micro-batches: a run that continues keeps those that it had, if they
            are enough for this many workers.

    Returns:
        The plan to train by.

    Raises:
        SettingsError: If a run of this name trains something else.
    """
    identity = plan.identity()
    try:
        store.put(_RUN_FILE, (json.dumps(identity, indent=2) + "\n").encode(), if_absent=True)
    except ConditionFailed:
        before = _read(store, _RUN_FILE)
        if workers is not None:
            plan = _with_micro_batch_of(before, plan, workers)
            # Where it could not be kept it may change: the run was told of it.
            before = before | {"micro_batch": plan.micro_batch}
            identity = plan.identity()
        # Once through JSON, which knows no tuples.
        if different := _differences(before, json.loads(json.dumps(identity))):
            raise SettingsError(
                f"the run {store.root} trains something else: {'; '.join(different[:5])}. "
                "Give the settings of that run, or start a new one without --run"
            ) from None
    return plan


def _with_micro_batch_of(before: dict[str, Any], plan: Plan, workers: int) -> Plan:
    kept = before.get("micro_batch")
    if isinstance(kept, int) and kept > 0 and plan.recipe.batch_size // kept >= workers:
        return dataclasses.replace(plan, micro_batch=kept)
    get_log().warning("train.micro_batch_changed", before=kept, now=plan.micro_batch, workers=workers)
    return plan


def read_publication(store: Store) -> Publication | None:
    """The version that the run was published as, if it was."""
    try:
        document = _read(store, _PUBLISHED_FILE)
        return Publication(version=str(document["version"]), epochs=int(document["epochs"]))
    except ObjectMissing:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{store.uri(_PUBLISHED_FILE)} is damaged: {error}; start a new run") from error


def write_publication(store: Store, publication: Publication) -> None:
    """Remember the version."""
    document = {"version": publication.version, "epochs": publication.epochs}
    store.put(_PUBLISHED_FILE, (json.dumps(document) + "\n").encode())


def _read(store: Store, key: str) -> dict[str, Any]:
    try:
        document = json.loads(store.get(key).data)
    except ValueError as error:
        raise SettingsError(f"{store.uri(key)} is damaged: {error}; start a new run without --run") from error
    if not isinstance(document, dict):
        raise SettingsError(f"{store.uri(key)} is damaged: no JSON object; start a new run without --run")
    return document


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """The settings that changed, as people would say it."""
    found: list[str] = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} was {_short(old)}, now {_short(new)}")
    return found


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."  # noqa: PLR2004 - one line of a message
