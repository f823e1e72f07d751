"""Two processes that share each batch, under the very wrapper that Ray Train puts around the network."""

from __future__ import annotations

import dataclasses
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from lga_model.config import FAST, ImageConfig, ModelConfig
from lga_model.network import build_network
from workers.errors import SettingsError
from workers.train.data import Batch
from workers.train.loop import StepLosses, Training

CONFIG = ModelConfig(
    backbone="test_resnet",
    classes=("a", "b"),
    image=ImageConfig(size_px=32),
    output_stride=16,
    action_channels=8,
    localisation_channels=(4, 1),
)
RECIPE = dataclasses.replace(FAST, epochs=1, batch_size=6, precision="fp32", ema_decay=0.9, clip_norm=None)
STEPS = 8


def batch(number: int) -> Batch:
    """A whole global batch."""
    random = torch.Generator().manual_seed(number)
    return Batch(
        image_BHWC=torch.randint(0, 256, (6, 32, 32, 3), generator=random, dtype=torch.uint8),
        action_B=torch.tensor([0, 1, 0, 1, 0, 1]),
        mask_BHW=torch.rand(6, 2, 2, generator=random).round(),
        has_boxes_B=torch.tensor([True, True, True, False, True, True]),
        index_B=torch.arange(6),
        uris=tuple(f"{index}.jpg" for index in range(6)),
    )


def learn(rank: int, workers: int, folder: Path) -> tuple[list[StepLosses], dict[str, np.ndarray], str]:
    """What one worker sees: the losses of all steps, the averaged weights, and what an endless gradient says."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    run = Training(build_network(CONFIG), RECIPE, STEPS + 1, torch.device("cpu"), micro_batch=2)
    share = slice(None)
    if workers > 1:
        distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=workers)
        run.forward = DistributedDataParallel(run.network, broadcast_buffers=False)
        share = (slice(0, 2), slice(2, 6))[rank]  # Three micro-batches: one for the first, two for the second.
    losses = [run.step(part(batch(number), share), rank=rank, workers=workers) for number in range(STEPS)]
    weights = {name: tensor.numpy().copy() for name, tensor in run.published.state_dict().items()}
    if rank == workers - 1:
        run.network.action.classifier.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(SettingsError) as told:
        run.step(part(batch(STEPS), share), rank=rank, workers=workers)
    if workers > 1:
        distributed.destroy_process_group()
    return losses, weights, str(told.value)


def part(whole: Batch, share: slice) -> Batch:
    fields = {field.name: getattr(whole, field.name)[share] for field in dataclasses.fields(Batch)}
    return Batch(**fields)


def test_two_workers_learn_what_one_learns(tmp_path, monkeypatch):
    """
    The same global batches give the same losses within 1e-4 and the same averaged weights within 1e-3, although the
    shares are unequal: sums are taken in another order, and nothing else differs. When one worker's gradient is not
    finite every worker says so, and names the images of all.
    """
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    threads = torch.get_num_threads()
    with get_context("spawn").Pool(1) as pool:
        second = pool.apply_async(learn, (1, 2, tmp_path))
        alone, weights, _ = learn(0, 1, tmp_path)
        shared = [learn(0, 2, tmp_path), second.get()]
    torch.set_num_threads(threads)

    assert shared[0][0] == shared[1][0]
    for one, two in zip(alone, shared[0][0], strict=True):
        assert pytest.approx(one, rel=1e-4) == two
    for name, array in shared[0][1].items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_allclose(array, weights[name], rtol=1e-3, atol=1e-4, err_msg=name)
    for _, _, told in shared:
        assert "the gradient is not finite in epoch 1, step 9" in told
        assert "0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, 5.jpg" in told
