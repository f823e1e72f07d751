"""Settings of `lga compile`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workers.settings.shared import (
    Count,
    EnginePrecision,
    HardwareCompatibility,
    MetricsSettings,
    ModelSettings,
    Share,
    Target,
)

Limit = Annotated[float, Field(gt=0)] | None
Contexts = Annotated[int, Field(ge=1, le=4)]


class CompileSettings(ModelSettings, MetricsSettings):
    """Compile a version into an engine, prove it equal to the model, and add it to the registry."""

    target: Target = "onnxruntime"
    """Runtime to compile for."""
    all_targets_here: bool = False
    """Instead of one target, compile for every one that computes in the precision on this machine."""
    precision: EnginePrecision = "fp32"
    """Arithmetic of the engine."""
    manifest: str | None = None
    """Manifest whose validation images prove the engine; without it the one that the model was trained on."""
    parity_images: Count = 64
    """Validation images for the parity check; for a GPU at least one more than the engine has on its way at once."""
    calibration_images: Count = 128
    """Number of training images that show int8 the ranges of the activations."""
    build_only: bool = False
    """Only tell whether the engine can be built: it is neither proven nor published. For GPUs that are not here."""
    capabilities: tuple[str, ...] = ()
    """Compute capabilities (8.6) to build tensorrt-rtx for; without them that of this machine's GPU."""
    engine_batch: Count = 32
    """Images in the batch that a TensorRT engine is tuned for; a second profile serves smaller ones."""
    workspace_mib: Count = 4096
    """Most memory that TensorRT may use for one layer's scratch."""
    modelopt: str | None = None
    """Python interpreter of an environment with nvidia-modelopt[onnx]: it quantises for TensorRT then. fp8 needs it."""
    contexts: Contexts = 1
    """Batches that a TensorRT engine has on their way at once, each with memory of its own."""
    cuda_graphs: bool = False
    """Launch the batch that a TensorRT engine is tuned for as one recorded graph."""
    compatibility: HardwareCompatibility = "none"
    """GPUs that a tensorrt engine runs on: the same model, its capability, or Ampere and newer."""
    min_top1_agreement: Share | None = None
    """Least share of images with the same label. Limits that are not set are those of the precision, as printed."""
    max_probability_difference: Limit = None
    """Largest allowed difference of one probability."""
    max_heatmap_difference: Limit = None
    """Largest allowed difference of one heatmap cell."""
    max_pam_difference: Limit = None
    """Largest allowed difference of one cell of the PAM, as a share of the map's largest value."""
    max_map_difference: Limit = None
    """Largest allowed difference of the mean average precision."""
    max_focus_difference: Limit = None
    """Largest allowed mean difference of the focus."""
