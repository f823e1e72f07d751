"""Settings of `lga compile`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workers.settings.shared import Count, EnginePrecision, MetricsSettings, ModelSettings, Share, Target


class CompileSettings(ModelSettings, MetricsSettings):
    """Compile a version into an engine, prove it equal to the model, and add it to the registry."""

    target: Target = "onnxruntime"
    """Runtime to compile for."""
    precision: EnginePrecision = "fp32"
    """Arithmetic of the engine."""
    manifest: str | None = None
    """Manifest whose validation images prove the engine; without it the one that the model was trained on."""
    parity_images: Count = 64
    """Number of images for the parity check."""
    max_probability_difference: Annotated[float, Field(gt=0)] = 1e-3
    """Largest allowed difference of one probability."""
    max_heatmap_difference: Annotated[float, Field(gt=0)] = 1e-2
    """Largest allowed difference of one heatmap cell."""
    max_pam_difference: Annotated[float, Field(gt=0)] = 1e-2
    """Largest allowed difference of one cell of the PAM, as a share of the map's largest value."""
    min_top1_agreement: Share = 1.0
    """Least share of images with the same label."""
