"""A published model that a training starts from: its weights, and what has to agree for them to fit."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from lga_model.checkpoint import CheckpointError, check_preprocessing, load_model
from lga_model.config import ImageConfig
from lga_model.network import LGANet
from workers.errors import SettingsError
from workers.registry import WEIGHTS_FILE, Registry, Version
from workers.settings import TrainSettings

_MAY_DIFFER = {"classes", "image"}
_CLASSIFIER = "action.classifier."


@dataclass(frozen=True, kw_only=True)
class Parent:
    """A loaded model."""

    version: Version
    network: LGANet
    sha256: str

    def image(self, settings: TrainSettings) -> ImageConfig:
        """Its normalisation at the size asked for: the weights expect it."""
        return dataclasses.replace(self.network.config.image, size_px=settings.size_px)

    def pass_on(self, network: LGANet) -> None:
        """Give a network the weights; an action that the parent does not know keeps the weights it has.

        Raises:
            SettingsError: If the architectures differ: names every setting that does.
        """
        ours, theirs = dataclasses.asdict(network.config), dataclasses.asdict(self.network.config)
        different = [
            f"{name.replace('_', ' ')} is {theirs[name]}, here {ours[name]}"
            for name in ours
            if name not in _MAY_DIFFER and ours[name] != theirs[name]
        ]
        if different:
            raise SettingsError(
                f"--start-from {self.version} has another architecture: {'; '.join(different)}. "
                "Give the settings that it was trained with, or start without it"
            )
        known = self.network.config.classes
        pairs = [(index, known.index(name)) for index, name in enumerate(network.config.classes) if name in known]
        state, source = network.state_dict(), self.network.state_dict()
        with torch.no_grad():
            for name, tensor in state.items():
                if not name.startswith(_CLASSIFIER):
                    tensor.copy_(source[name])
                    continue
                for mine, other in pairs:
                    tensor[mine].copy_(source[name][other])


def load_parent(reference: str, registry: str) -> Parent:
    """Load the model that ``--start-from`` names.

    Raises:
        SettingsError: If there is none, or this release cannot read it.
        StorageError: If it cannot be fetched.
    """
    models = Registry(registry)
    version = models.resolve(reference)
    folder = models.fetch(version)
    try:
        network, record = load_model(folder)
        check_preprocessing(record)
    except CheckpointError as error:
        # The file lies in a cache; people gave another name.
        reason = str(error).replace(f"{folder}/", "")
        raise SettingsError(f"--start-from {reference} cannot be used: {reason}") from error
    return Parent(version=version, network=network, sha256=_digest(folder))


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
