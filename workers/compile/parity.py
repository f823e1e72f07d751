"""The proof that an engine computes what its model computes, on real photographs.

Shape suffixes: B = images, A = action classes, H W = pixels or cells, C = RGB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lga_model.activations import focus
from lga_model.export import InferenceGraph
from lga_model.metrics import MeanAveragePrecision
from workers.engines import Engine, EngineOutput, Parity
from workers.engines.torch import run_graph
from workers.errors import Refused
from workers.manifest import Batch
from workers.settings import CompileSettings
from workers.settings.shared import EnginePrecision

_PART = 16
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far an engine may be from its model."""

    min_top1_agreement: float
    max_probability_difference: float
    max_heatmap_difference: float
    max_pam_difference: float
    max_map_difference: float
    max_focus_difference: float

    @classmethod
    def of(cls, settings: CompileSettings, precision: EnginePrecision) -> Self:
        """The limits that the settings ask for; those that they leave open are the precision's own."""
        asked = {field.name: getattr(settings, field.name) for field in fields(cls)}
        usual = dict(zip(asked, _LIMITS[precision], strict=True))
        return cls(**{name: usual[name] if value is None else value for name, value in asked.items()})


_LIMITS: dict[EnginePrecision, tuple[float, ...]] = {
    "fp32": (1.0, 1e-3, 1e-2, 1e-2, 1e-3, 1e-3),
    "fp16": (0.99, 0.02, 0.05, 0.05, 2e-3, 0.01),
    "bf16": (0.98, 0.1, 0.15, 0.15, 5e-3, 0.02),
    # One photograph may be far off where the labels, their ranking and the focus as a whole are not.
    "int8": (0.95, 0.3, 0.3, 0.5, 5e-3, 0.03),
    "fp8": (0.95, 0.3, 0.3, 0.5, 5e-3, 0.03),
}
"""In the order of the fields of ``Limits``."""


def measure_parity(engine: Engine, graph: InferenceGraph, batches: Iterable[Batch]) -> Parity:
    """Run both over the same photographs and compare everything that they say.

    A PAM belongs to a label, so PAM and focus of images with different labels are not compared: that the labels differ
    is counted itself.

    Args:
        engine: What is to be proven.
        graph: What it has to compute.
        batches: Photographs as ``read_batches`` gives them. Those of actions that the model does not know count
            everywhere but in the mean average precision.

    Raises:
        Refused: If either gives a number that is not finite, or there was no photograph.
    """
    images = agreeing = 0
    probability = heatmap = pam = 0.0
    focus_sum, focus_images = 0.0, 0
    our_precision, their_precision = MeanAveragePrecision(), MeanAveragePrecision()
    for rows, images_BHWC in batches:
        ours, theirs = engine.infer(images_BHWC), _model_says(graph, images_BHWC)
        # Before anything is compared: NaN is never above a limit.
        _refuse_strange_numbers(ours, f"engine {engine.record.folder}")
        _refuse_strange_numbers(theirs, "the model itself")
        same_B = ours.probabilities_BA.argmax(axis=1) == theirs.probabilities_BA.argmax(axis=1)
        images += len(same_B)
        agreeing += int(same_B.sum())
        probability = max(probability, _largest(ours.probabilities_BA, theirs.probabilities_BA))
        if ours.heatmap_BHW is not None and theirs.heatmap_BHW is not None:
            heatmap = max(heatmap, _largest(ours.heatmap_BHW, theirs.heatmap_BHW))
            differences_B = np.abs(_focus(ours, same_B) - _focus(theirs, same_B))
            focus_sum += float(np.nansum(differences_B))
            focus_images += int(np.count_nonzero(~np.isnan(differences_B)))
        scale_B11 = np.abs(theirs.pam_BHW).max(axis=(1, 2), keepdims=True).clip(min=_TINY)
        pam = max(pam, _largest((ours.pam_BHW / scale_B11)[same_B], (theirs.pam_BHW / scale_B11)[same_B]))
        classes = graph.network.config.classes
        known = [index for index, row in enumerate(rows) if row.action in classes]
        action_B = np.array([classes.index(rows[index].action) for index in known], np.int64)
        our_precision.update(ours.probabilities_BA[known], action_B)
        their_precision.update(theirs.probabilities_BA[known], action_B)
    if not images:
        raise Refused("the engine cannot be proven: there is no photograph to compare on")
    return Parity(
        images=images,
        top1_agreement=agreeing / images,
        max_probability_difference=probability,
        max_heatmap_difference=heatmap if engine.record.has_heatmap else None,
        max_pam_difference=pam,
        mean_average_precision=_known(our_precision),
        model_mean_average_precision=_known(their_precision),
        focus_difference=focus_sum / focus_images if focus_images else None,
        device=engine.device,
    )


def _model_says(graph: InferenceGraph, images_BHWC: NDArray[np.uint8]) -> EngineOutput:
    """``run_graph`` in small parts: an engine's batch may be larger than what the memory of the host holds."""
    parts = [run_graph(graph, images_BHWC[first : first + _PART]) for first in range(0, len(images_BHWC), _PART)]
    heatmaps = [part.heatmap_BHW for part in parts if part.heatmap_BHW is not None]
    return EngineOutput(
        probabilities_BA=np.concatenate([part.probabilities_BA for part in parts]),
        heatmap_BHW=np.concatenate(heatmaps) if heatmaps else None,
        pam_BHW=np.concatenate([part.pam_BHW for part in parts]),
    )


def violations(parity: Parity, limits: Limits) -> list[str]:
    """What speaks against the engine, in words; empty when it is as good as its model."""
    found = []
    if parity.top1_agreement < limits.min_top1_agreement:
        found.append(f"top-1 agreement {parity.top1_agreement:.4f} is below {limits.min_top1_agreement:g}")
    for name, difference, limit in compared(parity, limits):
        if difference is not None and difference > limit:
            found.append(f"{name} {difference:.3g} is above {limit:g}")
    return found


def compared(parity: Parity, limits: Limits) -> list[tuple[str, float | None, float]]:
    """Each difference by name, None where there was nothing to compare, and what is allowed."""
    return [
        ("largest probability difference", parity.max_probability_difference, limits.max_probability_difference),
        ("largest heatmap difference", parity.max_heatmap_difference, limits.max_heatmap_difference),
        ("largest PAM difference", parity.max_pam_difference, limits.max_pam_difference),
        ("mAP difference", parity.map_difference, limits.max_map_difference),
        ("mean focus difference", parity.focus_difference, limits.max_focus_difference),
    ]


def _focus(output: EngineOutput, of_B: NDArray[np.bool_]) -> NDArray[np.float32]:
    assert output.heatmap_BHW is not None  # noqa: S101 - asked by the caller
    return focus(output.pam_BHW[of_B], output.heatmap_BHW[of_B])


def _known(metric: MeanAveragePrecision) -> float | None:
    value = metric.compute().mean_average_precision
    return None if np.isnan(value) else float(value)


def _refuse_strange_numbers(output: EngineOutput, whose: str) -> None:
    for name, array in output._asdict().items():
        if array is not None and not np.isfinite(array).all():
            raise Refused(f"{whose} gives {name} that are not finite; nothing was published")


def _largest(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    return float(np.abs(ours - theirs).max(initial=0.0))
