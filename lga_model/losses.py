"""Eq. 1: the classification loss plus the human-mask loss that pulls the activations onto the person.

Shape suffixes: B = images, A = action classes, H W = cells of the feature map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from lga_model.config import Recipe
    from lga_model.network import Prediction


NOBODY = -1
"""In the place of an action: the image shows nobody."""


class LossTerms(NamedTuple):
    """The loss and what it is made of, scalars. ``mask`` is not yet weighted."""

    total: Tensor
    classification: Tensor
    mask: Tensor


def lga_loss(
    prediction: Prediction, action_B: Tensor, mask_BHW: Tensor, has_boxes_B: Tensor, recipe: Recipe
) -> LossTerms:
    """Compute L = L_cls + weight * L_mask with L_mask = ||M_gt - M*||^2.

    Both terms are averaged over all images of the batch, those without boxes or without people included: their term
    is 0. So an annotated image pulls equally hard whoever shares its batch, and the average over equal parts of a
    batch, as distributed training takes it, is the loss of the whole.

    Args:
        prediction: What the network said; without a heatmap the mask term is 0.
        action_B: True classes, int64 in [0, A), or ``NOBODY``.
        mask_BHW: Human masks in [0, 1], float32.
        has_boxes_B: Which images have boxes, bool. An image without any says nothing about where its people are,
            unless its action is ``NOBODY``: then they are nowhere.
        recipe: Gives ``mask_weight``, ``mask_reduction`` and ``label_smoothing``.

    Raises:
        ValueError: If mask and heatmap differ in shape.
    """
    classification = functional.cross_entropy(
        prediction.logits_BA,
        action_B,
        ignore_index=NOBODY,
        reduction="sum",
        label_smoothing=recipe.label_smoothing,
    ) / len(action_B)
    heatmap_BHW = prediction.heatmap_BHW
    if heatmap_BHW is None:
        return LossTerms(classification, classification, classification.new_zeros(()))
    if heatmap_BHW.shape != mask_BHW.shape:
        raise ValueError(f"masks {list(mask_BHW.shape)} do not fit the heatmaps {list(heatmap_BHW.shape)}")
    error_BHW = (mask_BHW - heatmap_BHW).square()
    error_B = error_BHW.sum(dim=(1, 2)) if recipe.mask_reduction == "sum" else error_BHW.mean(dim=(1, 2))
    mask = (error_B * (has_boxes_B | (action_B == NOBODY))).mean()
    return LossTerms(classification + recipe.mask_weight * mask, classification, mask)
