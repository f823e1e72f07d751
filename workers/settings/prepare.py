"""Settings of `lga prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from workers.settings.shared import CommandSettings, Count, Share


class PrepareStanford40Settings(CommandSettings):
    """Turn the Stanford40 data set into a training manifest."""

    root: Path
    """Folder of the data set: JPEGImages, XMLAnnotations, ImageSplits."""
    output: str
    """Manifest to write, as URI or path, ending in .parquet or .jsonl."""
    validation_share: Share = 0.1
    """Share of the training images of each class that becomes the validation split."""
    seed: int = 0
    """Decides which images become the validation split."""


class PrepareMisleadingSettings(CommandSettings):
    """Render small scenes in which the pose is the action and the surroundings mislead in the test split."""

    root: Path
    """Folder to write the images to."""
    output: str | None = None
    """Manifest to write, ending in .parquet or .jsonl; without it manifest.parquet beside the images."""
    train: Count = 1200
    """Number of scenes to train on."""
    val: Count = 240
    """Number of scenes to validate on."""
    test: Count = 480
    """Number of scenes to test on."""
    size_px: Annotated[int, Field(ge=32, le=1024)] = 160
    """Side of a scene."""
    strength: Share = 0.9
    """How strongly the surroundings go with the action in training, and with another action in the test split."""
    seed: int = 0
    """The same seed gives the same scenes, byte for byte."""
