"""Settings of `lga report`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import CliVariadicArg

from workers.settings.shared import RegistrySettings


class ReportSettings(RegistrySettings):
    """Write one self-contained HTML page about a run (--output), a model (--model) or two models (--compare)."""

    output: str | None = None
    """URI or path that `lga score` wrote to: reports on a run."""
    run: str | None = None
    """Run to report on; without it the newest under --output."""
    model: str | None = None
    """Reports on this model: NAME:VERSION, NAME@ALIAS, or a path or URI of a bundle."""
    compare: CliVariadicArg[tuple[str, str] | None] = None
    """Reports on two models side by side, the one to improve on first."""
    evaluation: CliVariadicArg[tuple[str, ...]] = ()
    """JSON files that `lga evaluate --json-output` wrote for these models, beside the figures of the registry."""
    manifest: str | None = None
    """Manifest whose photographs show what the models look at; without it there are no such panels."""
    split: Literal["train", "val", "test"] = "test"
    """Split of the manifest to take them from."""
    photographs: str | None = None
    """Where the photographs of a run are, when they are no longer at its --input."""
    max_photographs: Annotated[int, Field(ge=0, le=20_000)] | None = None
    """Most photographs on the page (default: 480 of a run, 48 of a model)."""
    max_mb: Annotated[float, Field(gt=0)] = 15.0
    """Largest size of the page in MB; photographs that do not fit are left out, and counted on the page."""
    html: str = "report.html"
    """URI or path of the page."""
