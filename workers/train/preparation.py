"""Everything that can be refused before Ray starts: the manifest, the images, the weights, the network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import save

from lga_model.backbones import BackboneError, WeightsError, load_pretrained, recommended_normalisation
from lga_model.config import ImageConfig, ModelConfig
from lga_model.network import build_network
from workers.errors import SettingsError
from workers.logs import get_log
from workers.manifest import load_manifest
from workers.patience import patiently
from workers.registry import Version
from workers.settings import TrainSettings
from workers.storage import split_uri
from workers.train.dataset import Splits, check_images, choose_splits
from workers.train.parent import Parent, load_parent
from workers.train.plan import Plan, choose_config, choose_micro_batch, choose_recipe
from workers.train.weights import PretrainedWeights, load_weights

_NAMED = 8
_MAY_HOLD_SECRETS = {"mlflow_tracking_uri", "pushgateway"}
"""Addresses with a user and a password in them, and nothing that a model depends on."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A training that can begin."""

    plan: Plan
    splits: Splits
    initial_weights: bytes
    """The network before the first step, as safetensors."""
    weights_source: str | None
    parent: Version | None
    """The published model that the training starts from."""

    @property
    def images_per_epoch(self) -> int:
        """Images that are trained on in an epoch; the ragged last batch is dropped."""
        return self.steps_per_epoch * self.plan.recipe.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of the training split."""
        return len(self.splits.train) // self.plan.recipe.batch_size

    def following(self, plan: Plan) -> Prepared:
        """The same training by the plan of its run."""
        return dataclasses.replace(self, plan=plan)

    def lineage(self, settings: TrainSettings) -> dict[str, Any]:
        """Where the model comes from, as plain JSON."""
        store, name = split_uri(settings.manifest)
        return {
            "manifest": {
                "uri": store.uri(name),
                "digest": self.plan.manifest_digest,
                "train_rows": len(self.splits.train),
                "val_rows": len(self.splits.val),
                "nobody_train": len(self.splits.nobody_train),
                "nobody_val": len(self.splits.nobody_val),
                "invalid_rows": self.splits.invalid_rows,
                "dropped_boxes": self.splits.dropped_boxes,
            },
            "pretrained": {"source": self.weights_source, "sha256": self.plan.weights_sha256},
            "parent": None if self.parent is None else {"model": str(self.parent), "uri": self.parent.uri},
            "seed": self.plan.seed,
            "settings": settings.model_dump(mode="json", exclude=_MAY_HOLD_SECRETS),
        }


def prepare(settings: TrainSettings) -> Prepared:
    """Read, check and build what the workers need.

    Raises:
        SettingsError: If a setting, the manifest or the weights are wrong.
        StorageError: If one of them cannot be read.
        WorkerError: If timm's hub cannot be reached.
    """
    recipe = choose_recipe(settings)
    patience_s = settings.storage_patience_s
    manifest = patiently(lambda: load_manifest(settings.manifest), patience_s)
    splits = choose_splits(manifest, settings.manifest, skip_invalid=settings.skip_invalid)
    if len(splits.train) < recipe.batch_size:
        raise SettingsError(
            f"{settings.manifest} trains {len(splits.train)} images, fewer than one batch of {recipe.batch_size}; "
            "choose a smaller --batch-size"
        )
    if recipe.nobody_share and not splits.nobody_train:
        raise SettingsError(
            f"--nobody-share {recipe.nobody_share:g}: nothing in {settings.manifest} shows nobody; it needs training "
            "photographs with room beside their boxes, or rows marked `nobody`"
        )
    # A part without people lies in a photograph that is checked already.
    empty = [sample for sample in splits.nobody_train + splits.nobody_val if sample.window is None]
    check_images([*splits.train, *splits.val, *empty], skip_invalid=settings.skip_invalid, patience_s=patience_s)
    if unknown := sorted(settings.gate_class_floors.keys() - set(splits.classes)):
        raise SettingsError(
            f"--gate-class-floors names what {settings.manifest} does not train: {', '.join(unknown[:_NAMED])}; "
            f"it trains {', '.join(splits.classes[:_NAMED])}{' ...' if len(splits.classes) > _NAMED else ''}"
        )
    parent = None if settings.start_from is None else load_parent(settings.start_from, settings.registry)
    if parent is not None and settings.weights is not None:
        # No error: a shared configuration may name the weights that new models begin with.
        get_log().warning("train.weights_not_used", weights=settings.weights, start_from=settings.start_from)
    if parent is None and settings.pooling == "mean" and not (splits.shows_where or recipe.nobody_share):
        # A branch that nothing teaches would show a heatmap, and a focus in it, of its random first weights.
        get_log().warning("train.nothing_to_locate", boxes=0, outcome="the model will not say where people are")
        recipe = dataclasses.replace(recipe, mask_weight=0.0)
    weights = load_weights(settings.weights, settings.backbone) if parent is None else None
    image = _image(settings, weights) if parent is None else parent.image(settings)
    config = choose_config(settings, recipe, splits.classes, image)
    plan = Plan(
        config=config,
        recipe=recipe,
        micro_batch=choose_micro_batch(settings, recipe.batch_size),
        seed=settings.seed,
        manifest_digest=manifest.digest,
        weights_sha256=parent.sha256 if parent else weights.sha256 if weights else None,
    )
    return Prepared(
        plan=plan,
        splits=splits,
        initial_weights=_initial_weights(config, settings.seed, weights, parent),
        weights_source=settings.weights,
        parent=parent.version if parent else None,
    )


def _image(settings: TrainSettings, weights: PretrainedWeights | None) -> ImageConfig:
    """Pretrained weights expect the normalisation that they were trained with."""
    image = ImageConfig(size_px=settings.size_px)
    if weights is None:
        return image
    try:
        mean_RGB, std_RGB = recommended_normalisation(settings.backbone)
    except BackboneError:
        # The weights come from a file, and timm has never heard of any: ImageNet's usual figures.
        return image
    return dataclasses.replace(image, mean_RGB=mean_RGB, std_RGB=std_RGB)


def _initial_weights(config: ModelConfig, seed: int, weights: PretrainedWeights | None, parent: Parent | None) -> bytes:
    torch.manual_seed(seed)
    try:
        network = build_network(config)
        if weights is not None:
            load_pretrained(network.backbone, weights.tensors)
        if parent is not None:
            parent.pass_on(network)
    except BackboneError as error:
        raise SettingsError(f"--backbone {config.backbone}: {error}") from error
    except WeightsError as error:
        raise SettingsError(f"the weights do not fit --backbone {config.backbone}: {error}") from error
    return save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
