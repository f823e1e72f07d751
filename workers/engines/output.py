"""What an engine says about a batch.

Shape suffixes: B = images, A = action classes, H W = cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class EngineOutput(NamedTuple):
    """What an engine says about a batch; arrays of its own, float32."""

    probabilities_BA: NDArray[np.float32]
    """Calibrated probability of every action."""
    heatmap_BHW: NDArray[np.float32] | None
    """Where the person is, in [0, 1]; None when the model has no localisation branch."""
    pam_BHW: NDArray[np.float32]
    """Predicting activation map of the likeliest action, any range."""
