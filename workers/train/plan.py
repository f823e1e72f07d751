"""What one run does, decided before anything starts: the model, the recipe, the name of the run."""

from __future__ import annotations

import dataclasses
import math
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lga_model.config import RECIPES, ImageConfig, ModelConfig, Recipe
from workers.errors import SettingsError
from workers.settings import TrainSettings

_OVERRIDES = (
    "epochs",
    "batch_size",
    "backbone_learning_rate",
    "head_learning_rate",
    "mask_weight",
    "mask_reduction",
    "precision",
    "layer_decay",
    "label_smoothing",
    "ema_decay",
    "class_balance",
    "nobody_share",
)
"""Settings that replace the field of the same name in the recipe."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides the weights that come out, whatever the number of machines."""

    config: ModelConfig
    recipe: Recipe
    micro_batch: int
    """Images of one forward pass: decides, with batch norms in the network, what comes out."""
    seed: int
    manifest_digest: str
    weights_sha256: str | None
    """Digest of the pretrained weights or of the parent's, None for random ones."""

    def identity(self) -> dict[str, Any]:
        """As plain JSON, without the number of epochs: a run may be continued for longer, but not as another run."""
        document = dataclasses.asdict(self)
        del document["recipe"]["epochs"]
        return document


def finite(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Plain JSON knows no NaN: what could not be measured becomes null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def choose_recipe(settings: TrainSettings) -> Recipe:
    """The named recipe with the settings that replace single values of it.

    Raises:
        SettingsError: If the settings contradict each other.
    """
    changes = {name: getattr(settings, name) for name in _OVERRIDES if getattr(settings, name) is not None}
    recipe = dataclasses.replace(RECIPES[settings.recipe], **changes)
    if settings.variant == "plain":
        recipe = dataclasses.replace(recipe, mask_weight=0.0)
    if recipe.mask_weight == 0:  # There is no heatmap to teach silence.
        recipe = dataclasses.replace(recipe, nobody_share=0.0)
    if recipe.precision == "fp16" and not settings.gpu:
        raise SettingsError("--precision fp16 needs a GPU (--gpu); on a CPU take bf16 or fp32")
    return recipe


def choose_micro_batch(settings: TrainSettings, batch_size: int) -> int:
    """Images of one forward pass: as asked for, or a worker's share of the batch.

    Raises:
        SettingsError: If it does not divide the batch, or leaves a worker without any; if more workers have to be there
            than there may be.
    """
    if settings.min_workers is not None and settings.min_workers > settings.workers:
        raise SettingsError(f"--min-workers {settings.min_workers} is more than --workers {settings.workers}")
    if settings.micro_batch_size is None:
        if batch_size % settings.workers:
            raise SettingsError(
                f"a batch of {batch_size} cannot be shared equally by {settings.workers} workers; "
                "choose --batch-size as a multiple of --workers, or a --micro-batch-size"
            )
        return batch_size // settings.workers
    if batch_size % settings.micro_batch_size or batch_size // settings.micro_batch_size < settings.workers:
        raise SettingsError(
            f"a batch of {batch_size} in micro-batches of {settings.micro_batch_size} cannot be shared by "
            f"{settings.workers} workers; --micro-batch-size has to divide the batch, and to give each worker one"
        )
    return settings.micro_batch_size


def choose_config(settings: TrainSettings, recipe: Recipe, classes: tuple[str, ...], image: ImageConfig) -> ModelConfig:
    """The model to train. Without a mask loss nobody would train the localisation branch, so there is none."""
    return ModelConfig(
        backbone=settings.backbone,
        classes=classes,
        image=image,
        variant=settings.variant,
        localisation=settings.variant == "lga" and recipe.mask_weight > 0,
        localisation_activation=settings.localisation_activation,
        localisation_source=settings.localisation_source,
        pooling=settings.pooling,
        action_channels=settings.action_channels,
        output_stride=settings.output_stride,
    )


def new_run_name(name: str) -> str:
    """A name that no run has had: Ray Train would silently continue an old run of the same name."""
    return f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
