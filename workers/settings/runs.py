"""Settings of `lga runs`."""

from __future__ import annotations

from workers.settings.shared import OutputSettings


class RunsListSettings(OutputSettings):
    """List the runs under an output."""


class RunsShowSettings(OutputSettings):
    """Show one run: its account, its failures by reason, its timing."""

    run: str | None = None
    """Run to show; without it the newest."""
