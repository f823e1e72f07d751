"""A training worker in this process, without a cluster: Ray's part is played by a few lines, all else is real."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import ray
import ray.train.torch
import torch

from workers.train import preemption

NOTICE = threading.Event()
"""Set while a node is going to be taken away."""


class Killed(Exception):
    """Stands for kill -9: nothing after it is done."""


class Mailbox:
    """Takes every call; dies, when asked to, once a checkpoint of that step is safe."""

    def __init__(self, dies_at: int | None = None):
        self.saved_at: list[int] = []
        self.dies_at = dies_at

    def __getattr__(self, name):
        return SimpleNamespace(remote=lambda *arguments: self.take(name, *arguments))

    def take(self, name, *arguments):
        if name == "saved":
            self.saved_at.append(arguments[0])
            if arguments[0] == self.dies_at:
                raise Killed
        return False


@contextlib.contextmanager
def without_a_cluster() -> Iterator[None]:
    """Inside the block a worker finds itself alone, and what is handed to it by reference is handed to it as it is."""
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray.train, "get_context", lambda: context)
        patch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))
        patch.setattr(ray.train.torch, "prepare_model", lambda network, **_: network)
        patch.setattr(ray.train, "get_preemption_info", lambda: "soon" if NOTICE.is_set() else None)
        patch.setattr(preemption, "_LOOK_EVERY_S", 0.01)
        patch.setattr(ray, "get", lambda value: value)
        patch.setattr(ray, "wait", lambda values, timeout: (values, []))
        yield
        NOTICE.set()  # It ends every listener.
        time.sleep(0.1)
    NOTICE.clear()
    torch.set_num_threads(before)
