"""Eq. 2: where the features are active (SAM), which cells made the model choose (PAM), and the focus of that choice.

Shape suffixes: B = images, K = feature channels, A = action classes, H W = cells of the feature map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor  # Maps as arrays can be used without the seconds that torch takes to load.

Map = TypeVar("Map", "Tensor", NDArray[np.float32])


def spatial_activation_map(features_BKHW: Tensor, *, normalise: bool = False) -> Tensor:
    """Sum the features over the channels: SAM(i, j) = sum_k F_cls^k(i, j).

    Args:
        features_BKHW: The map that the classifier pools, any range.
        normalise: Scale each channel of each image to [0, 1] first, so that two networks can be compared. A flat
            channel becomes 0.

    Returns:
        Maps ``[B, H, W]``, float32.
    """
    features_BKHW = features_BKHW.float()
    if normalise:
        features_BKHW = features_BKHW - features_BKHW.amin(dim=(2, 3), keepdim=True)
        highest_BK11 = features_BKHW.amax(dim=(2, 3), keepdim=True)
        features_BKHW = features_BKHW / highest_BK11.masked_fill(highest_BK11 == 0, 1)
    return features_BKHW.sum(dim=1)


def predicting_activation_map(cam_BAHW: Tensor, action_B: Tensor) -> Tensor:
    """Pick the class activation map of one action: PAM(i, j) = sum_k w^k_c F_cls^k(i, j).

    Args:
        cam_BAHW: Class activation maps, without the bias.
        action_B: The action of each image, int64 in [0, A).

    Returns:
        Maps ``[B, H, W]``, of any sign.
    """
    index_B1HW = action_B[:, None, None, None].expand(-1, 1, *cam_BAHW.shape[2:])
    return cam_BAHW.gather(1, index_B1HW).squeeze(1)


def focus(pam_BHW: Map, person_BHW: Map) -> Map:
    """Tell how much of a choice came from the person: sum(relu(PAM) * person) / sum(relu(PAM)).

    Takes torch tensors and numpy arrays alike.

    Args:
        pam_BHW: Predicting activation maps of any sign, float32.
        person_BHW: Heatmaps or masks; clipped to [0, 1].

    Returns:
        Shares ``[B]`` in [0, 1]. NaN where no cell speaks for the action: there is nothing to attribute.
    """
    positive_BHW = pam_BHW.clip(min=0)
    on_person_BHW = positive_BHW * person_BHW.clip(min=0, max=1)
    with np.errstate(invalid="ignore"):  # 0/0 is the documented NaN
        share_B: Map = on_person_BHW.sum((-2, -1)) / positive_BHW.sum((-2, -1))
    return share_B
