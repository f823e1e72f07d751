"""A bundle -> the next version in the registry, once."""

from __future__ import annotations

import json
from pathlib import Path

from workers.logs import get_log
from workers.patience import patiently
from workers.registry import TRAINING_FILE, Registry, Version
from workers.settings import TrainSettings
from workers.storage import open_store

_LOOKED_AT = 20
"""Newest versions among which an earlier attempt's may be."""


def publish_once(bundle: Path, checkpoint: str, settings: TrainSettings) -> Version:
    """Publish a bundle as the next version; the one that holds this checkpoint already, when there is one.

    An earlier attempt may have ended between publishing and writing down that it had.

    Raises:
        StorageError: If the registry cannot be written for longer than the settings' patience.
    """
    registry = Registry(settings.registry)

    def publish() -> Version:
        for version in reversed(registry.versions(settings.name)[-_LOOKED_AT:]):
            if _checkpoint_of(version) == checkpoint:
                get_log().info("train.version_found", version=str(version), checkpoint=checkpoint)
                return version
        return registry.publish(settings.name, bundle)

    return patiently(publish, settings.storage_patience_s)


def _checkpoint_of(version: Version) -> object:
    try:
        document = json.loads(open_store(version.uri).get(TRAINING_FILE).data)
    except ValueError:
        return None
    return document.get("checkpoint") if isinstance(document, dict) else None
