"""A run's folder: what it is, where Ray keeps its checkpoints, and what came out of it.

<output>/<run>/run.json            what the run is: the same name continues only the same training
<output>/<run>/epoch-0003/...      checkpoints (Ray Train's)
<output>/<run>/published.json      the version that came out, so that a repeat publishes nothing twice
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from workers.errors import ConditionFailed, ObjectMissing, SettingsError
from workers.storage import Store
from workers.train.plan import Plan

_RUN_FILE = "run.json"
_PUBLISHED_FILE = "published.json"


@dataclass(frozen=True, kw_only=True)
class Publication:
    """The version that a run was published as."""

    version: str
    epochs: int
    """Epochs that the run had when it was published: a longer one is published again."""


def open_run(store: Store, plan: Plan) -> None:
    """Claim the run's folder for a plan, or see that it is the same plan as before.

    Raises:
        SettingsError: If a run of this name trains something else.
    """
    identity = plan.identity()
    try:
        store.put(_RUN_FILE, (json.dumps(identity, indent=2) + "\n").encode(), if_absent=True)
    except ConditionFailed:
        before = _read(store, _RUN_FILE)
        # Once through JSON, which knows no tuples.
        if different := _differences(before, json.loads(json.dumps(identity))):
            raise SettingsError(
                f"the run {store.root} trains something else: {'; '.join(different[:5])}. "
                "Give the settings of that run, or start a new one without --run"
            ) from None


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
