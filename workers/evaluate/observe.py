"""Run a model over photographs and keep what every figure is computed from: a few numbers for each image.

Everything is computed in fp32 and on the calibrated probabilities, as an engine and the tags have them. Over
logits the ranking behind an AP is another one: a training's own validation figures differ from these.

Shape suffixes: N = images, B = images of a batch, A = action classes, H W = cells of the feature map.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lga_model.activations import focus
from lga_model.annotations import Annotation
from lga_model.export import InferenceGraph
from lga_model.losses import NOBODY
from lga_model.metrics import mask_iou, pixel_average_precision
from lga_model.targets import human_mask
from workers.engines import EngineOutput
from workers.engines.torch import run_graph
from workers.manifest import Batch

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Observations:
    """What a model said about some images. NaN where an image has no such value."""

    probabilities_NA: NDArray[np.float32]
    action_N: NDArray[np.int64]
    """True classes; ``NOBODY`` for images of nobody."""
    focus_N: Floats
    """Share of the positive PAM that lies in the true boxes; NaN without boxes."""
    mask_iou_N: Floats
    """Overlap of heatmap and boxes; NaN without either."""
    pixel_ap_N: Floats
    """Average precision of the heatmap over the cells; NaN without either."""
    person_peak_N: Floats
    """Maximum of the heatmap; NaN without a heatmap, and where it is unknown whether somebody is there."""

    def __len__(self) -> int:
        return len(self.action_N)

    def of_classes(self, order_A: Sequence[int]) -> Observations:
        """The same with the classes in another order: class ``order_A[k]`` becomes class k."""
        place_A = np.argsort(order_A)
        action_N = np.where(self.action_N == NOBODY, NOBODY, place_A[self.action_N])
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        return Observations(**(kept | {"probabilities_NA": self.probabilities_NA[:, order_A], "action_N": action_N}))


def observe(graph: InferenceGraph, batches: Iterable[Batch], *, nobody: bool = False) -> Observations:
    """Run a model over photographs.

    Args:
        graph: The model with its calibration.
        batches: Annotations, all of them of the model's classes, and pixels, as ``read_batches`` gives them.
        nobody: The pixels show nobody, whatever the annotations say of the whole photographs.
    """
    nothing = _nothing(len(graph.network.config.classes))
    return joined(
        nothing, *(_observed(graph, rows, run_graph(graph, images), nobody=nobody) for rows, images in batches)
    )


def joined(*parts: Observations) -> Observations:
    """Several as one, in their order."""
    return Observations(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Observations)}
    )


def _observed(graph: InferenceGraph, rows: Sequence[Annotation], output: EngineOutput, *, nobody: bool) -> Observations:
    classes, (h, w) = graph.network.config.classes, graph.network.feature_size
    action_B = np.array([NOBODY if nobody else classes.index(row.action) for row in rows])
    boxes = [np.array(() if nobody else row.boxes, np.float64).reshape(-1, 4) for row in rows]
    mask_BHW = np.stack([human_mask(b, row.width, row.height, (h, w)) for b, row in zip(boxes, rows, strict=True)])
    has_boxes_B = np.array([len(each) > 0 for each in boxes])
    iou_B = ap_B = peak_B = np.full(len(rows), np.nan)
    if output.heatmap_BHW is not None:
        iou_B, ap_B = mask_iou(output.heatmap_BHW, mask_BHW), pixel_average_precision(output.heatmap_BHW, mask_BHW)
        peak_B = output.heatmap_BHW.max(axis=(1, 2))
    return Observations(
        probabilities_NA=output.probabilities_BA,
        action_N=action_B,
        focus_N=np.where(has_boxes_B, focus(output.pam_BHW, mask_BHW), np.nan),
        mask_iou_N=np.where(has_boxes_B, iou_B, np.nan),
        pixel_ap_N=np.where(has_boxes_B, ap_B, np.nan),
        person_peak_N=np.where(has_boxes_B | (action_B == NOBODY), peak_B, np.nan),
    )


def _nothing(classes: int) -> Observations:
    none = np.zeros(0)
    return Observations(
        probabilities_NA=np.zeros((0, classes), np.float32), action_N=np.zeros(0, np.int64),
        focus_N=none, mask_iou_N=none, pixel_ap_N=none, person_peak_N=none,
    )  # fmt: skip
