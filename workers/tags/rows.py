"""What an engine said about a batch, as rows of the tag table.

Shape suffixes: B = images, A = action classes, K = best classes, H W = cells, N = cells of one map.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lga_model.calibration import Calibration
from workers.engines import EngineOutput
from workers.tags.schema import DETAIL_LENGTH, OBJECT_COLUMNS, TIMESTAMP, Lineage, TagForm, object_schema, tag_schema

_BEST = 5
_PERSON = 0.5  # A cell above it counts as person.


def rows(
    objects: pa.Table,
    output: EngineOutput | None,
    form: TagForm,
    calibration: Calibration,
    lineage: Lineage,
    scored_at: datetime,
) -> pa.Table:
    """Join what is known of the objects with what the engine said about those that are ``ok``.

    Args:
        objects: The columns of ``object_schema``, one row for each object; others are dropped.
        output: For the rows whose status is ``ok``, in their order; None when there is none.
        form: Shape of the columns.
        calibration: Gives label set and verdict.
        lineage: Where the rows come from.
        scored_at: When, with a time zone.

    Returns:
        One row for each object, in the same order; failed ones have null in every column of the engine.
    """
    count = objects.num_rows
    is_ok = np.asarray(objects["status"]) == "ok"
    columns = {name: objects[name] for name in OBJECT_COLUMNS}
    if output is not None:
        # Row i takes the engine's next row, or null when it failed.
        taken = pa.array(np.cumsum(is_ok) - 1, mask=~is_ok)
        columns |= {name: column.take(taken) for name, column in _engine_columns(output, form, calibration).items()}
    columns |= {
        "model": _constant(lineage.model, count, pa.string()),
        "version": _constant(lineage.version, count, pa.int32()),
        "engine": _constant(lineage.engine, count, pa.string()),
        "run_id": _constant(lineage.run_id, count, pa.string()),
        "scored_at": _constant(scored_at, count, TIMESTAMP),
    }
    schema = tag_schema(form)
    return pa.table([columns.get(name, pa.nulls(count, schema.field(name).type)) for name in schema.names], schema)


def failed(objects: pa.Table, is_failed: NDArray[np.bool_], reason: str, details: list[str]) -> pa.Table:
    """Mark some objects as failed.

    Args:
        objects: The columns of ``object_schema``.
        is_failed: Which rows, ``[B]``.
        reason: One of ``REASONS``.
        details: For each of those rows, what happened.
    """
    detail = objects["detail"].to_pylist()
    for row, text in zip(np.flatnonzero(is_failed), details, strict=True):
        detail[row] = text[:DETAIL_LENGTH]
    status = np.where(is_failed, "failed", np.asarray(objects["status"]))
    reasons = [reason if fails else old for fails, old in zip(is_failed, objects["reason"].to_pylist(), strict=True)]
    replaced = {"status": pa.array(status), "reason": reasons, "detail": detail}
    names = objects.schema.names
    return pa.table({name: replaced.get(name, objects[name]) for name in names}, object_schema())


def _engine_columns(output: EngineOutput, form: TagForm, calibration: Calibration) -> dict[str, pa.Array]:
    return (
        _action_columns(output.probabilities_BA.astype(np.float64), form, calibration)
        | _person_columns(output)
        | {"verdict": pa.array(_verdicts(output, calibration).astype(object), pa.string())}
    )


def _action_columns(
    probabilities_BA: NDArray[np.float64], form: TagForm, calibration: Calibration
) -> dict[str, pa.Array]:
    """Label, confidence, margin (best minus second; the confidence itself when there is one class), entropy
    -sum p ln p in nats, the best five, all scores, and the conformal label set, likeliest first.
    """  # noqa: D205 - one sentence
    order_BA = np.argsort(-probabilities_BA, axis=1, kind="stable")
    sorted_BA = np.take_along_axis(probabilities_BA, order_BA, axis=1)
    second_B = sorted_BA[:, 1] if sorted_BA.shape[1] > 1 else 0.0
    safe_BA = np.where(probabilities_BA > 0, probabilities_BA, 1.0)  # 0 ln 0 = 0
    names = np.array(form.classes, dtype=object)
    member_BA = np.take_along_axis(calibration.label_set(probabilities_BA), order_BA, axis=1)
    best_BK = order_BA[:, :_BEST]
    columns = {
        "label": pa.array(names[order_BA[:, 0]], pa.string()),
        "label_index": pa.array(order_BA[:, 0], pa.int16()),
        "confidence": pa.array(sorted_BA[:, 0], pa.float32()),
        "margin": pa.array(sorted_BA[:, 0] - second_B, pa.float32()),
        "entropy": pa.array(-(probabilities_BA * np.log(safe_BA)).sum(axis=1), pa.float32()),
        "top_labels": pa.array(list(names[best_BK]), pa.list_(pa.string())),
        "top_scores": pa.array(list(sorted_BA[:, :_BEST]), pa.list_(pa.float32())),
        "label_set": pa.array(
            [list(names[order_A[member_A]]) for order_A, member_A in zip(order_BA, member_BA, strict=True)],
            pa.list_(pa.string()),
        ),
    }
    if form.scores:
        columns["scores"] = _fixed_lists(probabilities_BA.astype(np.float16))
    return columns


def _person_columns(output: EngineOutput) -> dict[str, pa.Array]:
    """Maps as bytes, and what they say in one number each.

    ``pam``: negative evidence cut off, each image scaled to its maximum; all zeros when nothing is positive.
    ``person_peak``: maximum of the heatmap. ``person_area``: share of its cells above 0.5. ``focus``:
    sum(relu(PAM) * heatmap) / sum(relu(PAM)), null when nothing is positive or there is no heatmap.
    """
    relu_BN = np.maximum(output.pam_BHW.reshape(len(output.pam_BHW), -1).astype(np.float64), 0.0)
    most_B1 = relu_BN.max(axis=1, keepdims=True)
    columns = {"pam": _byte_maps(relu_BN / np.where(most_B1 > 0, most_B1, 1.0))}
    if output.heatmap_BHW is None:
        return columns
    heatmap_BN = np.clip(output.heatmap_BHW.reshape(relu_BN.shape).astype(np.float64), 0.0, 1.0)
    total_B = relu_BN.sum(axis=1)
    focus_B = (relu_BN * heatmap_BN).sum(axis=1) / np.where(total_B > 0, total_B, 1.0)
    return columns | {
        "heatmap": _byte_maps(heatmap_BN),
        "person_peak": pa.array(heatmap_BN.max(axis=1), pa.float32()),
        "person_area": pa.array((heatmap_BN > _PERSON).mean(axis=1), pa.float32()),
        "focus": pa.array(focus_B, pa.float32(), mask=total_B <= 0),
    }


def _verdicts(output: EngineOutput, calibration: Calibration) -> NDArray[np.str_]:
    heatmap_BHW = output.heatmap_BHW
    peak_B = None if heatmap_BHW is None else heatmap_BHW.reshape(len(heatmap_BHW), -1).max(axis=1)
    return calibration.verdict(output.probabilities_BA.max(axis=1), peak_B)


def _byte_maps(maps_BN: NDArray[np.float64]) -> pa.Array:
    """Maps in [0, 1] as bytes: 255 stands for 1."""
    return _fixed_lists(np.round(maps_BN * 255).astype(np.uint8))


def _fixed_lists(values_BN: NDArray[np.generic]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values_BN.reshape(-1)), values_BN.shape[1])


def _constant(value: object, count: int, kind: pa.DataType) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), count)
