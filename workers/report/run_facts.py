"""What the tags of one run say, asked of its shards with DuckDB.

One pass of SQL for each figure over the columns that it needs; maps are read only for the photographs that the page
shows. Memory does not grow with the number of rows, but for a few bytes each while DuckDB ranks them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq

from workers.errors import StorageError
from workers.report.cards import Card, Map
from workers.tags import attach_shards

BINS = 20
"""Of confidence and of focus."""
FAILURE_EXAMPLES = 12
"""Failures of each reason that the page lists."""

SAMPLE, SUREST, LEAST_SURE = "random sample", "surest", "least sure"
BACKGROUND, NOBODY = "label from the background", "nobody seen"
GROUPS = (SAMPLE, SUREST, LEAST_SURE, BACKGROUND, NOBODY)

# Round after round: the first of each group and label, then the second, so that any number of photographs is fair. The
# sample is drawn from everything and comes first; the order by a digest does not depend on what the model said.
_CHOICE = f"""
    with ok as (select * from tags where status = 'ok'),
    ranked as (
        select key, '{SAMPLE}' as chosen_as, (row_number() over (order by md5(key)) - 1) // 16 + 1 as round from ok
        union all
        select key, '{SUREST}', row_number() over (partition by label order by confidence desc, key) from ok
        union all
        select key, '{LEAST_SURE}', row_number() over (partition by label order by confidence, key) from ok
        union all
        select key, '{BACKGROUND}', row_number() over (partition by label order by focus, key)
        from ok where focus is not null and verdict is distinct from 'no_person'
        union all
        select key, '{NOBODY}', (row_number() over (order by person_peak, key) - 1) // 4 + 1
        from ok where verdict = 'no_person'
    ),
    chosen as (
        select key, min(round) as first from ranked where round <= {{photographs}}
        group by key order by first, md5(key) limit {{photographs}}
    )
    select key, list(distinct chosen_as) as groups from ranked join chosen using (key)
    where round <= (select max(first) from chosen) group by key, first order by first, md5(key)
"""  # noqa: S608 - constants


@dataclass(frozen=True, kw_only=True)
class ClassFacts:
    """The photographs of one label."""

    label: str
    photographs: int
    accept: int
    unsure: int
    no_person: int
    confidence: float | None
    """Median."""
    focus: float | None
    """Median."""


@dataclass(frozen=True, kw_only=True)
class FailureFacts:
    """The objects that failed for one reason."""

    reason: str
    objects: int
    examples: tuple[tuple[str, str], ...]
    """Key and detail of a few."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Everything that the page shows of the tags, but for the photographs."""

    ok: int
    failed: int
    classes: tuple[ClassFacts, ...]
    """The largest first."""
    known_classes: int | None
    """How many the model can tell apart; None when the files do not say."""
    confidence_bins: tuple[int, ...]
    focus_bins: tuple[int, ...]
    density: tuple[tuple[int, ...], ...]
    """Photographs by focus (rows) and confidence (columns)."""
    accepted_from: float | None
    """The lowest confidence that was accepted."""
    failures: tuple[FailureFacts, ...]


EMPTY = RunFacts(
    ok=0,
    failed=0,
    classes=(),
    known_classes=None,
    confidence_bins=(0,) * BINS,
    focus_bins=(0,) * BINS,
    density=((0,) * BINS,) * BINS,
    accepted_from=None,
    failures=(),
)
"""Of a run that wrote no shard: everything was unchanged, or nothing is done yet."""


class RunTags:
    """The tags of one run, opened for questions."""

    def __init__(self, database: duckdb.DuckDBPyConnection, metadata: dict[str, str]) -> None:
        self._database, self._metadata = database, metadata

    def facts(self) -> RunFacts:
        """Ask for every figure."""
        by_status = dict(self._rows("select status, count(*) from tags group by status"))
        density = np.zeros((BINS, BINS), int)
        for row, column, amount in self._rows(f"""
            select {_bin("focus")}, {_bin("confidence")}, count(*) from tags
            where status = 'ok' and focus is not null and confidence is not null group by all
        """):  # noqa: S608
            density[row, column] = amount
        known = self._metadata.get("classes")
        (accepted,) = self._rows("select min(confidence) from tags where verdict = 'accept'")
        return RunFacts(
            ok=by_status.get("ok", 0),
            failed=by_status.get("failed", 0),
            classes=tuple(self._classes()),
            known_classes=None if known is None else len(json.loads(known)),
            confidence_bins=self._bins("confidence"),
            focus_bins=self._bins("focus"),
            density=tuple(tuple(int(amount) for amount in row) for row in density),
            accepted_from=accepted[0],
            failures=tuple(self._failures()),
        )

    def choose(self, photographs: int) -> list[Card]:
        """The photographs to show, without their pictures, the most telling first."""
        if photographs < 1:
            return []
        chosen = dict(self._rows(_CHOICE.format(photographs=photographs)))
        self._database.execute("create or replace temp table chosen as select unnest(?) as key", [list(chosen)])
        names = set(self._columns())
        maps = [name for name in ("heatmap", "pam") if name in names]
        found = {
            row["key"]: row
            for row in self._records(f"""
                select key, label, confidence, focus, verdict, top_labels, top_scores, label_set, margin, entropy,
                       width, height, size_bytes, etag, person_area, strftime(scored_at, '%Y-%m-%d %H:%M:%S') as scored
                       {"".join(f", {name}" for name in maps)}
                from tags semi join chosen using (key)
            """)  # noqa: S608 - names of columns of ours
        }
        return [self._card(found[key], groups) for key, groups in chosen.items() if key in found]

    def _card(self, row: dict[str, Any], groups: Sequence[str]) -> Card:
        return Card(
            key=row["key"],
            label=row["label"] or "",
            confidence=row["confidence"],
            focus=row["focus"],
            verdict=row["verdict"],
            groups=tuple(group for group in GROUPS if group in groups),
            labels=tuple(zip(row["top_labels"] or (), row["top_scores"] or (), strict=False)),
            facts=tuple(
                (name, str(value))
                for name, value in (
                    ("label set", ", ".join(row["label_set"] or ()) or None),
                    ("margin", _short(row["margin"])),
                    ("entropy", _short(row["entropy"], " nats")),
                    ("share of cells with a person", _short(row["person_area"])),
                    ("pixels", f"{row['width']} × {row['height']}"),
                    ("bytes", row["size_bytes"]),
                    ("etag", row["etag"]),
                    ("tagged", f"{row['scored']} UTC"),
                )
                if value is not None
            ),
            maps=tuple(self._maps(row)),
        )

    def _maps(self, row: dict[str, Any]) -> Iterator[Map]:
        try:
            shape = int(self._metadata["heatmap_h"]), int(self._metadata["heatmap_w"])
        except (KeyError, ValueError):
            return
        for column, name, kind in (("heatmap", "person", "person"), ("pam", "evidence", "evidence")):
            cells = row.get(column)
            if cells is not None and len(cells) == shape[0] * shape[1]:
                yield Map(name=name, kind=kind, cells_HW=np.array(cells, np.uint8).reshape(shape))  # type: ignore[arg-type]

    def _classes(self) -> Iterator[ClassFacts]:
        for row in self._records("""
            select coalesce(label, '') as label, count(*) as photographs,
                   count(*) filter (verdict = 'accept') as accept,
                   count(*) filter (verdict = 'unsure') as unsure,
                   count(*) filter (verdict = 'no_person') as no_person,
                   median(confidence) as confidence, median(focus) as focus
            from tags where status = 'ok' group by all order by photographs desc, label
        """):
            yield ClassFacts(**row)

    def _failures(self) -> Iterator[FailureFacts]:
        examples: dict[str, list[tuple[str, str]]] = {}
        for reason, key, detail in self._rows(f"""
            select coalesce(reason, ''), key, coalesce(detail, '') from tags where status = 'failed'
            qualify row_number() over (partition by reason order by key) <= {FAILURE_EXAMPLES} order by reason, key
        """):  # noqa: S608 - a constant
            examples.setdefault(reason, []).append((key, detail))
        for reason, objects in self._rows("""
            select coalesce(reason, ''), count(*) from tags where status = 'failed' group by all order by 2 desc, 1
        """):
            yield FailureFacts(reason=reason, objects=objects, examples=tuple(examples[reason]))

    def _bins(self, column: str) -> tuple[int, ...]:
        counts = [0] * BINS
        for index, amount in self._rows(f"""
            select {_bin(column)}, count(*) from tags where status = 'ok' and {column} is not null group by all
        """):  # noqa: S608 - names of columns of ours
            counts[index] = amount
        return tuple(counts)

    def _columns(self) -> list[str]:
        return [name for name, *_ in self._rows("describe tags")]

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._database.execute(sql).fetchall()

    def _records(self, sql: str) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = self._database.sql(sql).to_arrow_table().to_pylist()
        return records


@contextmanager
def open_run_tags(files: Sequence[Path]) -> Iterator[RunTags]:
    """Open the shards of one run.

    Raises:
        StorageError: If a file is not a table of tags.
    """
    try:
        with duckdb.connect() as database:
            database.execute("set timezone = 'UTC'")
            database.execute("set enable_progress_bar = false")
            attach_shards(database, files, "tags")
            yield RunTags(database, _metadata(files[0]))
    except (duckdb.Error, ValueError) as error:
        raise StorageError("read", str(files[0].parent), f"not tags of this release ({error})") from error


def _metadata(path: Path) -> dict[str, str]:
    found = pq.read_schema(path).metadata or {}
    return {name.decode(): value.decode() for name, value in found.items() if not name.startswith(b"ARROW:")}


def _bin(column: str) -> str:
    """SQL of the bin of a share: 0 to ``BINS - 1``."""
    return f"least(greatest(floor({column} * {BINS})::int, 0), {BINS - 1})"


def _short(value: float | None, unit: str = "") -> str | None:
    return None if value is None else f"{value:.3f}{unit}"
