from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from table1.data import manifest_data, misleading_data
from table1.figures import Panel, draw_gains, draw_panels
from table1.trial import Trial, Trials
from table1.trust import trust

from lga_model.config import FAST, ImageConfig, ModelConfig
from lga_model.datasets.misleading import MisleadingConfig
from workers.train.loop import Training
from workers.train.validation import Outputs


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    config = MisleadingConfig(train=16, val=8, test=16, size_px=32)
    return misleading_data(tmp_path_factory.mktemp("scenes"), config, threads=1)


def trial(classes, epochs=2, **changes):
    config = ModelConfig(
        backbone="test_resnet",
        classes=classes,
        image=ImageConfig(size_px=32),
        output_stride=8,
        action_channels=8,
        localisation_channels=(4, 1),
    )
    recipe = dataclasses.replace(FAST, epochs=epochs, batch_size=8)
    return dataclasses.replace(Trial(row="with", config=config, recipe=recipe, seed=0, data="scenes"), **changes)


class Interrupted(Exception):
    pass


def test_a_trial_that_was_stopped_goes_on_to_the_same_figures(scenes, tmp_path, monkeypatch):
    """
    Stopped in its second epoch it continues with that epoch, and learns what it would have learned in one go.
    """
    whole = Trials(tmp_path / "whole", None).run(trial(scenes.classes), scenes)
    step, taken = Training.step, []

    def stops_once(self, batch):
        taken.append(self.epoch)
        if taken == [0, 0, 1]:
            raise Interrupted
        return step(self, batch)

    monkeypatch.setattr(Training, "step", stops_once)
    trials = Trials(tmp_path / "stopped", None)
    with pytest.raises(Interrupted):
        trials.run(trial(scenes.classes), scenes)
    continued = trials.run(trial(scenes.classes), scenes)

    assert [0, 0, 1, 1, 1] == taken
    assert whole["test"].pop("average_precision") == pytest.approx(continued["test"].pop("average_precision"))
    assert whole["test"] == pytest.approx(continued["test"])


def test_a_finished_trial_is_not_trained_again(scenes, tmp_path, monkeypatch):
    """
    Its figures are read; another seed is another trial.
    """
    trials, mine = Trials(tmp_path, None), trial(scenes.classes, epochs=1)
    before = trials.run(mine, scenes)
    monkeypatch.setattr(Training, "step", lambda *_: pytest.fail("trained again"))

    assert before["test"] == trials.run(mine, scenes)["test"]
    assert mine.key != dataclasses.replace(mine, seed=1).key


def test_few_training_photographs_leave_the_other_splits_whole(scenes):
    """
    Less to learn from, the same to be measured on.
    """
    manifest = next(sample for sample in scenes.train).uri.partition("/images/")[0]
    few = manifest_data(Path(manifest) / "manifest.parquet", 32, per_class=1)

    assert (8, 8, 16) == (len(few.train), len(few.val), len(few.test))


def test_trust_is_measured_on_photographs_that_fitted_nothing():
    """
    A model that is always right, and sure of it: everything is accepted, every label set holds one label.
    """
    action_N = np.arange(200) % 4
    right = Outputs(
        logits_NA=np.where(np.arange(4) == action_N[:, None], 8.0, 0.0).astype(np.float32),
        action_N=action_N,
        pam_NHW=np.ones((200, 2, 2), np.float32),
        heatmap_NHW=np.ones((200, 2, 2), np.float32),
        mask_NHW=np.ones((200, 2, 2), np.float32),
        has_boxes_N=np.ones(200, np.bool_),
        index_N=np.arange(200),
    )
    wrong = right.logits_NA.copy()
    wrong[::10] = np.roll(wrong[::10], 1, axis=1) / 8  # a tenth is wrong, and says that it is not sure
    figures = trust(dataclasses.replace(right, logits_NA=wrong), dataclasses.replace(right, logits_NA=wrong))

    assert 1.0 == figures["accept_precision"]
    assert 0.9 == figures["accept_share"]
    assert 1.0 == figures["auroc_confidence"]
    assert figures["coverage"] >= 0.9


def test_the_figures_are_pictures(tmp_path):
    """
    The gains of every action, and a row of maps for every photograph; a network without a heatmap leaves a gap.
    """
    map_HW = np.random.default_rng(0).random((4, 4)).astype(np.float32)
    panel = Panel(
        pixels_HWC=np.zeros((32, 32, 3), np.uint8),
        title="waving",
        boxes_N4=np.array([[0.1, 0.1, 0.5, 0.9]]),
        labels=("kicking", "waving"),
        focus=(0.2, 0.8),
        sam_HW=(map_HW, map_HW),
        pam_HW=(map_HW, -map_HW),
        heatmap_HW=None,
    )
    draw_panels(tmp_path / "panels.png", [panel, dataclasses.replace(panel, heatmap_HW=np.zeros((4, 4)))])
    draw_gains(tmp_path / "gains.png", ("waving", "kicking"), np.array([0.5, 0.7]), np.array([0.6, 0.6]))

    assert all(cv2.imread(str(tmp_path / name)) is not None for name in ("panels.png", "gains.png"))
