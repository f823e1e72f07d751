"""What the project's training costs beside the arithmetic: our loop against a bare torch loop over the same arrays.

Ours decodes JPEGs ahead of the step, augments, makes masks, checks the loss, clips, schedules and keeps a moving
average if the recipe has one. The bare loop has all images decoded in one tensor, and does forward, loss, backward,
step. Same network, same batch size, same optimiser; rounds alternate and the figure is the median over the rounds, in
CPU seconds (fair on a machine that is shared) and on the clock. Starved is the share of the clock that the steps after
an epoch's first wait for their batches, when every image is decoded and when all are in memory.

    python benchmarks/train_overhead.py [--backbone tf_efficientnet_lite0] [--size-px 224] [--rounds 5]
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from table1.data import Data, misleading_data
from torch import Tensor
from torch.nn import functional

from lga_model.config import FAST, ImageConfig, ModelConfig, Recipe
from lga_model.datasets.misleading import MisleadingConfig
from lga_model.network import LGANet, build_network
from workers.train.data import Batch, ImageSource
from workers.train.loop import Training
from workers.train.optimiser import build_optimiser

_JPEG_PX = 480
"""Side of the photographs on disk: about the pixels of a Stanford40 photograph."""


@dataclass
class Spent:
    """Time of some steps."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    first_s: float = 0.0
    """Until the first batch of the epoch was there."""
    waited_s: float = 0.0
    """For all the others."""


@dataclass(frozen=True)
class Arrays:
    """A whole data set in memory."""

    image_NHWC: Tensor
    action_N: Tensor
    mask_NHW: Tensor


def ours(training: Training, batches: Iterator[Batch]) -> Spent:
    """Train an epoch as ``lga train`` does."""
    spent, cpu, wall = Spent(), time.process_time(), time.monotonic()
    asked, training.position = wall, 0
    for step, batch in enumerate(batches):
        waited_s = time.monotonic() - asked
        spent.first_s, spent.waited_s = (spent.first_s, spent.waited_s + waited_s) if step else (waited_s, 0.0)
        training.step(batch)
        asked = time.monotonic()
    spent.cpu_s, spent.wall_s = time.process_time() - cpu, time.monotonic() - wall
    return spent


def bare(network: LGANet, optimiser: torch.optim.Optimizer, arrays: Arrays, recipe: Recipe) -> Spent:
    """Train an epoch as the shortest script would."""
    spent, cpu, wall = Spent(), time.process_time(), time.monotonic()
    for index_B in torch.randperm(len(arrays.action_N)).reshape(-1, recipe.batch_size):
        said = network(arrays.image_NHWC[index_B])
        loss = functional.cross_entropy(said.logits_BA, arrays.action_N[index_B])
        if said.heatmap_BHW is not None:
            loss = loss + recipe.mask_weight * functional.mse_loss(said.heatmap_BHW, arrays.mask_NHW[index_B])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    spent.cpu_s, spent.wall_s = time.process_time() - cpu, time.monotonic() - wall
    return spent


def in_memory(data: Data, grid_hw: tuple[int, int]) -> Arrays:
    """Decode everything first."""
    parts = list(data.measured("train", grid_hw))
    return Arrays(
        torch.cat([part.image_BHWC for part in parts]),
        torch.cat([part.action_B for part in parts]),
        torch.cat([part.mask_BHW for part in parts]),
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6, help="of each loop in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    recipe = dataclasses.replace(FAST, batch_size=options.batch_size)
    with tempfile.TemporaryDirectory(prefix="lga-overhead-") as folder:
        images = options.batch_size * options.steps
        scenes = MisleadingConfig(train=images, val=8, test=8, size_px=_JPEG_PX)
        data = misleading_data(Path(folder), scenes, size_px=options.size_px, threads=options.threads)
        rounds = measure(data, recipe, options)
    show(rounds, options)


def measure(data: Data, recipe: Recipe, options: argparse.Namespace) -> list[tuple[Spent, Spent, Spent]]:
    """Time of (ours while it decodes, ours from memory, bare) in every round, after one to warm up."""
    image = ImageConfig(size_px=options.size_px)
    config = ModelConfig(backbone=options.backbone, classes=data.classes, image=image)
    training = Training(build_network(config), recipe, options.steps, torch.device("cpu"))
    memory = torch.channels_last if recipe.channels_last else torch.contiguous_format
    network = build_network(config).to(memory_format=memory).train()
    optimiser, grid_hw = build_optimiser(network, recipe), network.feature_size
    arrays = in_memory(data, grid_hw)
    forgetful = dataclasses.replace(data, source=ImageSource(options.size_px, cache_bytes=0))

    def epoch(source: Data) -> Iterator[Batch]:
        return source.training(grid_hw, recipe, 0, 0)

    rounds = [
        (ours(training, epoch(forgetful)), ours(training, epoch(data)), bare(network, optimiser, arrays, recipe))
        for _ in range(1 + options.rounds)
    ]
    return rounds[1:]


def show(rounds: list[tuple[Spent, Spent, Spent]], options: argparse.Namespace) -> None:
    """Print images for each second, the ratio of each round's, and what was waited for."""
    images = options.batch_size * options.steps
    table = Table(title=f"{options.backbone}, {options.size_px} px, batch {options.batch_size}: medians of the rounds")
    for column in ("loop", "images per CPU second", "of bare", "images/s", "of bare", "first batch, s", "starved"):
        table.add_column(column, justify="left" if column == "loop" else "right")
    bare_rounds = [spent[2] for spent in rounds]
    for name, loop in (("ours, decoding", 0), ("ours, from memory", 1), ("bare", 2)):
        mine = [spent[loop] for spent in rounds]
        pairs = list(zip(mine, bare_rounds, strict=True))
        table.add_row(
            name,
            f"{images / statistics.median(each.cpu_s for each in mine):.2f}",
            f"{statistics.median(other.cpu_s / each.cpu_s for each, other in pairs):.3f}",
            f"{images / statistics.median(each.wall_s for each in mine):.2f}",
            f"{statistics.median(other.wall_s / each.wall_s for each, other in pairs):.3f}",
            f"{statistics.median(each.first_s for each in mine):.2f}",
            f"{np.sum([each.waited_s for each in mine]) / np.sum([each.wall_s for each in mine]):.3f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
