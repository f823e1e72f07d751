"""The columns of a tag shard: names and types that other programs rely on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

DETAIL_LENGTH: Final = 500
"""Most characters of a ``detail``."""

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")

_OBJECT_FIELDS = (
    ("key", pa.string()),
    ("etag", pa.string()),
    ("size_bytes", pa.int64()),
    ("last_modified", TIMESTAMP),
    ("status", pa.string()),
    ("reason", pa.string()),
    ("detail", pa.string()),
    ("width", pa.int32()),
    ("height", pa.int32()),
)
OBJECT_COLUMNS: Final = tuple(name for name, _ in _OBJECT_FIELDS)
"""What is known of an object before any engine has seen it."""


@dataclass(frozen=True, kw_only=True)
class TagForm:
    """What decides the shape of a shard's columns."""

    classes: tuple[str, ...]
    """Action names in the order of the probabilities."""
    heatmap_hw: tuple[int, int]
    """Cells (h, w) of heatmap and PAM."""
    scores: bool = True
    """Whether every class's probability is written."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where a row came from."""

    model: str
    version: int
    engine: str
    """Fingerprint of the engine."""
    run_id: str


def object_schema() -> pa.Schema:
    """The columns about the object alone."""
    return pa.schema(_OBJECT_FIELDS)


def tag_schema(form: TagForm, metadata: dict[str, str] | None = None) -> pa.Schema:
    """All columns of a shard.

    Args:
        form: Decides the lengths of the fixed-size lists, and whether there are ``scores``.
        metadata: More facts for the file's own metadata (input, run, model, engine, preprocessing), beside ``classes``
            as a JSON list, ``heatmap_h`` and ``heatmap_w``.
    """
    height, width = form.heatmap_hw
    cells = pa.list_(pa.uint8(), height * width)
    fields = [
        *_OBJECT_FIELDS,
        ("label", pa.string()),
        ("label_index", pa.int16()),
        ("confidence", pa.float32()),
        ("margin", pa.float32()),
        ("entropy", pa.float32()),
        ("top_labels", pa.list_(pa.string())),
        ("top_scores", pa.list_(pa.float32())),
        *([("scores", pa.list_(pa.float16(), len(form.classes)))] if form.scores else []),
        ("label_set", pa.list_(pa.string())),
        ("verdict", pa.string()),
        ("heatmap", cells),
        ("pam", cells),
        ("person_peak", pa.float32()),
        ("person_area", pa.float32()),
        ("focus", pa.float32()),
        ("model", pa.string()),
        ("version", pa.int32()),
        ("engine", pa.string()),
        ("run_id", pa.string()),
        ("scored_at", TIMESTAMP),
    ]
    form_metadata = {
        "classes": json.dumps(form.classes),
        "heatmap_h": str(height),
        "heatmap_w": str(width),
    }
    return pa.schema(fields, metadata=form_metadata | (metadata or {}))
