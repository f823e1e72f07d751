"""What counts as the same model: measured against engines that were spoilt on purpose."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from lga_model.annotations import Annotation
from workers.compile.parity import Limits, measure_parity, violations
from workers.engines import EngineOutput, EngineRecord, Parity, open_engine
from workers.engines.torch import run_graph
from workers.errors import Refused
from workers.settings import CompileSettings

LIMITS = Limits.of(CompileSettings(model="tiny:1"), "fp32")
ROW = Annotation(image="a.jpg", action="running", split="val", boxes=(), width=64, height=64)


class SpoiltEngine:
    """Says what the model says, after ``spoil`` had its way with it."""

    device = "cpu"

    def __init__(self, source, folder, spoil):
        self.record = EngineRecord.from_json((folder / "engine.json").read_bytes(), "")
        self._graph, self._spoil = source.graph, spoil

    def infer(self, images_BHWC):
        output = EngineOutput(*(array.copy() for array in run_graph(self._graph, images_BHWC)))
        self._spoil(output)
        return output

    def close(self):
        """Nothing to give back."""


@pytest.fixture
def photographs():
    return np.random.default_rng(2).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def measured(tiny_source, torch_engine, photographs):
    """Parity of an engine that was spoilt, over two batches."""
    everything = [([ROW] * 4, photographs[:4]), ([ROW] * 2, photographs[4:])]
    return lambda spoil, batches=everything: measure_parity(
        SpoiltEngine(tiny_source, torch_engine, spoil), tiny_source.graph, batches
    )


def test_a_good_engine_passes(tiny_source, onnxruntime_engine, photographs):
    """
    The engine as it is built is far within every limit.
    """
    with closing(open_engine(onnxruntime_engine, threads=1)) as engine:
        parity = measure_parity(engine, tiny_source.graph, [([ROW] * 4, photographs[:4]), ([ROW] * 2, photographs[4:])])

    assert [] == violations(parity, LIMITS)
    assert (6, 1.0) == (parity.images, parity.top1_agreement)
    assert parity.max_probability_difference < 1e-4


def test_the_model_itself_differs_in_nothing(measured):
    """
    All differences are zero when nothing was spoilt.
    """
    zero = {"max_probability_difference": 0.0, "max_heatmap_difference": 0.0, "max_pam_difference": 0.0}

    precision = {"mean_average_precision": 1.0, "model_mean_average_precision": 1.0, "focus_difference": 0.0}

    assert Parity(images=6, top1_agreement=1.0, device="cpu", **zero, **precision) == measured(lambda _: None)


def test_one_wrong_cell_is_seen(measured):
    """
    The largest difference counts, not the mean: one cell, one probability of one image are enough.
    """

    def spoil(output):
        output.probabilities_BA[1, 2] += 0.25
        output.heatmap_BHW[0, 1, 1] -= 0.5

    parity = measured(spoil)

    assert pytest.approx(0.25) == parity.max_probability_difference
    assert pytest.approx(0.5) == parity.max_heatmap_difference
    told = " ".join(violations(parity, LIMITS))
    assert "largest probability difference 0.25 is above 0.001" in told
    assert "largest heatmap difference 0.5 is above 0.01" in told


def test_a_wrong_pam_is_measured_by_its_own_scale(measured):
    """
    A PAM has no unit: twice as large is a difference of 1, whatever the numbers are.
    """

    def spoil(output):
        output.pam_BHW[...] *= 2

    parity = measured(spoil)

    assert pytest.approx(1.0) == parity.max_pam_difference
    assert ["largest PAM difference 1 is above 0.01"] == violations(parity, LIMITS)


def test_another_label_is_a_disagreement(measured):
    """
    Half of the labels changed: agreement 0.5, and the PAMs of those images, which explain another label, do not count.
    """

    def spoil(output):
        even = output.probabilities_BA[::2]
        even[...] = np.roll(even, 1, axis=1)
        output.pam_BHW[::2] += 100

    parity = measured(spoil)

    assert 0.5 == parity.top1_agreement
    assert 0.0 == parity.focus_difference
    assert 0.0 == parity.max_pam_difference
    assert "top-1 agreement 0.5000 is below 1" == violations(parity, LIMITS)[0]


def test_another_ranking_costs_mean_average_precision(measured, photographs):
    """
    The engine's own mAP stands beside the model's: turned round, one photograph among four has another rank.
    """

    def spoil(output):
        output.probabilities_BA[...] = 1 - output.probabilities_BA

    rows = [replace(ROW, action=action) for action in ("running", "cooking", "cooking", "cooking")]
    parity = measured(spoil, [(rows, photographs[:4])])
    half = parity.model_copy(update={"mean_average_precision": 0.5, "model_mean_average_precision": 0.75})

    assert parity.mean_average_precision != parity.model_mean_average_precision
    assert "mAP difference 0.25 is above 0.001" in violations(half, LIMITS)


def test_evidence_that_moved_off_the_person_is_a_difference_of_focus(measured):
    """
    Focus is measured with each one's own heatmap: a heatmap that is nowhere leaves no focus.
    """

    def spoil(output):
        output.heatmap_BHW[...] = 0

    parity = measured(spoil)

    assert parity.focus_difference > 0.01
    assert any(reason.startswith("mean focus difference") for reason in violations(parity, LIMITS))


def test_each_precision_has_its_limits_and_each_can_be_set():
    """
    int8 is allowed more than fp16, and fp16 more than fp32; what is asked for goes before.
    """
    settings = CompileSettings(model="tiny:1", max_pam_difference=0.25)
    fp32, fp16, int8 = (Limits.of(settings, precision) for precision in ("fp32", "fp16", "int8"))

    assert fp32.max_probability_difference < fp16.max_probability_difference < int8.max_probability_difference
    assert fp32.min_top1_agreement > fp16.min_top1_agreement > int8.min_top1_agreement
    assert {0.25} == {limits.max_pam_difference for limits in (fp32, fp16, int8)}


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["probabilities_BA", "heatmap_BHW", "pam_BHW"])
def test_numbers_that_are_not_finite_are_refused(measured, number, name):
    """
    NaN is above no limit, so it is looked for by itself, in every output.
    """

    def spoil(output):
        getattr(output, name).flat[-1] = number

    with pytest.raises(Refused, match=f"gives {name} that are not finite"):
        measured(spoil)


def test_nothing_is_proven_by_no_photograph(tiny_source, torch_engine):
    """
    An empty comparison is no proof.
    """
    engine = SpoiltEngine(tiny_source, torch_engine, lambda _: None)
    with pytest.raises(Refused, match="no photograph"):
        measure_parity(engine, tiny_source.graph, [])
