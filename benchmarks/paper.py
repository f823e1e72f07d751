r"""Table 1, Fig. 4 and Fig. 5 of the paper, for any backbone and data set: is the human-mask loss worth it?

Trains a classifier without the added convolution (``plain``), LGA without and LGA with the mask loss, each with
several seeds, on the same images in the same order, for the same number of steps, and measures the last epoch of each
on the test split. Writes into ``--output``: ``table.json`` (every figure of every trial), ``gains.png`` (average
precision of each action, sorted by gain) and ``panels.png`` (where the networks look). Stopped, it continues with the
same command: after each epoch all that was learned lies in ``--work``.

    python benchmarks/paper.py                 # rendered scenes that mislead, a small backbone: minutes
    python benchmarks/paper.py --manifest stanford40.parquet --backbone tf_efficientnet_lite0 --weights package \
        --size-px 224 --output-stride 32
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from table1.data import Data, manifest_data, misleading_data
from table1.figures import Panel, draw_gains, draw_panels
from table1.trial import Trial, Trials

from lga_model.activations import focus, predicting_activation_map, spatial_activation_map
from lga_model.backbones import recommended_normalisation
from lga_model.config import RECIPES, ImageConfig, ModelConfig, Recipe
from lga_model.datasets.misleading import MisleadingConfig
from lga_model.network import LGANet
from workers.runtime import keep_freed_memory
from workers.train.weights import load_weights

PLAIN, WITHOUT, WITH = ROWS = ("plain", "without", "with")
FIGURES = {
    "map": "mAP",
    "top1": "top-1",
    "focus": "focus in the true box",
    "mask_iou": "IoU of heatmap and box",
    "ece": "expected calibration error",
    "coverage": "label sets that hold the right label (90 %)",
    "set_size": "labels in a set",
    "accept_share": "accepted",
    "accept_precision": "of those right (95 %)",
    "auroc_confidence": "AUROC of wrong labels: confidence",
    "auroc_with_focus": "AUROC: confidence and focus",
}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, help="of `lga prepare`; without it, scenes that mislead are rendered")
    parser.add_argument("--strength", type=float, default=0.9, help="how often the surroundings mislead")
    parser.add_argument("--train", type=int, default=1200, help="rendered training scenes")
    parser.add_argument("--per-class", type=int, help="train on so many images of each action only")
    parser.add_argument("--backbone", default="test_resnet")
    parser.add_argument("--weights", help="as for `lga train`; without it from nothing")
    parser.add_argument("--size-px", type=int, default=64)
    parser.add_argument("--output-stride", type=int, default=8)
    parser.add_argument("--action-channels", type=int, default=ModelConfig.action_channels)
    parser.add_argument("--localisation-source", choices=("backbone", "action"), default="backbone")
    parser.add_argument("--pooling", choices=("mean", "person"), default="mean", help="of the row with mask loss")
    parser.add_argument("--recipe", choices=RECIPES, default="fast")
    parser.add_argument("--epochs", type=int, help="this and the next four: instead of the recipe's")
    for name in ("mask-weight", "head-learning-rate", "backbone-learning-rate"):
        parser.add_argument(f"--{name}", type=float)
    parser.add_argument("--mask-reduction", choices=("sum", "mean"))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, help="of the table")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=Path, default=Path("paper-work"), help="checkpoints, to continue from")
    parser.add_argument("--output", type=Path, default=Path("paper-work/results"))
    parser.add_argument("--panels", type=int, default=6, help="photographs in panels.png, evenly over the test split")
    parser.add_argument("--images", nargs="+", help="their file names instead")
    return parser.parse_args()


def main() -> None:
    """Train what is missing, then write the table and the figures."""
    options = arguments()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    cv2.setNumThreads(1)
    data = read_data(options)
    weights = load_weights(options.weights, options.backbone)
    trials = Trials(options.work, None if weights is None else weights.tensors)
    results: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for row in options.rows:
            trial = trial_of(row, seed, data, options)
            results.append(trials.run(trial, data))
            write_results(options.output, data, results)
    print_table(results)
    if options.panels and {WITHOUT, WITH} <= set(options.rows):
        networks = [trials.train(trial_of(row, 0, data, options), data).network for row in (WITHOUT, WITH)]
        panels = [panel(index, data, networks) for index in chosen(data, options)]
        draw_panels(options.output / "panels.png", panels)
        facts = [{"action": each.title, "labels": each.labels, "focus": each.focus} for each in panels]
        (options.output / "panels.json").write_text(json.dumps(facts, indent=1) + "\n")


def read_data(options: argparse.Namespace) -> Data:
    """Read the manifest, or render scenes."""
    if options.manifest:
        return manifest_data(options.manifest, options.size_px, per_class=options.per_class, threads=options.threads)
    scenes = MisleadingConfig(train=options.train, size_px=options.size_px, strength=options.strength)
    folder = options.work / f"scenes-{options.size_px}-{options.strength}-{options.train}"
    return misleading_data(folder, scenes, threads=options.threads)


def trial_of(row: str, seed: int, data: Data, options: argparse.Namespace) -> Trial:
    """Describe one trial of a row of the table."""
    names = ("epochs", "mask_weight", "mask_reduction", "head_learning_rate", "backbone_learning_rate")
    changes = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    recipe: Recipe = dataclasses.replace(RECIPES[options.recipe], **changes)
    if row != WITH:
        recipe = dataclasses.replace(recipe, mask_weight=0.0)
    image = ImageConfig(size_px=options.size_px)
    if options.weights:
        mean_RGB, std_RGB = recommended_normalisation(options.backbone)
        image = dataclasses.replace(image, mean_RGB=mean_RGB, std_RGB=std_RGB)
    config = ModelConfig(
        backbone=options.backbone,
        classes=data.classes,
        image=image,
        variant="plain" if row == PLAIN else "lga",
        localisation=row == WITH,
        localisation_source=options.localisation_source,
        pooling=options.pooling,
        output_stride=options.output_stride,
        action_channels=options.action_channels,
    )
    source = str(options.manifest.name) if options.manifest else f"misleading, strength {options.strength}"
    return Trial(row=row, config=config, recipe=recipe, seed=seed, data=f"{source}, {len(data.train)} images")


def write_results(folder: Path, data: Data, results: Sequence[dict[str, Any]]) -> None:
    """Write the table and the gains of the trials so far: of use even when the rest is never run."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"summary": summary(results), "classes": data.classes, "trials": results}
    (folder / "table.json").write_text(json.dumps(document, indent=1) + "\n")
    ap = {row: [each["test"]["average_precision"] for each in results if each["row"] == row] for row in ROWS}
    if ap[WITHOUT] and ap[WITH]:
        draw_gains(folder / "gains.png", data.classes, *(np.mean(ap[row], axis=0) for row in (WITHOUT, WITH)))


def summary(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give mean, smallest and largest of every figure over the seeds, row by row."""
    rows = []
    for row in ROWS:
        trials = [each["test"] | each["trust"] for each in results if each["row"] == row]
        known = {name: [each[name] for each in trials if each.get(name) is not None] for name in FIGURES}
        spread = {
            name: {
                "mean": round(statistics.mean(values), 4),
                "min": round(min(values), 4),
                "max": round(max(values), 4),
            }
            for name, values in known.items()
            if values
        }
        rows.append({"row": row, "seeds": len(trials), **spread})
    return [row for row in rows if row["seeds"]]


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """Print Table 1, a column for each of its rows, and what may be believed of each."""
    rows = summary(results)
    table = Table(title="last epoch on the test split: mean over the seeds (smallest to largest)")
    table.add_column("")
    for row in rows:
        table.add_column(f"{row['row']}, {row['seeds']} seeds", justify="right")
    for name, title in FIGURES.items():
        table.add_row(title, *(_cell(row.get(name)) for row in rows))
    Console().print(table)


def _cell(spread: dict[str, float] | None) -> str:
    return "" if spread is None else f"{spread['mean']:.3f} ({spread['min']:.3f}-{spread['max']:.3f})"


def chosen(data: Data, options: argparse.Namespace) -> list[int]:
    """Choose photographs by name, or evenly over the test split, never by what the networks make of them."""
    if options.images:
        names = [Path(sample.uri).name for sample in data.test]
        return [names.index(name) for name in options.images if name in names]
    return [int(index) for index in np.linspace(0, len(data.test) - 1, min(options.panels, len(data.test)))]


@torch.inference_mode()
def panel(index: int, data: Data, networks: Sequence[LGANet]) -> Panel:
    """Ask both networks about one photograph of the test split."""
    sample = data.test[index]
    pixels_HWC = data.source.pixels(sample)
    batch = data.one(index, networks[0].feature_size)
    labels, focuses, sams, pams, heatmap_HW = [], [], [], [], None
    for network in networks:
        said = network.eval()(batch.image_BHWC)
        action_B = said.logits_BA.argmax(dim=1)
        pam_BHW = predicting_activation_map(said.cam_BAHW, action_B)
        labels.append(data.classes[int(action_B)])
        focuses.append(float(focus(pam_BHW, batch.mask_BHW)))
        sams.append(spatial_activation_map(said.features_BKHW, normalise=True)[0].numpy())
        pams.append(pam_BHW[0].numpy())
        if said.heatmap_BHW is not None:
            heatmap_HW = said.heatmap_BHW[0].numpy()
    return Panel(
        pixels_HWC=pixels_HWC,
        title=data.classes[sample.action],
        boxes_N4=sample.boxes_N4 / (sample.width, sample.height, sample.width, sample.height),
        labels=(labels[0], labels[1]),
        focus=(focuses[0], focuses[1]),
        sam_HW=(sams[0], sams[1]),
        pam_HW=(pams[0], pams[1]),
        heatmap_HW=heatmap_HW,
    )


if __name__ == "__main__":
    main()
