"""JSON files that something else wrote, perhaps an older or a newer release: read, never trusted to hold anything."""

from __future__ import annotations

import json
from typing import Any

from workers.errors import ObjectMissing, SettingsError
from workers.storage import Store

Document = dict[str, Any]


def read_document(store: Store, key: str) -> Document:
    """A JSON object; empty when there is no such file.

    Raises:
        SettingsError: If it is not JSON.
    """
    try:
        document = json.loads(store.get(key).data)
    except ObjectMissing:
        return {}
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{store.uri(key)} is not JSON: {error}") from error
    return document if isinstance(document, dict) else {}


def inside(document: object, *path: str) -> Any:  # noqa: ANN401 - any JSON
    """A value deep in a document, None when the way there ends."""
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def section(document: object, *path: str) -> Document:
    """An object deep in a document, empty when there is none."""
    found = inside(document, *path)
    return found if isinstance(found, dict) else {}


def items(document: object, *path: str) -> list[Document]:
    """The objects of a list deep in a document."""
    found = inside(document, *path)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def figures(document: object, *path: str) -> dict[str, float]:
    """The numbers of an object deep in a document, by name."""
    return {
        str(name): float(value)
        for name, value in section(document, *path).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
