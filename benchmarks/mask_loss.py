"""Under which conditions does the human-mask loss move the decision onto the person, and lift mAP?

Many short trainings on frozen ImageNet features (see table1/frozen.py), each with several seeds, so that a hypothesis
costs a minute: what was asked, predicted and found is in RESEARCH.md. Two settings:

    python benchmarks/mask_loss.py --strengths 0.5 0.9 1.0    # rendered scenes; the backbone's last stage is trained
    python benchmarks/mask_loss.py --manifest stanford40.parquet --per-class 25    # photographs; only the branches

Every trial is one line of ``--output``; trials that are there already are not run again. Beside it lies a chart.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from rich.console import Console
from rich.table import Table
from table1.data import Data, manifest_data, misleading_data
from table1.figures import draw_trials
from table1.frozen import Cut, Features, FrozenTrial, Schedule, extract, train_frozen
from table1.trust import trust

from lga_model.config import FAST, LocalisationSource, MaskReduction, ModelConfig, Pooling, Recipe
from lga_model.datasets.misleading import MisleadingConfig
from workers.runtime import keep_freed_memory
from workers.train.plan import finite
from workers.train.validation import summarise
from workers.train.weights import PACKAGE_BACKBONE, load_weights

SIZE_PX = 224
LOCALISATION_CHANNELS = (64, 32, 16, 1)
"""A narrower branch than the published one: on two cores the widths decide how many seeds there can be."""

SCENES = Cut(backbone=PACKAGE_BACKBONE, stage=3, last_channels=128, last_stride=2, second="augmented")
PHOTOGRAPHS = Cut(backbone=PACKAGE_BACKBONE, stage=4, second="mirrored")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to use the boxes."""

    mask_weight: float = 1.0
    mask_reduction: MaskReduction = "mean"
    localisation_source: LocalisationSource = "backbone"
    pooling: Pooling = "mean"
    convolution: bool = True
    """Whether there is the added convolution; not in ``plain``, the paper's first row."""
    mask_schedule: Schedule = "constant"


VARIANTS = {
    "plain": Variant(mask_weight=0.0, convolution=False),
    "without": Variant(mask_weight=0.0),
    "with": Variant(),
    "with, weight 10": Variant(mask_weight=10.0),
    "with, summed": Variant(mask_reduction="sum"),
    "with, on F_cls": Variant(localisation_source="action"),
    "with, on F_cls, person pool": Variant(localisation_source="action", pooling="person"),
    "with, on F_cls, summed": Variant(localisation_source="action", mask_reduction="sum"),
    "with, person pool": Variant(pooling="person"),
    "with, person pool, weight 0.1": Variant(pooling="person", mask_weight=0.1),
    "with, person pool, weight 0.3": Variant(pooling="person", mask_weight=0.3),
    "with, person pool, weight 0.5": Variant(pooling="person", mask_weight=0.5),
    "with, person pool, weight 10": Variant(pooling="person", mask_weight=10.0),
    "with, person pool, falling": Variant(pooling="person", mask_schedule="falling"),
    "with, person pool, rising": Variant(pooling="person", mask_schedule="rising"),
    "without, person pool": Variant(mask_weight=0.0, pooling="person"),
}
"""``without, person pool`` is the control: a pool that finds its own weights, nobody telling where the person is."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, help="of `lga prepare`; without it, scenes are rendered")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.9], help="how often the surroundings mislead")
    parser.add_argument("--train", type=int, default=1200, help="rendered training scenes")
    parser.add_argument("--per-class", type=int, help="train on so many photographs of each action only")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["without", "with", "with, person pool"])
    parser.add_argument("--epochs", type=int, help="default: 12 for scenes, 8 for photographs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=Path, default=Path("paper-work"), help="rendered scenes")
    parser.add_argument("--output", type=Path, default=Path("paper-work/mask_loss.jsonl"))
    return parser.parse_args()


def main() -> None:
    """Run what is missing and print the table."""
    options = arguments()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    cv2.setNumThreads(1)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    done = read(options.output)
    for title, data, cut in data_sets(options):
        wanted = [
            (name, seed)
            for seed in range(options.seeds)
            for name in options.variants
            if not any(same(line, title, name, seed, epochs_of(options)) for line in done)
        ]
        if not wanted:
            continue
        weights = load_weights("package", cut.backbone)
        assert weights is not None  # noqa: S101 -- a source was named
        features = extract(data, cut, weights.tensors)
        for name, seed in wanted:
            figures = {"data": title, "epochs": epochs_of(options), **run(name, seed, data, cut, features, options)}
            done.append(figures)
            with options.output.open("a") as file:
                file.write(json.dumps(figures) + "\n")
    show(done)
    draw_trials(options.output.with_suffix(".png"), done)


def data_sets(options: argparse.Namespace) -> Iterator[tuple[str, Data, Cut]]:
    """Give each data set with its name and where the backbone is cut for it."""
    if options.manifest:
        data = manifest_data(options.manifest, SIZE_PX, per_class=options.per_class, threads=options.threads)
        # In the order of the names, whatever the order of the manifest.
        data = dataclasses.replace(data, train=tuple(sorted(data.train, key=lambda sample: sample.uri)))
        yield f"{options.manifest.stem}, {len(data.train)} photographs", data, PHOTOGRAPHS
        return
    for strength in options.strengths:
        scenes = MisleadingConfig(train=options.train, val=8, size_px=SIZE_PX, strength=strength)
        folder = options.work / f"scenes-{SIZE_PX}-{strength}-{options.train}"
        data = misleading_data(folder, scenes, threads=options.threads)
        yield f"misleading {strength}, {options.train} scenes", data, SCENES


def epochs_of(options: argparse.Namespace) -> int:
    """Give the passes over the training images."""
    return int(options.epochs or (8 if options.manifest else 12))


def run(
    name: str, seed: int, data: Data, cut: Cut, features: dict[str, Features], options: argparse.Namespace
) -> dict[str, Any]:
    """Run one trial."""
    variant = VARIANTS[name]
    config = ModelConfig(
        backbone=cut.backbone,
        classes=data.classes,
        variant="lga" if variant.convolution else "plain",
        localisation=variant.mask_weight > 0 or variant.pooling == "person",
        localisation_source=variant.localisation_source,
        pooling=variant.pooling,
        action_channels=128 if cut.last_channels else 256,
        localisation_channels=LOCALISATION_CHANNELS,
    )
    recipe: Recipe = dataclasses.replace(
        FAST, name="frozen", epochs=epochs_of(options), backbone_learning_rate=1e-3, head_learning_rate=1e-3,
        mask_weight=variant.mask_weight, mask_reduction=variant.mask_reduction, precision="fp32",
    )  # fmt: skip
    begun = time.process_time()
    trial = FrozenTrial(config=config, recipe=recipe, seed=seed, cut=cut, mask_schedule=variant.mask_schedule)
    val, test = train_frozen(trial, features)
    figures = finite(dataclasses.asdict(summarise(test)))
    del figures["average_precision"]
    if options.manifest:  # The scenes have no validation split to calibrate on.
        figures["trust"] = finite(trust(val, test))
    return {"row": name, "seed": seed, "cpu_s": round(time.process_time() - begun, 1), **figures}


def read(path: Path) -> list[dict[str, Any]]:
    """Read the trials that are done."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def same(line: dict[str, Any], title: str, row: str, seed: int, epochs: int) -> bool:
    """Tell whether a line is this very trial."""
    return (line["data"], line["row"], line["seed"], line["epochs"]) == (title, row, seed, epochs)


def show(lines: Sequence[dict[str, Any]]) -> None:
    """Print mean and range over the seeds."""
    table = Table(title="test split: mean over the seeds (smallest to largest)")
    for column in ("data", "epochs", "variant", "seeds", "mAP", "focus in the true box", "IoU of the heatmap"):
        table.add_column(column, justify="left" if column in {"data", "variant"} else "right")
    for key in dict.fromkeys((line["data"], line["epochs"], line["row"]) for line in lines):
        trials = [line for line in lines if (line["data"], line["epochs"], line["row"]) == key]
        cells = [_spread([trial[name] for trial in trials]) for name in ("map", "focus", "mask_iou")]
        table.add_row(key[0], str(key[1]), key[2], str(len(trials)), *cells)
    Console().print(table)


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.mean(known):.3f} ({min(known):.3f}-{max(known):.3f})" if known else ""


if __name__ == "__main__":
    main()
