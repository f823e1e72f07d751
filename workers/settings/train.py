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
    start_from: str | None = None
    """Published model whose weights the training starts from, of the same architecture: NAME:VERSION, NAME@ALIAS, or a
    bundle; --weights do not count then. Actions that it knows keep their weights, new ones begin at random."""
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
    action_channels: Annotated[int, Field(ge=1, le=8192)] = 1024
    """Kernels of the convolution before the classifier, 1024 as published; half of a step of a small network."""
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
    ema_decay: Annotated[float, Field(ge=0, le=0.99999)] | None = None
    """Decay of the moving average of the weights, which is then validated and published."""
    class_balance: Share | None = None
    """How far rare actions are shown more often: 0 as they come, 1 all actions alike."""
    nobody_share: Annotated[float, Field(ge=0, le=0.5)] | None = None
    """Share of the images of an epoch in which nobody is: they teach the heatmap silence."""
    workers: Count = 1
    """Number of training workers."""
    min_workers: Count | None = None
    """Go on with as few workers as this when nodes are lost, and with more again when they come back; without it always
    with all of them."""
    micro_batch_size: Count | None = None
    """Images of one forward pass; gradients add up to the batch. The same size gives the same curve with any number of
    workers; without it each worker's share of the batch."""
    checkpoint_steps: Count = 100
    """Steps between two checkpoints; there is one after each epoch as well."""
    keep_best: Count = 1
    """Checkpoints of the best epochs that are kept, beside the newest."""
    storage_patience_s: Annotated[float, Field(ge=0)] = 300.0
    """Seconds that storage may be away before the training gives up."""
    gpu: bool = False
    """Give each worker a GPU."""
    cpus_per_worker: Count | None = None
    """CPU cores of each worker; without it the machine's cores are shared among the workers."""
    gate: bool = True
    """Publish only what beats the production model on the validation split; --no-gate publishes whatever comes out."""
    gate_alias: str = Field(default="production", pattern=r"^[a-z][a-z0-9-]{0,31}$")
    """Alias of the model to beat; when there is none yet, only the floors hold."""
    gate_min_gain: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """mAP has to grow by more than this."""
    gate_max_loss: Share = 0.05
    """mAP may not, as sure as gate-confidence, have fallen by more than this; 0 wants a gain beyond doubt."""
    gate_confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Confidence of the intervals of the differences."""
    gate_class_floor: Share = 0.0
    """Least average precision of each action."""
    gate_class_floors: dict[str, Share] = Field(default_factory=dict)
    """Least average precision of single actions, as ACTION=VALUE."""
    gate_class_drop: Share = 0.1
    """No action that surely lost (gate-confidence, over all actions) may have lost more average precision than this."""
    gate_focus_drop: Share = 0.05
    """Focus in the true boxes, and the heatmap's overlap with them (mask IoU), may fall by this much."""
    gate_calibration_rise: Share = 0.05
    """The calibration error may grow by this much."""
    mlflow_tracking_uri: str | None = Field(default=None, validation_alias="mlflow_tracking_uri")
    """Log the finished run to this MLflow server as well (MLFLOW_TRACKING_URI); needs the extra [mlflow]."""
    seed: int = 0
    """Decides initial weights, order and augmentation."""
    cache_mb: Annotated[int, Field(ge=0)] = 1024
    """MiB of memory of each worker for decoded images; what does not fit is read again in each epoch."""
    disk_cache_mb: Annotated[int, Field(ge=0)] = 4096
    """MiB of each machine's temporary folder (TMPDIR) for images from object storage, shared by its workers and kept
    for the next attempt; 0 asks the store again in each epoch."""
    skip_invalid: bool = False
    """Train on a manifest with bad rows or unusable images; they are counted and left out."""
