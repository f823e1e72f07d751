from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from lga_model.config import FAST, ImageConfig, ModelConfig
from lga_model.network import build_network
from workers.errors import SettingsError
from workers.train.checkpoints import CheckpointUnreadable, pack, read_published_weights, restore
from workers.train.data import Batch
from workers.train.loop import Training
from workers.train.monitor import Work
from workers.train.validation import validate

CPU = torch.device("cpu")
CONFIG = ModelConfig(
    backbone="test_resnet",
    classes=("a", "b"),
    image=ImageConfig(size_px=32),
    output_stride=16,
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
        mask_BHW=torch.rand(4, 2, 2, generator=random).round(),
        has_boxes_B=torch.tensor([True, True, True, False]),
        index_B=torch.arange(4),
        uris=("one.jpg", "two.jpg", "three.jpg", "four.jpg"),
    )


def training(**changes) -> Training:
    torch.manual_seed(0)
    micro_batch = changes.pop("micro_batch", None)
    network = build_network(dataclasses.replace(CONFIG, **changes.pop("config", {})))
    return Training(network, dataclasses.replace(RECIPE, **changes), STEPS, CPU, micro_batch=micro_batch)


def take_steps(run: Training, steps: int) -> None:
    for _ in range(steps):
        run.step(batch(run.step_number))
        if run.position == STEPS:
            run.epoch, run.position = run.epoch + 1, 0


def train_epoch(run: Training) -> None:
    take_steps(run, STEPS)


def validated(run: Training):
    return validate(run.published, [batch(99)], "fp32", CPU)


def saved(run: Training) -> dict[str, bytes]:
    return dict(pack(run, ({"epoch": run.epoch, "map": 0.5},), Work(steps=1, loss=2.0), validated(run)))


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
    losses = [run.step(batch(0)) for _ in range(20)]

    assert losses[-1].classification < losses[0].classification / 2
    assert losses[-1].mask < losses[0].mask


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("steps", [1, 3, 4])
def test_an_interrupted_training_ends_with_the_same_weights(ema_decay, steps):
    """
    Some steps, a checkpoint in the middle or at the end of an epoch, another process, the rest: bit for bit what two
    epochs in one go give.
    """
    whole = training(ema_decay=ema_decay)
    take_steps(whole, steps)
    files = saved(whole)
    take_steps(whole, 2 * STEPS - steps)
    resumed = training(ema_decay=ema_decay)
    progress = restore(files, resumed)
    take_steps(resumed, 2 * STEPS - steps)

    assert divmod(steps, STEPS) == (progress.epoch, progress.position)
    assert Work(steps=1, loss=2.0) == progress.work
    for network in ("network", "published"):
        expected = getattr(whole, network).state_dict()
        for name, tensor in getattr(resumed, network).state_dict().items():
            assert tensor.equal(expected[name]), name


def test_the_moving_average_is_what_is_published():
    """
    With an average, its weights are validated and kept for publishing, not the last step's.
    """
    run = training(ema_decay=0.9)
    train_epoch(run)
    weights = read_published_weights(saved(run))

    assert weights["action.classifier.weight"].equal(run.average.module.action.classifier.weight)
    assert not weights["action.classifier.weight"].equal(run.network.action.classifier.weight)


def test_without_batch_norms_micro_batches_change_nothing():
    """
    Gradients that add up over four images one by one are those of the four at once, up to rounding.
    """
    config = {"backbone": "test_convnext"}
    at_once, one_by_one = training(config=config), training(config=config, micro_batch=1)

    assert pytest.approx(at_once.step(batch(0))) == one_by_one.step(batch(0))
    for one, other in zip(at_once.network.parameters(), one_by_one.network.parameters(), strict=True):
        assert one.grad is None or torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_statistics_of_norms_are_the_mean_over_the_micro_batches():
    """
    Whatever their order: two halves of a batch move the statistics by the mean of what each would alone.
    """
    halves = training(micro_batch=2)
    name = "backbone.body.conv1.1.running_mean"
    start = halves.network.state_dict()[name].clone()
    alone = []
    for part in batch(0).split(2):
        single = training(batch_size=2)
        single.step(part)
        alone.append(single.network.state_dict()[name] - start)
    halves.step(batch(0))

    assert torch.allclose((alone[0] + alone[1]) / 2, halves.network.state_dict()[name] - start, atol=1e-6)


def test_a_loss_that_is_not_finite_changes_nothing():
    """
    The training stops with the names of the images, before the weights are touched.
    """
    run = training()
    with torch.no_grad():
        run.network.action.classifier.bias[0] = torch.nan
    before = {name: tensor.clone() for name, tensor in run.network.named_parameters()}
    with pytest.raises(SettingsError, match=r"epoch 1, step 1.*one\.jpg, two\.jpg"):
        run.step(batch(0))

    for name, tensor in run.network.named_parameters():
        assert tensor.isnan().equal(before[name].isnan())
        assert tensor.nan_to_num().equal(before[name].nan_to_num())


def test_bf16_keeps_the_weights_in_fp32():
    """
    Only forward and backward are computed in the recipe's precision.
    """
    run = training(precision="bf16")
    run.step(batch(0))

    assert {torch.float32} == {parameter.dtype for parameter in run.network.parameters()}


def test_a_gradient_that_is_not_finite_changes_nothing():
    """
    A finite loss can have an endless gradient: the step is not taken.
    """
    run = training(clip_norm=None)
    weight = run.network.action.classifier.weight
    weight.register_hook(lambda gradient: gradient * torch.inf)
    before = weight.detach().clone()
    with pytest.raises(SettingsError, match=r"the gradient is not finite .*one\.jpg"):
        run.step(batch(0))

    assert weight.equal(before)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimiser.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_refused(name):
    """
    Cut short: an error for people that says how to go on.
    """
    run = training()
    train_epoch(run)
    files = saved(run)
    with pytest.raises(CheckpointUnreadable, match="start a new run"):
        restore(files | {name: files[name][: len(files[name]) // 2]}, training())


def test_a_checkpoint_of_a_newer_format_is_refused():
    """
    It says which format this release reads, and what to do.
    """
    files = saved(training())
    newer = json.loads(files["state.json"]) | {"format": 99}
    with pytest.raises(CheckpointUnreadable, match=r"format 99; this release reads 2\. Continue with the release"):
        restore(files | {"state.json": json.dumps(newer).encode()}, training())


def test_a_checkpoint_of_another_model_is_refused():
    """
    Tensors that do not fit are no crash.
    """
    with pytest.raises(CheckpointUnreadable, match="size mismatch"):
        restore(saved(training()), training(config={"classes": ("a", "b", "c")}))


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
        run.step(batch(step))
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
