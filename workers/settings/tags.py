"""Settings of `lga tags`."""

from __future__ import annotations

from typing import Literal

from pydantic_settings import CliPositionalArg

from workers.settings.shared import OutputSettings


class TagsQuerySettings(OutputSettings):
    """Ask the tags in SQL (DuckDB): table `tags` is the latest row of each object, `tags_all` every row."""

    sql: CliPositionalArg[str]
    """The question, for example: select label, count(*) from tags group by label"""
    format: Literal["table", "csv", "json"] = "table"
    """How the answer is printed."""


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
