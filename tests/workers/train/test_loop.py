from __future__ import annotations

import dataclasses

import pytest
import torch

from lga_model.config import FAST, ImageConfig, ModelConfig
from lga_model.network import build_network
from workers.errors import SettingsError
from workers.train.checkpoints import CheckpointUnreadable, read_published_weights, restore, save_checkpoint
from workers.train.data import Batch
from workers.train.loop import Training
from workers.train.validation import validate

CPU = torch.device("cpu")
CONFIG = ModelConfig(
    backbone="resnet10t",
    classes=("a", "b"),
    image=ImageConfig(size_px=32),
    action_channels=8,
    localisation_channels=(4, 1),
)
RECIPE = dataclasses.replace(FAST, epochs=2, batch_size=4, precision="fp32")
STEPS = 3


def batch(number: int) -> Batch:
    random = torch.Generator().manual_seed(number)
    return Batch(
        image_BHWC=torch.randint(0, 256, (4, 32, 32, 3), generator=random, dtype=torch.uint8),
        action_B=torch.tensor([0, 1, 0, 1]),
        mask_BHW=torch.rand(4, 1, 1, generator=random).round(),
        has_boxes_B=torch.tensor([True, True, True, False]),
        uris=("one.jpg", "two.jpg", "three.jpg", "four.jpg"),
    )


def training(**changes) -> Training:
    torch.manual_seed(0)
    return Training(build_network(CONFIG), dataclasses.replace(RECIPE, **changes), STEPS, CPU)


def train_epoch(run: Training) -> None:
    run.begin_epoch(seed=0, rank=0)
    for step in range(STEPS):
        run.step(batch(run.epoch * STEPS + step), step)
    run.epoch += 1


def validated(run: Training):
    return validate(run.published, [batch(99)], "fp32", CPU)


def save(folder, run: Training) -> None:
    folder.mkdir()
    save_checkpoint(folder, run, validated(run), ({"epoch": run.epoch},))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_steps_make_the_loss_smaller():
    """
    A network learns one batch by heart.
    """
    run = training(schedule="constant", warmup_share=0.0, label_smoothing=0.0, head_learning_rate=0.01)
    run.begin_epoch(seed=0, rank=0)
    losses = [run.step(batch(0), 0) for _ in range(20)]

    assert losses[-1].classification < losses[0].classification / 2
    assert losses[-1].mask < losses[0].mask


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, ema_decay):
    """
    One epoch, a checkpoint, another process, one more epoch: bit for bit what two epochs in one go give.
    """
    whole = training(ema_decay=ema_decay)
    train_epoch(whole)
    save(tmp_path / "checkpoint", whole)
    train_epoch(whole)
    resumed = training(ema_decay=ema_decay)
    progress = restore(tmp_path / "checkpoint", resumed)
    train_epoch(resumed)

    assert 1 == progress.epoch
    for network in ("network", "published"):
        expected = getattr(whole, network).state_dict()
        for name, tensor in getattr(resumed, network).state_dict().items():
            assert tensor.equal(expected[name]), name


def test_the_moving_average_is_what_is_published(tmp_path):
    """
    With an average, its weights are validated and kept for publishing, not the last step's.
    """
    run = training(ema_decay=0.9)
    train_epoch(run)
    save(tmp_path / "checkpoint", run)
    weights = read_published_weights(tmp_path / "checkpoint")

    assert weights["action.classifier.weight"].equal(run.average.module.action.classifier.weight)
    assert not weights["action.classifier.weight"].equal(run.network.action.classifier.weight)


def test_a_loss_that_is_not_finite_changes_nothing():
    """
    The training stops with the names of the images, before the weights are touched.
    """
    run = training()
    run.begin_epoch(seed=0, rank=0)
    with torch.no_grad():
        run.network.action.classifier.bias[0] = torch.nan
    before = {name: tensor.clone() for name, tensor in run.network.named_parameters()}
    with pytest.raises(SettingsError, match=r"epoch 1, step 2.*one\.jpg, two\.jpg"):
        run.step(batch(0), 1)

    for name, tensor in run.network.named_parameters():
        assert tensor.isnan().equal(before[name].isnan())
        assert tensor.nan_to_num().equal(before[name].nan_to_num())


def test_bf16_keeps_the_weights_in_fp32():
    """
    Only forward and backward are computed in the recipe's precision.
    """
    run = training(precision="bf16")
    run.begin_epoch(seed=0, rank=0)
    run.step(batch(0), 0)

    assert {torch.float32} == {parameter.dtype for parameter in run.network.parameters()}


@pytest.mark.parametrize("name", ["weights.safetensors", "optimiser.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_refused(tmp_path, name):
    """
    Cut short or missing: an error for people that says how to go on.
    """
    run = training()
    train_epoch(run)
    folder = tmp_path / "checkpoint"
    save(folder, run)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointUnreadable, match="start a new run"):
        restore(folder, training())
    (folder / name).unlink()
    with pytest.raises(CheckpointUnreadable, match="start a new run"):
        restore(folder, training())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    """
    Tensors that do not fit are no crash.
    """
    save(tmp_path / "checkpoint", training())
    other = Training(build_network(dataclasses.replace(CONFIG, classes=("a", "b", "c"))), RECIPE, STEPS, CPU)
    with pytest.raises(CheckpointUnreadable, match="size mismatch"):
        restore(tmp_path / "checkpoint", other)


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_bf16_only_where_the_processor_computes_in_it(monkeypatch, has_bf16, expected):
    """
    Emulated bf16 would train several times slower than fp32.
    """
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_bf16})

    assert expected == training(precision="auto").precision


def test_the_average_forgets_its_first_steps():
    """
    After n steps the decay is min(decay, (1 + n) / (10 + n)): a short training does not publish where it started.
    """
    run = training(ema_decay=0.999, schedule="constant")
    weights, average = [], None
    for step in range(STEPS):
        run.step(batch(step), step)
        weights.append(run.network.action.classifier.weight.detach().clone())
        decay = min(0.999, (1 + step) / (10 + step))
        average = weights[0] if average is None else decay * average + (1 - decay) * weights[-1]

    torch.testing.assert_close(run.published.action.classifier.weight, average)


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_order_of_memory_is_the_recipes(channels_last):
    """
    A matter of speed: the weights are the same ones.
    """
    kernel = training(channels_last=channels_last).network.action.conv[0].weight

    assert channels_last == kernel.is_contiguous(memory_format=torch.channels_last)
