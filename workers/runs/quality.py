"""What the tags of a run look like: confidence, focus, classes, and how far they lie from the model's validation."""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lga_model.drift import Distribution, Drift, drift_beyond_chance
from workers.errors import ObjectMissing
from workers.storage import open_store

QUALITY_COLUMNS = ("key", "status", "label", "confidence", "focus")
"""Columns of a shard that are counted."""

OTHERS = "(others)"
"""Stands for the prefixes that there was no room for."""

_PREFIXES = 200  # run.json is for people as well: a bucket may have a million folders.
_METRICS_FILE = "metrics.json"


class PrefixQuality(BaseModel):
    """One folder of the input."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: Annotated[int, Field(ge=0)]
    failed: Annotated[int, Field(ge=0)]
    distribution: Distribution
    drift: Drift | None


class Quality(BaseModel):
    """The tags of a run, counted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    distribution: Distribution
    """Over all objects with status ``ok``."""
    drift: Drift | None
    """Against the model's validation photographs; None when the model brings no such distribution."""
    prefixes: dict[str, PrefixQuality]
    """By the first folder below the input; "" for objects in none."""


class QualityTally:
    """Counts shards, in any order. Memory does not grow with their number."""

    def __init__(self, input_prefix: str, reference: Distribution | None) -> None:
        """Args: input_prefix: Front of every key, empty or ending in a slash."""
        self._prefix, self._reference = input_prefix, reference
        self._distributions: dict[str, Distribution] = {}
        self._rows: Counter[str] = Counter()

    def add(self, shard: pa.Table) -> None:
        """Count the rows of a shard.

        Args:
            shard: ``QUALITY_COLUMNS``; others are ignored.
        """
        folders_N = self._folders(shard["key"].to_pylist())
        ok_N = np.asarray(shard["status"]) == "ok"
        labels_N = np.asarray(shard["label"].to_pylist(), dtype=object)
        confidence_N, focus_N = (_floats(shard[name]) for name in ("confidence", "focus"))
        for folder in np.unique(folders_N):
            mine_N = folders_N == folder
            good_N = mine_N & ok_N
            name = folder if folder in self._rows or len(self._rows) < _PREFIXES else OTHERS
            before = self._distributions.get(name, Distribution())
            counted = Distribution.of(confidence_N[good_N], focus_N[good_N], labels_N[good_N])
            self._distributions[name] = before + counted
            self._rows[name] += int(mine_N.sum())

    def result(self) -> Quality:
        """Everything so far."""
        overall = sum(self._distributions.values(), Distribution())
        return Quality(
            distribution=overall,
            drift=self._drift(overall),
            prefixes={
                name: PrefixQuality(
                    images=rows,
                    failed=rows - self._distributions[name].images,
                    distribution=self._distributions[name],
                    drift=self._drift(self._distributions[name]),
                )
                for name, rows in self._rows.most_common()
            },
        )

    def _drift(self, distribution: Distribution) -> Drift | None:
        return None if self._reference is None else drift_beyond_chance(self._reference, distribution)

    def _folders(self, keys: list[str]) -> NDArray[np.object_]:
        below = [key.removeprefix(self._prefix) for key in keys]
        return np.array([name.partition("/")[0] if "/" in name else "" for name in below], dtype=object)


def validation_distribution(version_uri: str) -> Distribution | None:
    """What a model said about its validation photographs; None when its version does not tell.

    Args:
        version_uri: Folder of the version's files.
    """
    try:
        document = json.loads(open_store(version_uri).get(_METRICS_FILE).data)
        return TypeAdapter(Distribution).validate_python(document["distribution"])
    except (ObjectMissing, ValueError, KeyError, TypeError, ValidationError):
        return None


def _floats(column: pa.ChunkedArray) -> NDArray[np.floating]:
    """Values, NaN for null."""
    values: NDArray[np.floating] = pc.fill_null(pc.cast(column, pa.float64()), float("nan")).to_numpy()
    return values
