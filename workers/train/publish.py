"""A finished bundle -> the next version in the registry, once for each run, whatever ends or overlaps."""

from __future__ import annotations

import json
from pathlib import Path

from workers.lease import LeaseOptions, leased
from workers.logs import get_log
from workers.patience import patiently
from workers.registry import TRAINING_FILE, Registry, Version
from workers.settings import TrainSettings
from workers.storage import Store, open_store
from workers.train.runs import PUBLISHING_FILE, Publication, read_publication, write_publication

_LOOKED_AT = 20
"""Newest versions among which an earlier attempt's may be."""


def publish_once(store: Store, bundle: Path, checkpoint: str, epochs: int, settings: TrainSettings) -> Version:
    """Publish a bundle as the next version, and note it in the run's folder; the version that there is already, if any.

    Two attempts may get here at once, when one was taken for dead: they take turns, and the later one finds the note.
    An attempt that ended before it wrote the note has left a version that names its checkpoint.

    Args:
        store: Of the run's folder.
        bundle: What to publish.
        checkpoint: That it was made from.
        epochs: That the run has.
        settings: Name the registry, the model, and how long storage may be away.

    Raises:
        StorageError: If storage is away for longer than the settings' patience.
    """
    registry = Registry(settings.registry)

    def publish() -> Version:
        for version in reversed(registry.versions(settings.name)[-_LOOKED_AT:]):
            if _checkpoint_of(version) == checkpoint:
                get_log().info("train.version_found", version=str(version), checkpoint=checkpoint)
                return version
        return registry.publish(settings.name, bundle)

    with leased(store, PUBLISHING_FILE, LeaseOptions()):
        if (before := read_publication(store)) is not None and before.epochs >= epochs:
            return patiently(lambda: registry.resolve(before.version), settings.storage_patience_s)
        version = patiently(publish, settings.storage_patience_s)
        write_publication(store, Publication(version=str(version), epochs=epochs))
    return version


def _checkpoint_of(version: Version) -> object:
    try:
        document = json.loads(open_store(version.uri).get(TRAINING_FILE).data)
    except ValueError:
        return None
    return document.get("checkpoint") if isinstance(document, dict) else None
