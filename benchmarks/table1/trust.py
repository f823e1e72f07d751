"""What may be believed of a model: its calibration on photographs it has not seen, and whether focus earns its column.

Shape suffixes: N = images of a split.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from lga_model.activations import focus
from lga_model.calibration import expected_calibration_error, fit_calibration
from workers.train.validation import Outputs

Floats = NDArray[np.floating]


def trust(val: Outputs, test: Outputs) -> dict[str, Any]:
    """Fit the calibration on the validation split and measure its promises on the test split.

    Returns:
        ``ece`` (15 bins); ``coverage`` of the label sets and their mean ``set_size`` at 90 %; ``accept_share`` and
        ``accept_precision`` at 95 %; ``auroc_confidence`` and ``auroc_with_focus``: how well the confidence, and
        confidence and focus together, rank wrong labels above right ones (0.5 = guessing; the two are weighed by a
        logistic regression on the validation split, where focus is what the tags hold: on the predicted heatmap).
    """
    fitted = fit_calibration(val.logits_NA, val.action_N, val.person_peak_N)
    probabilities_NA = fitted.probabilities(test.logits_NA)
    confidence_N, right_N = probabilities_NA.max(axis=1), probabilities_NA.argmax(axis=1) == test.action_N
    sets_NA = fitted.label_set(probabilities_NA)
    accepted_N = fitted.verdict(confidence_N) == "accept"
    figures: dict[str, Any] = {
        "ece": expected_calibration_error(probabilities_NA, test.action_N),
        "coverage": float(sets_NA[np.arange(len(right_N)), test.action_N].mean()),
        "set_size": float(sets_NA.sum(axis=1).mean()),
        "accept_share": float(accepted_N.mean()),
        "accept_precision": float(right_N[accepted_N].mean()) if accepted_N.any() else None,
        "auroc_confidence": float(roc_auc_score(~right_N, -confidence_N)),
    }
    if test.has_heatmap:
        val_probabilities_NA = fitted.probabilities(val.logits_NA)
        val_confidence_N = val_probabilities_NA.max(axis=1)
        val_wrong_N = val_probabilities_NA.argmax(axis=1) != val.action_N
        if val_wrong_N.all() or not val_wrong_N.any():
            return figures  # Nothing to learn doubt from.
        doubt = LogisticRegression().fit(_evidence(val_confidence_N, val), val_wrong_N)
        doubt_N = doubt.decision_function(_evidence(confidence_N, test))
        figures["auroc_with_focus"] = float(roc_auc_score(~right_N, doubt_N))
    return figures


def _evidence(confidence_N: Floats, outputs: Outputs) -> Floats:
    """Log-odds of the confidence, and focus; a photograph where no cell speaks for the label has no focus at all."""
    clipped_N = np.clip(confidence_N, 1e-6, 1 - 1e-6)
    focus_N = np.nan_to_num(focus(outputs.pam_NHW, outputs.heatmap_NHW))
    return np.stack([np.log(clipped_N / (1 - clipped_N)), focus_N], axis=1)
