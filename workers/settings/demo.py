"""Settings of `lga demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from workers.settings.shared import CommandSettings, Count


class DemoSettings(CommandSettings):
    """Run the whole loop on this machine: S3 server, Ray, training, engine, a tagged bucket, a query."""

    workdir: Path = Path("demo-work")
    """Folder that keeps data, registry, tags and logs; must be empty or absent."""
    train: Annotated[int, Field(ge=64)] = 512
    """Number of scenes to train on."""
    test: Count = 480
    """Number of scenes to tag."""
    epochs: Count = 5
    """Passes over the training scenes."""
    seed: int = 0
    """Decides scenes, weights and order."""
    progress: bool | None = None
    """Progress bars; without this setting they appear when the output is a terminal."""
