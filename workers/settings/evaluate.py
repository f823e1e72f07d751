"""Settings of `lga evaluate`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from workers.settings.shared import Count, ModelSettings


class EvaluateSettings(ModelSettings):
    """Measure a model on one split of a manifest: mAP, per-class AP, focus, mask IoU, verdicts."""

    manifest: str
    """Manifest (URI or path) with the split."""
    split: Literal["train", "val", "test"] = "test"
    """Split to measure on."""
    against: str | None = None
    """Another model, named likewise, to compare with class by class on the same photographs."""
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Resamples of the bootstrap behind the intervals."""
    batch_size: Count = 32
    """Images in one forward pass."""
    skip_invalid: bool = False
    """Measure on a manifest with bad rows; they are counted and left out."""
    json_output: str | None = None
    """Write the result as JSON to this URI or path as well."""
    progress: bool | None = None
    """Progress bar; without this setting it appears when the output is a terminal."""
