"""What a model is and how it was trained: frozen records, saved inside every checkpoint.

Nothing here imports torch, so that a settings file or a registry listing can be read in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
IMAGENET_STD_RGB = (0.229, 0.224, 0.225)

# A checkpoint is untrusted input: its configuration may not ask for any amount of memory.
MIN_SIZE_PX, MAX_SIZE_PX = 32, 2048
MAX_CHANNELS = 8192

Variant = Literal["lga", "plain"]
MaskReduction = Literal["sum", "mean"]
LocalisationActivation = Literal["relu", "straight_through", "sigmoid"]
LocalisationSource = Literal["backbone", "action"]
Pooling = Literal["mean", "person"]
Schedule = Literal["constant", "one_cycle", "cosine"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How a decoded photograph becomes the network's input.

    The whole image is squeezed to a square, as in the paper: the heatmap then covers the whole image, and no
    person at the edge is cropped away.
    """

    size_px: int = 224
    """Side of the square input."""
    mean_RGB: tuple[float, float, float] = IMAGENET_MEAN_RGB
    """Mean of each channel in [0, 1], subtracted inside the network."""
    std_RGB: tuple[float, float, float] = IMAGENET_STD_RGB
    """Standard deviation of each channel in [0, 1], divided by inside the network."""

    def __post_init__(self) -> None:
        """Refuse a size or a scale that no network can take.

        Raises:
            ValueError: If ``size_px`` or ``std_RGB`` is out of range.
        """
        if not MIN_SIZE_PX <= self.size_px <= MAX_SIZE_PX:
            raise ValueError(f"size_px must be {MIN_SIZE_PX} to {MAX_SIZE_PX}; got {self.size_px}")
        if not all(std > 0 for std in self.std_RGB):
            raise ValueError(f"std_RGB must be positive; got {self.std_RGB}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything needed to build the network again before its weights are loaded."""

    backbone: str
    """Name of a timm model that gives a feature map, for example ``resnet50``."""
    classes: tuple[str, ...]
    """Action names; their order is the order of the logits."""
    image: ImageConfig = field(default_factory=ImageConfig)
    variant: Variant = "lga"
    """``lga``: with the added 1024-kernel convolution. ``plain``: a standard classifier (Table 1's first row)."""
    localisation: bool = True
    """Whether there is a human-localisation branch. Off for ``plain`` and when the mask loss is off: an untrained
    branch has no influence on the action and would only give noise for a heatmap."""
    localisation_activation: LocalisationActivation = "relu"
    """Last activation of the localisation branch. ``relu`` as published; it can die (an all-zero map for every
    image). ``straight_through`` computes the same and cannot: its gradient passes where the relu's is 0. ``sigmoid``
    cannot either, and keeps the heatmap below 1."""
    localisation_source: LocalisationSource = "backbone"
    """What the localisation branch sees: the ``backbone``'s features, as published, or those of the ``action`` branch
    (F_cls), so that the mask loss reaches the very map that the classifier pools."""
    pooling: Pooling = "mean"
    """How the action branch pools F_cls: the ``mean`` over the cells, as published, or weighted by where the heatmap
    sees the ``person``. Without a heatmap there is only the mean."""
    output_stride: int = 32
    """Pixels of the input for one cell of the feature map: 448 / 32 = 14 in the paper."""
    action_channels: int = 1024
    """Kernels of the added convolution."""
    localisation_channels: tuple[int, ...] = (512, 64, 32, 1)
    """Channels of the four convolutions of the localisation branch."""

    def __post_init__(self) -> None:
        """Refuse what cannot be built.

        Raises:
            ValueError: If a field is out of its range, with its name, its value and what it may be.
        """
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be at least one name, each once; got {list(self.classes)}")
        if self.output_stride not in (4, 8, 16, 32):
            raise ValueError(f"output_stride must be 4, 8, 16 or 32; got {self.output_stride}")
        if self.localisation_channels[-1:] != (1,):
            raise ValueError(f"localisation_channels must end with 1, the heatmap; got {self.localisation_channels}")
        channels = (self.action_channels, *self.localisation_channels)
        if not all(1 <= count <= MAX_CHANNELS for count in channels):
            raise ValueError(f"action_channels and localisation_channels must be 1 to {MAX_CHANNELS}; got {channels}")

    @property
    def has_heatmap(self) -> bool:
        """Whether the network has a localisation branch."""
        return self.localisation and self.variant == "lga"


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes that move the image and its boxes together."""

    flip: bool = True
    """Mirror left and right for half of the images."""
    rotation_deg: float = 10.0
    """Largest rotation to either side."""
    zoom_min: float = 0.9
    zoom_max: float = 1.1
    """Range of the scale; below 1 the border pixels are repeated."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained. ``PAPER`` is the published one; ``FAST`` is this project's own."""

    name: str
    epochs: int
    batch_size: int
    """Images in one step, over all workers together."""
    backbone_learning_rate: float
    head_learning_rate: float
    """Learning rate of everything that is not the backbone."""
    weight_decay: float = 0.0
    layer_decay: float = 1.0
    """Factor of the backbone's learning rate from one of its layers to the one before it; below 1 the layers near the
    image, whose features are the most general, move the least."""
    optimiser: Literal["adam", "adamw"] = "adam"
    schedule: Schedule = "constant"
    warmup_share: float = 0.0
    """Share of all steps in which the learning rate rises from nothing."""
    mask_weight: float = 1.0
    """Weight of the human-mask loss in Eq. 1; 0 trains without it."""
    mask_reduction: MaskReduction = "sum"
    """``sum`` over the cells of an image, as Eq. 1 is written, or their ``mean``."""
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    """Largest norm of the gradient, or None for no limit."""
    ema_decay: float | None = None
    """Decay of the moving average of the weights that is validated and published, or None for the raw weights. After
    n steps it is at most (1 + n) / (10 + n), so that a short training does not publish its first steps."""
    class_balance: float = 0.0
    """How far rare actions are shown more often: an action of n images has a share of each epoch in proportion to
    n ** (1 - class_balance). 0: as they come; 1: all actions alike."""
    nobody_share: float = 0.0
    """Share of the images of an epoch in which nobody is: parts of the training photographs outside every box, and
    photographs known to show nobody. They teach the heatmap silence and the action branch nothing."""
    channels_last: bool = False
    """Keep weights and maps with the channels last in memory: the same numbers but for rounding, faster on most
    hardware."""
    precision: Precision = "fp32"
    """Arithmetic of forward and backward; the weights stay fp32. ``auto``: bf16 where the hardware computes in it."""
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Refuse a value that no training can use.

        Raises:
            ValueError: If a field is out of its range, with its name, its value and what it may be.
        """
        for name, lowest, highest in _RECIPE_RANGES:
            value = getattr(self, name)
            if value is not None and not lowest <= value <= highest:
                raise ValueError(f"{name} must be {lowest:g} to {highest:g}; got {value}")


_RECIPE_RANGES = (
    ("layer_decay", 0.1, 1.0),
    ("warmup_share", 0.0, 1.0),
    ("label_smoothing", 0.0, 0.9),
    ("ema_decay", 0.0, 0.99999),
    ("class_balance", 0.0, 1.0),
    ("nobody_share", 0.0, 0.5),
)

PAPER = Recipe(
    name="paper",
    epochs=50,
    batch_size=12,
    backbone_learning_rate=1e-5,
    head_learning_rate=1e-5,
)
"""The published settings: learning rate 1e-5, batch 12, both losses with weight 1, summed mask loss, 448 px. The paper
does not name the optimiser nor the number of epochs: Adam and 50 are our reading."""

FAST = Recipe(
    name="fast",
    epochs=6,
    batch_size=32,
    backbone_learning_rate=3e-4,
    head_learning_rate=1e-3,
    weight_decay=0.02,
    optimiser="adamw",
    schedule="one_cycle",
    warmup_share=0.2,
    mask_reduction="mean",
    label_smoothing=0.1,
    clip_norm=5.0,
    precision="auto",
    channels_last=True,
)
"""Minutes instead of hours from ImageNet weights: AdamW, one cycle, a slower backbone, bf16 where there is some."""

RECIPES = {recipe.name: recipe for recipe in (PAPER, FAST)}
