"""Aliases where they lie: read, and moved by compare-and-swap. What an alias becomes, ``aliases`` decides."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from workers.errors import ConditionFailed, ObjectMissing
from workers.logs import get_log
from workers.registry.aliases import Alias
from workers.registry.names import alias_key
from workers.storage import Store


def read_alias(store: Store, name: str, alias: str) -> Alias | None:
    """One alias with its history; None when there is none.

    Args:
        store: Of the registry.
        name: Of the model.
        alias: Of the model's.

    Raises:
        SettingsError: If it is damaged, or cannot be a name.
    """
    key = alias_key(name, alias)
    with contextlib.suppress(ObjectMissing):
        return Alias.from_json(store.get(key).data, store.uri(key))
    return None


def move_alias(store: Store, name: str, alias: str, change: Callable[[Alias | None], Alias]) -> Alias:
    """Compare and swap one alias.

    Args:
        store: Of the registry.
        name: Of the model.
        alias: Of the model's.
        change: Gives what the alias becomes; the same one when nothing is to be done.

    Raises:
        ConditionFailed: If somebody else moved it at the same moment; it is where they put it.
    """
    key = alias_key(name, alias)
    before, token = None, None
    with contextlib.suppress(ObjectMissing):
        blob = store.get(key)
        before, token = Alias.from_json(blob.data, store.uri(key)), blob.token
    after = change(before)
    if after == before:
        return after
    try:
        store.put(key, after.to_json(), if_absent=token is None, if_token=token)
    except ConditionFailed as error:
        now = read_alias(store, name, alias)
        if now != after:  # Else it was our own write: its answer was lost, and the client sent it again.
            where = "away" if now is None else f"to {name}:{now.version}"
            reason = f"somebody else moved it at the same moment, {where}; look, then try again"
            raise ConditionFailed("move", store.uri(key), reason) from error
    get_log().info("registry.alias_moved", model=name, alias=alias, version=after.version)
    return after
