"""What a worker does, without a cluster."""

from __future__ import annotations

import dataclasses
import time

import cv2
import numpy as np
import pytest
import torch
from alone import NOTICE, Killed, Mailbox, without_a_cluster
from safetensors.torch import save

from lga_model.config import FAST, ImageConfig, ModelConfig
from lga_model.losses import NOBODY
from lga_model.network import build_network
from workers.errors import SettingsError
from workers.storage import open_store
from workers.train import monitor
from workers.train.checkpoints import STATE_FILE, read_progress
from workers.train.dataset import Sample, Splits
from workers.train.job import is_trained
from workers.train.plan import Plan
from workers.train.shelf import Shelf
from workers.train.worker import Assignment, _Worker

CONFIG = ModelConfig(
    backbone="test_resnet",
    classes=("a", "b"),
    image=ImageConfig(size_px=32),
    output_stride=16,
    action_channels=8,
    localisation_channels=(4, 1),
)
RECIPE = dataclasses.replace(FAST, epochs=2, batch_size=4, precision="fp32", ema_decay=0.9)
TIMES = {"train_s", "validation_s", "images_per_s", "data_wait_share"}


@pytest.fixture(scope="module", autouse=True)
def _without_a_cluster():
    with without_a_cluster():
        yield


@pytest.fixture(scope="module")
def splits(tmp_path_factory) -> Splits:
    """Twelve images to train on, six to validate on."""
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    samples = []
    for number in range(18):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), random.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        boxes = np.array([[4, 4, 20, 20]], np.float32)
        samples.append(Sample(uri=str(path), action=number % 2, boxes_N4=boxes, width=32, height=32))
    nothing = {"nobody_train": (), "nobody_val": (), "invalid_rows": 0, "dropped_boxes": 0}
    return Splits(classes=CONFIG.classes, train=tuple(samples[:12]), val=tuple(samples[12:]), **nothing)


def work(folder, splits: Splits, mailbox: Mailbox, *, skip_invalid: bool = False) -> None:
    torch.manual_seed(0)
    plan = Plan(config=CONFIG, recipe=RECIPE, micro_batch=2, seed=0, manifest_digest="d", weights_sha256=None)
    assignment = Assignment(
        plan=plan,
        splits=splits,
        initial_weights=save(build_network(CONFIG).state_dict()),
        mailbox=mailbox,
        threads=1,
        run_uri=str(folder),
        cache_bytes=0,
        disk_cache_bytes=0,
        skip_invalid=skip_invalid,
        checkpoint_steps=2,
        keep_best=1,
        patience_s=0.0,
        log_format="json",
        log_level="error",
    )
    _Worker(assignment).run()


def outcome(folder):
    """Figures of every epoch without the times, and the newest weights with everything that goes with them."""
    _, files = Shelf(open_store(str(folder)), keep_best=1).load_newest()
    history = read_progress(files[STATE_FILE]).history
    figures = [{name: value for name, value in epoch.items() if name not in TIMES} for epoch in history]
    return figures, {name: data for name, data in files.items() if name != STATE_FILE}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, splits):
    """The folder of a run that nobody disturbed, and its mailbox."""
    folder, mailbox = tmp_path_factory.mktemp("whole"), Mailbox()
    work(folder, splits, mailbox)
    return folder, mailbox


@pytest.mark.parametrize("dies_at", [2, 3, 4])
def test_a_worker_that_dies_anywhere_ends_as_if_it_had_not(tmp_path, splits, undisturbed, dies_at):
    """
    In the middle of an epoch, at its end, in the next one: curves, weights, average, optimiser, validation are bit for
    bit those of the undisturbed run.
    """
    whole, mailbox = undisturbed
    with pytest.raises(Killed):
        work(tmp_path, splits, Mailbox(dies_at))
    work(tmp_path, splits, Mailbox())

    assert [2, 3, 4, 6] == mailbox.saved_at
    assert outcome(whole) == outcome(tmp_path)


def test_a_finished_run_has_nothing_left_to_do(undisturbed, splits):
    """
    Workers that were started again after the last epoch save nothing more.
    """
    again = Mailbox()
    work(undisturbed[0], splits, again)

    assert [] == again.saved_at


class Warned(Mailbox):
    """The node gets its notice during the first step."""

    def take(self, name, *arguments):
        if name == "start":
            NOTICE.set()
            time.sleep(0.1)
        return super().take(name, *arguments)


class Ending(Mailbox):
    """The driver has to end, and asks for a last checkpoint."""

    def take(self, name, *arguments):
        return super().take(name, *arguments) or name == "work"


@pytest.mark.parametrize("kind", [Warned, Ending])
def test_who_has_to_go_makes_a_checkpoint_first(tmp_path, splits, undisturbed, monkeypatch, kind):
    """
    At the next step, between two that were due: the run that continues there ends as if nothing had been.
    """
    monkeypatch.setattr(monitor, "_POST_EVERY_S", 0.0)
    mailbox = kind(dies_at=1)
    with pytest.raises(Killed):
        work(tmp_path, splits, mailbox)
    NOTICE.clear()
    work(tmp_path, splits, Mailbox())

    assert [1] == mailbox.saved_at
    assert outcome(undisturbed[0]) == outcome(tmp_path)


class EndingLast(Mailbox):
    """The driver has to end during the very last step: the seventh post, for the first epoch of three has one more."""

    posts = 0

    def take(self, name, *arguments):
        self.posts += name == "work"
        return super().take(name, *arguments) or (name == "work" and self.posts == 7)


def test_a_stop_between_the_last_step_and_its_validation_loses_no_epoch(tmp_path, splits, undisturbed, monkeypatch):
    """
    All steps are taken, but nobody knows how good they are: the run goes on with the validation, and its checkpoint
    counts before the one of the same step that lacks it.
    """
    monkeypatch.setattr(monitor, "_POST_EVERY_S", 0.0)
    with pytest.raises(Killed):
        work(tmp_path, splits, EndingLast(dies_at=6))
    stopped, _ = Shelf(open_store(str(tmp_path)), keep_best=1).load_newest()
    assert not is_trained(stopped, 6)

    work(tmp_path, splits, Mailbox())
    whole, _ = Shelf(open_store(str(tmp_path)), keep_best=1).load_newest()

    assert (6, 6) == (stopped.step, whole.step)
    assert is_trained(whole, 6)
    assert not is_trained(whole, 9)
    assert outcome(undisturbed[0]) == outcome(tmp_path)


def test_a_validation_without_any_action_ends_the_training(tmp_path, splits):
    """
    Only photographs of nobody can be read: no epoch is better than another, which is told instead of a mAP of nothing.
    """
    gone = tuple(dataclasses.replace(sample, uri=f"{sample.uri}.gone") for sample in splits.val)
    nobody = (dataclasses.replace(splits.val[0], action=NOBODY),)
    broken = dataclasses.replace(splits, val=gone, nobody_val=nobody)
    with pytest.raises(SettingsError, match="no validation image of an action can be used"):
        work(tmp_path, broken, Mailbox(), skip_invalid=True)
