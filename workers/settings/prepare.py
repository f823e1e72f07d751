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


class PrepareMpiiSettings(CommandSettings):
    """Turn the MPII Human Pose data set into a training manifest; the boxes come from the joints."""

    root: Path
    """Folder of the data set: mpii_human_pose_v1_u12_1.mat and images."""
    output: str
    """Manifest to write, as URI or path, ending in .parquet or .jsonl."""
    validation_images: Path | None = None
    """Text file with the names of the validation images, one a line: a published split."""
    validation_share: Share = 0.1
    """Without such a file, the share of each action's videos whose images become the validation split."""
    seed: int = 0
    """Decides which images become the validation split."""


class PrepareCocoSettings(CommandSettings):
    """Turn COCO-style JSON with person boxes and an action field into a training manifest."""

    root: Path
    """Folder of the data set; the paths below start from it."""
    output: str
    """Manifest to write, as URI or path, ending in .parquet or .jsonl."""
    train: Path = Path("train.json")
    """Annotations of the training split."""
    val: Path | None = None
    """Annotations of the validation split; without it a share of the training images becomes one."""
    test: Path | None = None
    """Annotations of the test split."""
    images: Path = Path("images")
    """Folder that the file names of the annotations start from."""
    action_field: str = "action"
    """Field with the action, of a person's annotation or of the image."""
    person: str = "person"
    """Name of the category of people."""
    empty_is_nobody: bool = False
    """Images without a person show nobody; only for annotations in which everybody is boxed."""
    validation_share: Share = 0.1
    """Share of the training images of each action that becomes the validation split."""
    seed: int = 0
    """Decides which images become the validation split."""


class PrepareFoldersSettings(CommandSettings):
    """Turn folders of photographs, one for each action, into a training manifest without boxes."""

    root: Path
    """Folder with a folder for each action, or with folders train, val and test that have them."""
    output: str
    """Manifest to write, as URI or path, ending in .parquet or .jsonl."""
    nobody: str | None = None
    """Name of the folder of photographs that show nobody; they teach the heatmap silence."""
    validation_share: Share = 0.1
    """Share of each action that becomes the validation split, where there is no folder val."""
    test_share: Share = 0.0
    """Share of each action that becomes the test split, where there is no folder test."""
    seed: int = 0
    """Decides which images are set aside."""


class PrepareMergeSettings(CommandSettings):
    """Put corrected labels into a manifest and write it as a new one; conflicts and duplicates are named."""

    manifest: str
    """Manifest (URI or path) to start from; it is not changed."""
    labels: str
    """Manifest (URI or path) with the corrected labels, as `lga review` wrote it and a person mended it."""
    output: str
    """Manifest to write, ending in .parquet or .jsonl."""


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
