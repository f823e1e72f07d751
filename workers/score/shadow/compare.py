"""Two sets of tags for the same photographs: labels that flip, confidence and heatmaps that move.

Shape suffixes: N = photographs that both models tagged, C = cells of a heatmap.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lga_model.drift import Distribution, Drift, drift

_PERSON = 128  # Of a cell of the heatmap: 0.5.

COLUMNS = ["key", "status", "label", "confidence", "focus", "heatmap"]
"""Columns of a shard that are compared."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What changes from production to candidate. None where there is nothing to compare."""

    compared: int
    """Photographs that both models tagged."""
    flips: int
    """Of them, those with another label."""
    flip_share: float | None
    """Of all listed photographs, estimated from the sample by the weights of its folders."""
    matrix: dict[str, dict[str, int]]
    """Photographs by production's label and candidate's label."""
    only_production: int
    """Photographs that only production could tag."""
    only_candidate: int
    confidence_shift: float | None
    """Mean of candidate less production."""
    production: Distribution
    candidate: Distribution
    drift: Drift
    """Of the candidate's outputs from production's."""
    focus_shift: float | None
    heatmap_difference: float | None
    """Mean absolute difference of two heatmaps' cells, in [0, 1]; None when their grids differ."""
    heatmap_overlap: float | None
    """Mean intersection over union of the cells above 0.5, over photographs where either has one."""
    by_folder: dict[str, tuple[int, int]]
    """Compared photographs and flips of each folder."""


def compare(
    production: pa.Table, candidate: pa.Table, weight_of: dict[str, float], folder_of: dict[str, str]
) -> Comparison:
    """Compare the tags of two runs over the same sample.

    Args:
        production: One row for each object, with ``COLUMNS``.
        candidate: Likewise.
        weight_of: How many objects each key stands for.
        folder_of: The stratum of each key.
    """
    before, after = (
        {row["key"]: row for row in table.filter(pc.equal(table["status"], "ok")).to_pylist()}
        for table in (production, candidate)
    )
    both = sorted(before.keys() & after.keys())
    pairs = [(before[key], after[key]) for key in both]
    flipped = {key for key in both if before[key]["label"] != after[key]["label"]}
    matrix: dict[str, Counter[str]] = {}
    for old, new in pairs:
        matrix.setdefault(old["label"], Counter())[new["label"]] += 1
    folders = Counter(folder_of[key] for key in both)
    flips_of = Counter(folder_of[key] for key in flipped)
    spread_before, spread_after = _distribution([old for old, _ in pairs]), _distribution([new for _, new in pairs])
    difference, overlap = _heatmaps(pairs)
    weight = sum(weight_of[key] for key in both)
    return Comparison(
        compared=len(both),
        flips=len(flipped),
        flip_share=sum(weight_of[key] for key in flipped) / weight if both else None,
        matrix={old: dict(new.most_common()) for old, new in sorted(matrix.items())},
        only_production=len(before.keys() - after.keys()),
        only_candidate=len(after.keys() - before.keys()),
        confidence_shift=_shift(pairs, "confidence"),
        production=spread_before,
        candidate=spread_after,
        drift=drift(spread_before, spread_after),
        focus_shift=_shift(pairs, "focus"),
        heatmap_difference=difference,
        heatmap_overlap=overlap,
        by_folder={folder: (count, flips_of[folder]) for folder, count in folders.most_common()},
    )


def _distribution(rows: list[dict[str, Any]]) -> Distribution:
    confidence_N, focus_N = (
        np.array([row[name] for row in rows], dtype=np.float64) for name in ("confidence", "focus")
    )
    return Distribution.of(confidence_N, focus_N, [row["label"] for row in rows])


def _shift(pairs: list[tuple[dict[str, Any], dict[str, Any]]], name: str) -> float | None:
    known = [new[name] - old[name] for old, new in pairs if old[name] is not None and new[name] is not None]
    return float(np.mean(known)) if known else None


def _heatmaps(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[float | None, float | None]:
    maps = [(old["heatmap"], new["heatmap"]) for old, new in pairs if old["heatmap"] and new["heatmap"]]
    if not maps or any(len(old) != len(new) for old, new in maps):
        return None, None
    old_NC, new_NC = (np.array(side, dtype=np.int16) for side in zip(*maps, strict=True))
    union_N = ((old_NC >= _PERSON) | (new_NC >= _PERSON)).sum(axis=1)
    common_N = ((old_NC >= _PERSON) & (new_NC >= _PERSON)).sum(axis=1)
    seen_N: NDArray[np.bool_] = union_N > 0
    overlap = float((common_N[seen_N] / union_N[seen_N]).mean()) if seen_N.any() else None
    return float(np.abs(old_NC - new_NC).mean() / 255), overlap
