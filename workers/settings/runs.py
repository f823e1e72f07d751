"""Settings of `lga runs`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from workers.settings.shared import ClusterSettings, Count, OutputSettings, Reason


class RunsListSettings(OutputSettings):
    """List the runs under an output."""

    format: Literal["table", "json"] = "table"
    """A table, or one JSON object for each run."""


class RunsShowSettings(OutputSettings):
    """Show one run: its account, its failures by reason, its timing, its attempts, the drift of its tags."""

    run: str | None = None
    """Run to show; without it the newest."""
    format: Literal["table", "json"] = "table"
    """A table, or the whole record as JSON."""


class RunsRetrySettings(ClusterSettings, OutputSettings):
    """Score the failed objects of a run again, with the same engine."""

    run: str | None = None
    """Run whose failures to score again; without it the newest."""
    reason: tuple[Reason, ...] = ()
    """Reasons to score again, such as timeout (repeat the flag for more); without it all."""
    registry: str | None = None
    """URI or path of the model registry; without it the run's own."""
    image_timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds before one object is given up; without it as in the run."""
    max_object_bytes: Count | None = None
    """Larger objects are not fetched; without it as in the run."""
    max_image_pixels: Count | None = None
    """Larger images are not decoded; without it as in the run."""
    if_running: Literal["wait", "exit", "take-over"] = "wait"
    """When another attempt is at this retry: wait until it ends or is dead, exit with 0, or take its place."""


class RunsQuarantineSettings(OutputSettings):
    """List the objects that could not be scored and have not been since, or write them to a file."""

    reason: tuple[Reason, ...] = ()
    """Only these reasons (repeat the flag for more)."""
    run: str | None = None
    """Only what this run could not score; without it the latest row of every object counts."""
    engine: str | None = None
    """Read only the tags of the engine with this fingerprint."""
    format: Literal["table", "csv", "json"] = "table"
    """How the list is printed."""
    limit: Count | None = None
    """Print at most this many."""
    export: str | None = None
    """Write the whole list to this URI or path instead: .parquet, .csv or .jsonl; `lga score --inventory` reads the
    first two."""
