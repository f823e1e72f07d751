"""Settings of `lga look`."""

from __future__ import annotations

from typing import Literal

from pydantic_settings import CliPositionalArg

from workers.settings.shared import EngineChoice, ModelSettings


class LookSettings(ModelSettings):
    """Show what a model sees in one or a few photographs: label, confidence, focus, and an overlay as PNG."""

    images: CliPositionalArg[tuple[str, ...]]
    """Photographs: paths or URIs."""
    engine: EngineChoice = "best"
    """Engine of the version to use; `best` takes the fastest that fits this machine, or the model itself when there
    is none."""
    overlay: str = "."
    """Folder (path or URI) for the overlays: NAME.look.png each."""
    format: Literal["table", "json"] = "table"
    """How the answer is printed."""
