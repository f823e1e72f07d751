"""The paper's Fig. 4 and Fig. 5: the gain of each action, and where two networks look.

Shape suffixes: N = images, H W = pixels or cells, C = RGB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

Floats = NDArray[np.floating]

_WITHOUT, _WITH = "#8a8f98", "#1565c0"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One photograph and what two networks make of it: without the mask loss first, with it second."""

    pixels_HWC: NDArray[np.uint8]
    title: str
    """The true action."""
    boxes_N4: Floats
    """People in the unit square."""
    labels: tuple[str, str]
    focus: tuple[float, float]
    sam_HW: tuple[Floats, Floats]
    """Each channel scaled to [0, 1] first, so that the two can be compared."""
    pam_HW: tuple[Floats, Floats]
    heatmap_HW: Floats | None


def draw_gains(path: Path, classes: Sequence[str], without_A: Floats, with_A: Floats) -> None:
    """Draw the AP of every action with and without the mask loss, the largest gain at the top (Fig. 4)."""
    order_A = np.argsort(with_A - without_A)
    place_A = np.arange(len(classes))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 1.4 + 0.22 * len(classes)), sharey=True, width_ratios=(3, 2), layout="constrained"
    )
    left.barh(place_A + 0.2, without_A[order_A], 0.4, color=_WITHOUT, label="without mask loss")
    left.barh(place_A - 0.2, with_A[order_A], 0.4, color=_WITH, label="with mask loss")
    left.set_yticks(place_A, [classes[index].replace("_", " ") for index in order_A], fontsize=8)
    left.set_xlabel("average precision")
    left.set_xlim(0, 1)
    left.margins(y=0.01)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False)
    gain_A = 100 * (with_A - without_A)[order_A]
    right.barh(place_A, gain_A, 0.7, color=np.where(gain_A < 0, "#c0392b", _WITH))
    right.axvline(0, color="black", linewidth=0.8)
    right.axvline(gain_A.mean(), color="black", linewidth=0.8, linestyle=":")
    right.set_xlabel(f"gain in points of AP; mean {gain_A.mean():+.1f} (dotted)")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_trials(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Draw mAP and focus of every trial, a row of the picture for each data set and a line for each variant."""
    data_sets = list(dict.fromkeys((line["data"], line["epochs"]) for line in lines))
    variants = [list(dict.fromkeys(x["row"] for x in lines if (x["data"], x["epochs"]) == key)) for key in data_sets]
    figure, grid = plt.subplots(
        len(data_sets), 2, figsize=(9.5, sum(1.1 + 0.28 * len(each) for each in variants)), squeeze=False,
        layout="constrained", height_ratios=[2 + len(each) for each in variants],
    )  # fmt: skip
    for row, key, names in zip(grid, data_sets, variants, strict=True):
        for axes, (figure_name, title) in zip(row, (("map", "mAP"), ("focus", "focus in the true box")), strict=True):
            trials = [line for line in lines if (line["data"], line["epochs"]) == key]
            place_N = [-names.index(line["row"]) for line in trials]
            axes.scatter([line[figure_name] for line in trials], place_N, color=_WITH, alpha=0.7, s=28, clip_on=False)
            axes.set_yticks([-index for index in range(len(names))], names if axes is row[0] else [""] * len(names))
            axes.set_xlabel(title)
            axes.grid(axis="both", alpha=0.25)
            axes.margins(y=0.15)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_title(f"{key[0]}, {key[1]} epochs", loc="left", fontsize=10)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_panels(path: Path, panels: Sequence[Panel]) -> None:
    """Draw, a row for each photograph: itself, SAM and PAM without and with the mask loss, the heatmap (Fig. 5)."""
    titles = ("photograph", "SAM without", "SAM with", "PAM without", "PAM with", "human heatmap")
    figure, grid = plt.subplots(
        len(panels), len(titles), figsize=(2.1 * len(titles), 2.45 * len(panels)), squeeze=False, layout="constrained"
    )
    for row, panel in zip(grid, panels, strict=True):
        maps = (None, *panel.sam_HW, *(np.maximum(pam_HW, 0) for pam_HW in panel.pam_HW), panel.heatmap_HW)
        notes = [f"{label}, focus {focus:.2f}" for label, focus in zip(panel.labels, panel.focus, strict=True)]
        notes = [panel.title, "", "", *notes, ""]
        for axes, map_HW, note in zip(row, maps, notes, strict=True):
            axes.imshow(panel.pixels_HWC if map_HW is None else overlay(panel.pixels_HWC, map_HW))
            axes.set_xlabel(note.replace("_", " "), fontsize=8)
            axes.set_xticks([])
            axes.set_yticks([])
        _draw_boxes(row[0], panel)
        if panel.heatmap_HW is None:
            row[-1].set_visible(False)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def overlay(pixels_HWC: NDArray[np.uint8], map_HW: Floats) -> NDArray[np.uint8]:
    """Lay a map over a photograph in colours, each map scaled to its own range."""
    span = float(map_HW.max() - map_HW.min())
    unit_HW = (map_HW - map_HW.min()) / (span or 1.0)
    size_wh = pixels_HWC.shape[1::-1]
    large_HW = cv2.resize(unit_HW.astype(np.float32), size_wh, interpolation=cv2.INTER_LINEAR)
    colours_HWC = mpl.colormaps["turbo"](large_HW)[..., :3] * 255
    return np.asarray(0.5 * pixels_HWC + 0.5 * colours_HWC).astype(np.uint8)


def _draw_boxes(axes: Axes, panel: Panel) -> None:
    height, width = panel.pixels_HWC.shape[:2]
    for x0, y0, x1, y1 in panel.boxes_N4 * (width, height, width, height):
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="white", linewidth=1.5))
