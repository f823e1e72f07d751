"""The proof that an engine computes what its model computes, on real photographs.

Shape suffixes: B = images, A = action classes, H W = pixels or cells, C = RGB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lga_model.export import InferenceGraph
from workers.engines import Engine, EngineOutput, Parity
from workers.engines.torch import run_graph
from workers.errors import Refused
from workers.settings import CompileSettings

_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far an engine may be from its model."""

    max_probability_difference: float
    max_heatmap_difference: float
    max_pam_difference: float
    min_top1_agreement: float

    @classmethod
    def of(cls, settings: CompileSettings) -> Self:
        """The limits that the settings ask for."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})


def measure_parity(engine: Engine, graph: InferenceGraph, batches: Iterable[NDArray[np.uint8]]) -> Parity:
    """Run both over the same photographs and compare everything that they say.

    A PAM belongs to a label, so those of images with different labels are not compared: that the labels differ is
    counted itself.

    Raises:
        Refused: If either gives a number that is not finite, or there was no photograph.
    """
    images = agreeing = 0
    probability = heatmap = pam = 0.0
    for images_BHWC in batches:
        ours, theirs = engine.infer(images_BHWC), run_graph(graph, images_BHWC)
        # Before anything is compared: NaN is never above a limit.
        _refuse_strange_numbers(ours, f"engine {engine.record.folder}")
        _refuse_strange_numbers(theirs, "the model itself")
        same_B = ours.probabilities_BA.argmax(axis=1) == theirs.probabilities_BA.argmax(axis=1)
        images += len(same_B)
        agreeing += int(same_B.sum())
        probability = max(probability, _largest(ours.probabilities_BA, theirs.probabilities_BA))
        if ours.heatmap_BHW is not None and theirs.heatmap_BHW is not None:
            heatmap = max(heatmap, _largest(ours.heatmap_BHW, theirs.heatmap_BHW))
        scale_B11 = np.abs(theirs.pam_BHW).max(axis=(1, 2), keepdims=True).clip(min=_TINY)
        pam = max(pam, _largest((ours.pam_BHW / scale_B11)[same_B], (theirs.pam_BHW / scale_B11)[same_B]))
    if not images:
        raise Refused("the engine cannot be proven: there is no photograph to compare on")
    return Parity(
        images=images,
        top1_agreement=agreeing / images,
        max_probability_difference=probability,
        max_heatmap_difference=heatmap if engine.record.has_heatmap else None,
        max_pam_difference=pam,
        device=engine.device,
    )


def violations(parity: Parity, limits: Limits) -> list[str]:
    """What speaks against the engine, in words; empty when it is as good as its model."""
    found = []
    if parity.top1_agreement < limits.min_top1_agreement:
        found.append(f"top-1 agreement {parity.top1_agreement:.4f} is below {limits.min_top1_agreement:g}")
    for name, difference, limit in (
        ("probability", parity.max_probability_difference, limits.max_probability_difference),
        ("heatmap", parity.max_heatmap_difference or 0.0, limits.max_heatmap_difference),
        ("PAM", parity.max_pam_difference, limits.max_pam_difference),
    ):
        if difference > limit:
            found.append(f"largest {name} difference {difference:.3g} is above {limit:g}")
    return found


def _refuse_strange_numbers(output: EngineOutput, whose: str) -> None:
    for name, array in output._asdict().items():
        if array is not None and not np.isfinite(array).all():
            raise Refused(f"{whose} gives {name} that are not finite; nothing was published")


def _largest(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    return float(np.abs(ours - theirs).max(initial=0.0))
