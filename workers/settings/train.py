"""Settings of `lga train`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from workers.settings.shared import ClusterSettings, Count, RegistrySettings, Share


class TrainSettings(ClusterSettings, RegistrySettings):
    """Train a model on a manifest with Ray Train and publish the best checkpoint as a version."""

    manifest: str
    """Training manifest (URI or path), as written by `lga prepare`."""
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    """Name of the model in the registry."""
    output: str = "training"
    """URI or path for the run's checkpoints."""
    run: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Name of the training run: the same name continues it; without it a new run starts."""
    backbone: str = "resnet50"
    """Any timm model that gives a feature map."""
    weights: str | None = None
    """Backbone weights: `timm` for the hub, a hub name, a file or URI (.safetensors, .pth), or `package` for the extra
    [pretrained]; without it the backbone starts from random weights."""
    variant: Literal["lga", "plain"] = "lga"
    """`lga`: with the added 1024-kernel convolution; `plain`: a standard classifier."""
    recipe: Literal["paper", "fast"] = "fast"
    """Named set of training settings; the settings below replace single values of it."""
    size_px: Annotated[int, Field(ge=32, le=2048)] = 224
    """Side of the square network input."""
    output_stride: Annotated[Literal[8, 16, 32], BeforeValidator(int)] = 32  # A flag arrives as text.
    """Input pixels for one cell of the feature map."""
    localisation_activation: Literal["relu", "straight_through", "sigmoid"] = "relu"
    """Last activation of the localisation branch; relu is the published one and can die, straight_through cannot."""
    localisation_source: Literal["backbone", "action"] = "backbone"
    """What the localisation branch sees: the backbone's features, as published, or those of the action branch."""
    pooling: Literal["mean", "person"] = "mean"
    """How the action branch pools: the mean over the cells, as published, or weighted by where the heatmap sees a
    person."""
    epochs: Count | None = None
    """Passes over the training split."""
    batch_size: Count | None = None
    """Images in one step, over all workers together."""
    backbone_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Learning rate of the backbone."""
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Learning rate of the two branches."""
    mask_weight: Annotated[float, Field(ge=0)] | None = None
    """Weight of the human-mask loss; 0 trains without it."""
    mask_reduction: Literal["sum", "mean"] | None = None
    """Mask loss summed over the cells, as Eq. 1 is written, or averaged."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = None
    """Arithmetic of forward and backward pass; `auto` takes bf16 where the hardware computes in it, else fp32."""
    layer_decay: Annotated[float, Field(ge=0.1, le=1)] | None = None
    """Factor of the learning rate from one layer of the backbone to the one before it."""
    label_smoothing: Annotated[float, Field(ge=0, le=0.9)] | None = None
    """Share of the target that is spread over all actions."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Decay of the moving average of the weights, which is then validated and published."""
    class_balance: Share | None = None
    """How far rare actions are shown more often: 0 as they come, 1 all actions alike."""
    nobody_share: Annotated[float, Field(ge=0, le=0.5)] | None = None
    """Share of the images of an epoch in which nobody is: they teach the heatmap silence."""
    workers: Count = 1
    """Number of training workers."""
    gpu: bool = False
    """Give each worker a GPU."""
    cpus_per_worker: Count | None = None
    """CPU cores of each worker; without it the machine's cores are shared among the workers."""
    seed: int = 0
    """Decides initial weights, order and augmentation."""
    cache_mb: Annotated[int, Field(ge=0)] = 1024
    """MiB of memory of each worker for decoded images; what does not fit is read again in each epoch."""
    skip_invalid: bool = False
    """Train on a manifest with bad rows or unusable images; they are counted and left out."""
