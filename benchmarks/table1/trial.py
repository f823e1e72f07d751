"""One trial: train a network with one seed, measure it on the test split, keep the figures. It resumes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lga_model.backbones import load_pretrained
from lga_model.config import ModelConfig, Recipe
from lga_model.network import LGANet, build_network
from table1.data import Data
from table1.trust import trust
from workers.train.checkpoints import STATE_FILE, Files, pack, restore
from workers.train.data import Batch
from workers.train.loop import Training
from workers.train.monitor import Work
from workers.train.plan import finite
from workers.train.validation import Outputs, Scores, summarise, validate


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What decides the figures that come out."""

    row: str
    """Which row of the table it belongs to: trials of one row differ by their seed alone."""
    config: ModelConfig
    recipe: Recipe
    seed: int
    data: str
    """Which photographs, in words."""

    @property
    def key(self) -> str:
        """The same for the same trial, and for no other."""
        document = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(document.encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished trial."""

    network: LGANet
    val: Outputs
    test: Outputs
    scores: Scores
    """On the test split."""


class Trials:
    """Finished and half-finished trials in a folder, so that a benchmark that was stopped goes on."""

    def __init__(self, folder: Path, weights: Mapping[str, Tensor] | None) -> None:
        """Args: weights: ImageNet weights of the backbone, None to start from nothing."""
        self.folder, self.weights = folder, weights
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, trial: Trial, data: Data) -> dict[str, Any]:
        """Give the figures of a trial: those of a former call, or new ones."""
        path = self.folder / f"{trial.key}.json"
        if path.exists():
            figures: dict[str, Any] = json.loads(path.read_text())
            return figures
        begun = time.process_time()
        trained = self.train(trial, data)
        figures = {
            "row": trial.row, "seed": trial.seed, "data": trial.data, "key": trial.key,
            "cpu_s": round(time.process_time() - begun, 1),
            "test": finite(dataclasses.asdict(trained.scores)),
            "trust": finite(trust(trained.val, trained.test)),
            "val": finite(dataclasses.asdict(summarise(trained.val))),
            "recipe": dataclasses.asdict(trial.recipe), "config": dataclasses.asdict(trial.config),
        }  # fmt: skip
        path.write_text(json.dumps(figures, indent=1) + "\n")
        return figures

    def train(self, trial: Trial, data: Data) -> Trained:
        """Train, or load what an earlier call trained; each epoch is kept.

        The last epoch counts: nothing is chosen by looking at the test split.
        """
        torch.manual_seed(trial.seed)
        network = build_network(trial.config)
        if self.weights is not None:
            load_pretrained(network.backbone, self.weights)
        grid_hw, recipe = network.feature_size, trial.recipe
        training = Training(network, recipe, len(data.train) // recipe.batch_size, torch.device("cpu"), seed=trial.seed)
        checkpoint = self.folder / trial.key
        if (kept := _newest(checkpoint)) is not None:
            restore({path.name: path.read_bytes() for path in kept.iterdir()}, training)
        while training.epoch < recipe.epochs:
            for batch in data.training(grid_hw, recipe, trial.seed, training.epoch):
                training.step(batch)
            training.epoch, training.position = training.epoch + 1, 0
            # The outputs of a checkpoint are for publishing a version, which a trial never is.
            _keep(checkpoint / f"{training.epoch:04d}", pack(training, (), Work(), None))
        val, test = (_measure(training, data.measured(split, grid_hw)) for split in ("val", "test"))
        return Trained(network=training.published, val=val, test=test, scores=summarise(test))


def _keep(folder: Path, files: Files) -> None:
    """Write a checkpoint beside the one before it, which goes when the new one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: name == STATE_FILE):  # It makes the checkpoint count: last.
        (folder / name).write_bytes(files[name])
    for older in folder.parent.iterdir():
        if older.name < folder.name:
            shutil.rmtree(older)


def _newest(checkpoint: Path) -> Path | None:
    return max((folder for folder in checkpoint.glob("*") if (folder / STATE_FILE).exists()), default=None)


def _measure(training: Training, batches: Iterator[Batch]) -> Outputs:
    outputs = validate(training.published, batches, training.precision, training.device)
    assert outputs is not None  # noqa: S101 -- no split is empty
    return outputs
