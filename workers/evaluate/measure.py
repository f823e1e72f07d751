"""Every figure of one model on one set of photographs. Definitions: ``lga_model.metrics``, ``lga_model.calibration``.

Everything is computed in fp32 and on the calibrated probabilities, as an engine and the tags have them. Over
logits the ranking behind an AP is another one: a training's own validation figures differ from these.

Shape suffixes: N = all images, B = images of a batch, A = action classes, H W = cells of the feature map.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lga_model.annotations import Annotation
from lga_model.calibration import expected_calibration_error
from lga_model.export import InferenceGraph
from lga_model.metrics import MaskIoU, MeanAveragePrecision, MeanFocus
from lga_model.targets import human_mask
from workers.engines.torch import run_graph
from workers.manifest import Batch


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a model achieved. NaN where there was nothing to measure."""

    images: int
    mean_average_precision: float
    top1: float
    focus: float
    """Share of the positive PAM that lies in the true person boxes, mean over the images that have boxes."""
    mask_iou: float
    """Overlap of heatmap and boxes, mean over the images that have boxes; NaN without a heatmap."""
    calibration_error: float
    """Expected calibration error over 15 bins, of the calibrated probabilities."""
    average_precision: dict[str, float]
    """Of each class, by name, in the order of the model's classes."""
    class_images: dict[str, int]
    """Photographs of each class."""


def evaluate_batches(graph: InferenceGraph, batches: Iterable[Batch]) -> Evaluation:
    """Run a model over photographs and measure it.

    Args:
        graph: The model with its calibration.
        batches: Annotations, all of them of the model's classes, and pixels, as ``read_batches`` gives them.
    """
    classes = graph.network.config.classes
    precision, focus, overlap = MeanAveragePrecision(), MeanFocus(), MaskIoU()
    probabilities: list[NDArray[np.float32]] = []
    actions: list[NDArray[np.int64]] = []
    for rows, images_BHWC in batches:
        output = run_graph(graph, images_BHWC)
        action_B = np.array([classes.index(annotation.action) for annotation in rows])
        mask_BHW, has_boxes_B = _masks(rows, graph.network.feature_size)
        precision.update(output.probabilities_BA, action_B)
        focus.update(output.pam_BHW, mask_BHW, has_boxes_B)
        if output.heatmap_BHW is not None:
            overlap.update(output.heatmap_BHW, mask_BHW, has_boxes_B)
        probabilities.append(output.probabilities_BA)
        actions.append(action_B)
    report = precision.compute()
    action_N = np.concatenate(actions) if actions else np.zeros(0, np.int64)
    counts_A = np.bincount(action_N, minlength=len(classes))
    return Evaluation(
        images=report.images,
        mean_average_precision=report.mean_average_precision,
        top1=report.top1,
        focus=focus.compute(),
        mask_iou=overlap.compute(),
        calibration_error=expected_calibration_error(np.concatenate(probabilities), action_N) if actions else math.nan,
        average_precision=dict(zip(classes, report.average_precision, strict=bool(actions))),
        class_images={name: int(count) for name, count in zip(classes, counts_A, strict=True)},
    )


def _masks(
    annotations: Sequence[Annotation], grid_hw: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    boxes = [np.array(annotation.boxes, np.float64).reshape(-1, 4) for annotation in annotations]
    masks = [human_mask(b, a.width, a.height, grid_hw) for b, a in zip(boxes, annotations, strict=True)]
    return np.stack(masks), np.array([len(each) > 0 for each in boxes])
