"""What a network says about the validation split, and how good that is.

Shape suffixes: N = images of the split, A = action classes, H W = cells of the feature map.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from lga_model.activations import predicting_activation_map
from lga_model.calibration import Calibration
from lga_model.losses import NOBODY
from lga_model.metrics import MaskIoU, MeanAveragePrecision, MeanFocus
from lga_model.network import LGANet, Prediction
from workers.errors import SettingsError
from workers.train.data import Batch
from workers.train.loop import Arithmetic, autocast

_DEAD = 1e-3
"""A heatmap whose maximum stays below this says nothing."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The raw outputs for some images: enough to compute every figure and to fit the calibration."""

    logits_NA: NDArray[np.float32]
    action_N: NDArray[np.int64]
    """``NOBODY`` where an image shows nobody."""
    pam_NHW: NDArray[np.float32]
    heatmap_NHW: NDArray[np.float32]
    """``[N, 0, 0]`` without a localisation branch."""
    mask_NHW: NDArray[np.float32]
    has_boxes_N: NDArray[np.bool_]
    index_N: NDArray[np.int64]
    """Number of each image in the split, ascending."""

    @property
    def people(self) -> Outputs:
        """The images that show an action."""
        return self._where(self.action_N != NOBODY)

    @property
    def nobody(self) -> Outputs:
        """The images that show nobody."""
        return self._where(self.action_N == NOBODY)

    def _where(self, chosen_N: NDArray[np.bool_]) -> Outputs:
        return Outputs(**{field.name: getattr(self, field.name)[chosen_N] for field in fields(Outputs)})

    @property
    def has_heatmap(self) -> bool:
        """Whether there is a localisation branch."""
        return self.heatmap_NHW.size > 0

    @property
    def person_peak_N(self) -> NDArray[np.float32] | None:
        """Maximum of each heatmap, at most 1 as engines and tags have it; None without heatmaps."""
        return self.heatmap_NHW.max(axis=(1, 2)).clip(max=1) if self.has_heatmap else None


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How good a network is on the validation split. NaN where there is nothing to measure."""

    map: float
    """Mean average precision over the classes."""
    top1: float
    focus: float
    """Share of the activation that lies in the true boxes."""
    mask_iou: float
    dead_heatmaps: float
    """Share of heatmaps that are empty though somebody is there: a relu that has died."""
    images: int
    average_precision: tuple[float, ...]
    """Of each class, in the order of the classes."""


def validate(network: LGANet, batches: Iterable[Batch], precision: Arithmetic, device: torch.device) -> Outputs | None:
    """Run the network over batches; None when there are none."""
    network.eval()
    parts: list[Outputs] = []
    with torch.inference_mode(), autocast(device, precision):
        for batch in batches:
            prediction: Prediction = network(batch.to(device).image_BHWC)
            parts.append(_outputs(prediction, batch))
    return joined(parts) if parts else None


def joined(parts: Sequence[Outputs]) -> Outputs:
    """The outputs of several batches or workers as one, in the order of the split."""
    order_N = np.argsort(np.concatenate([part.index_N for part in parts]), kind="stable")
    return Outputs(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])[order_N]
            for field in fields(Outputs)
        }
    )


def summarise(outputs: Outputs) -> Scores:
    """Compute every figure, over the images that show an action.

    Raises:
        SettingsError: If a logit is not finite: nothing could be ranked.
    """
    if not np.isfinite(outputs.logits_NA).all():
        raise SettingsError(
            "the network gives scores that are not finite on the validation split: the training has diverged. "
            "Lower the learning rates, or choose --precision fp32"
        )
    outputs = outputs.people
    precision, focus, overlap = MeanAveragePrecision(), MeanFocus(), MaskIoU()
    # As everywhere else mAP ranks probabilities: logits of different images are on no common scale.
    precision.update(Calibration.none().probabilities(outputs.logits_NA), outputs.action_N)
    focus.update(outputs.pam_NHW, outputs.mask_NHW, outputs.has_boxes_N)
    if outputs.has_heatmap:
        overlap.update(outputs.heatmap_NHW, outputs.mask_NHW, outputs.has_boxes_N)
    peaks = outputs.person_peak_N
    report = precision.compute()
    return Scores(
        map=report.mean_average_precision,
        top1=report.top1,
        focus=focus.compute(),
        mask_iou=overlap.compute(),
        dead_heatmaps=math.nan if peaks is None else float((peaks < _DEAD).mean()),
        images=report.images,
        average_precision=report.average_precision,
    )


def _outputs(prediction: Prediction, batch: Batch) -> Outputs:
    logits_BA = prediction.logits_BA.float()
    heatmap_BHW = prediction.heatmap_BHW
    empty = torch.zeros(len(logits_BA), 0, 0)
    return Outputs(
        logits_NA=logits_BA.cpu().numpy(),
        action_N=batch.action_B.cpu().numpy(),
        pam_NHW=predicting_activation_map(prediction.cam_BAHW, logits_BA.argmax(dim=1)).float().cpu().numpy(),
        heatmap_NHW=(empty if heatmap_BHW is None else heatmap_BHW.float().cpu()).numpy(),
        mask_NHW=batch.mask_BHW.cpu().numpy(),
        has_boxes_N=batch.has_boxes_B.cpu().numpy(),
        index_N=batch.index_B.numpy(),
    )
