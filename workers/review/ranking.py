"""The most worthwhile photographs of an archive for each reason, by SQL over its tags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from duckdb import ColumnExpression, ConstantExpression

from workers.errors import SettingsError
from workers.review.choose import Tagged
from workers.tags import attach_shards, latest_rows_view

_REASONS = {
    "two models disagree": "other is not null and other <> label order by confidence desc",
    "low confidence": "true order by confidence",
    "label from the background": "focus is not null order by focus",
    "rare label": "true order by of_label, confidence desc",
}
"""What makes a photograph worth a label: condition and order, among the latest rows. Ties go by key and namespace."""

_LATEST = """
    create view judged as
    with latest as (select * from tags left join namespaces using (run_id) where status = 'ok'),
    others as (select * from tags_all left join namespaces using (run_id) where status = 'ok')
    select latest.*, others.label as other, count(*) over (partition by latest.label) as of_label
    from latest left join others
        on others.namespace is not distinct from latest.namespace
        and others.key = latest.key and others.etag = latest.etag
        and (others.model, others.version) <> (latest.model, latest.version)
    qualify row_number() over (
        partition by latest.namespace, latest.key order by others.scored_at desc nulls last, others.run_id desc
    ) = 1
"""
"""The latest rows, and what another model said last about the same bytes, whatever its engine."""


def rank(files: Sequence[Path], most: int, engine: str | None = None) -> dict[str, list[Tagged]]:
    """The best ``most`` photographs for each reason.

    Args:
        files: Shards.
        most: Photographs for each reason.
        engine: Fingerprint of the one engine whose tags count; None for all.

    Raises:
        SettingsError: If the files are no tags.
    """
    with duckdb.connect() as database:
        try:
            attach_shards(database, files, "tags_all")
            of_engine = database.view("tags_all")
            if engine is not None:
                of_engine = of_engine.filter(ColumnExpression("engine") == ConstantExpression(engine))
            of_engine.create_view("tags_of_engine")
            database.execute(latest_rows_view("tags_of_engine", "tags"))
            database.execute(_LATEST)
            names = {row[0] for row in database.sql("describe tags_all").fetchall()}
            scores = "scores" if "scores" in names else "null as scores"
            return {
                reason: [
                    _tagged(row)
                    for row in database.sql(
                        f"select namespace, key, etag, label, confidence, width, height, {scores}, heatmap "  # noqa: S608 - ours
                        f"from judged where {condition}, key, namespace limit {most}"
                    ).fetchall()
                ]
                for reason, condition in _REASONS.items()
            }
        except duckdb.Error as error:
            raise SettingsError(f"these are no tags of this release: {str(error).splitlines()[0]}") from error


def _tagged(row: tuple[Any, ...]) -> Tagged:
    namespace, key, etag, label, confidence, width, height, scores, heatmap = row
    return Tagged(
        namespace=namespace or "",
        key=key,
        etag=etag or "",
        label=label,
        confidence=float(confidence),
        width=int(width),
        height=int(height),
        scores_A=np.array([] if scores is None else scores, np.float32),
        heatmap_N=np.array([] if heatmap is None else heatmap, np.uint8),
    )
