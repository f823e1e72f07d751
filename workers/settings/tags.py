"""Settings of `lga tags`."""

from __future__ import annotations

from typing import Literal

from pydantic_settings import CliPositionalArg

from workers.settings.shared import OutputSettings


class TagsSliceSettings(OutputSettings):
    """Commands that read the tags as they are, or as they were."""

    as_of: str | None = None
    """Read the tags as they were at a time (2026-01-02T03:04, in UTC) or after a run."""
    engine: str | None = None
    """Read only the tags of the engine with this fingerprint."""


class TagsQuerySettings(TagsSliceSettings):
    """Ask the tags in SQL (DuckDB): table `tags` is the latest row of each object, `tags_all` every row."""

    sql: CliPositionalArg[str]
    """The question, for example: select label, count(*) from tags group by label"""
    format: Literal["table", "csv", "json"] = "table"
    """How the answer is printed."""


class TagsExportSettings(TagsSliceSettings):
    """Write the latest tag of each object to one file: CSV, JSON Lines, Parquet, or COCO."""

    to: str
    """URI or path to write."""
    format: Literal["csv", "jsonl", "parquet", "coco"] | None = None
    """Form of the file; without it what its name ends in (.csv, .jsonl, .parquet; .json is COCO)."""
    columns: tuple[str, ...] = ()
    """Columns to write (repeat the flag for more); without it all but the long ones: scores, heatmap, pam."""
    where: str | None = None
    """Only rows for which this holds, in SQL, for example: verdict = 'accept'"""


class TagsEvaluateSettings(OutputSettings):
    """Compare the written tags with the right labels of a manifest; photographs are matched by file name."""

    manifest: str
    """Manifest (URI or path) with the right labels."""
    split: Literal["train", "val", "test"] = "test"
    """Split to compare with."""
    run: str | None = None
    """Run to measure; without it the latest tag of each object."""
    json_output: str | None = None
    """Write the figures as JSON to this URI or path as well."""
