"""Where a training's batches come from: our loaders against Ray Data, over the same photographs in an S3 bucket.

Both read, decode and augment with the same functions, and both are only emptied: no network computes beside them. The
photographs lie in a local S3 server. Ours runs four ways: every epoch from the store; the first and the second epoch
with the disk cache; from memory. Ray Data has one actor for each two threads of ours, and hands the batches over
through its object store. It starts them anew for every epoch: the last row leaves that out, by counting only what a
whole epoch costs more than half of one. CPU seconds are those of this process and of everything that Ray started.

    python benchmarks/train_data.py [--photographs 600] [--size-px 224] [--rounds 3]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import psutil
import ray
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from table1.data import misleading_data

from lga_model.config import FAST
from lga_model.datasets.misleading import MisleadingConfig
from workers.demo.local_s3 import local_s3
from workers.runtime import keep_ray_on_loopback, ray_session
from workers.storage import forget_client, make_bucket, open_store, read_uri
from workers.storage.requests import REQUESTS
from workers.train.data import ImageSource, Loader, training_order
from workers.train.dataset import Sample
from workers.train.disk_cache import DiskCache
from workers.train.sampling import epoch_order

_JPEG_PX = 480
"""Side of the photographs: about the pixels of a Stanford40 photograph."""
_BUCKET = "s3://photographs"
_GRID_HW = (7, 7)
_LOOK_EVERY_S = 0.1
_NAMES = (
    "ours, from the store",
    "ours, disk cache, epoch 1",
    "ours, disk cache, epoch 2",
    "ours, memory",
    "Ray Data",
    "Ray Data, without its start",
)


@dataclass(frozen=True)
class Spent:
    """One epoch."""

    cpu_s: float
    wall_s: float
    requests: int | None
    """GETs of this process; None where others ask."""


class Meter:
    """CPU seconds of this process and of Ray's, among them those that end meanwhile."""

    def __init__(self) -> None:
        self._used: dict[int, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._look()
        self._before, self._started = sum(self._used.values()), time.monotonic()
        self._gets = _gets()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def spent(self, *, all_requests: bool) -> Spent:
        """What was used since the beginning of the block."""
        cpu_s = sum(self._used.values()) - self._before
        requests = int(_gets() - self._gets) if all_requests else None
        return Spent(cpu_s, time.monotonic() - self._started, requests)

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            self._look()

    def _look(self) -> None:
        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                if "weed" not in process.name():
                    times = process.cpu_times()
                    self._used[process.pid] = times.user + times.system


class Load:
    """The step of Ray Data: indices -> a batch, as our loader makes it."""

    def __init__(self, samples: tuple[Sample, ...], size_px: int, threads: int) -> None:
        cv2.setNumThreads(1)
        source = ImageSource(size_px, cache_bytes=0)
        self.loader = Loader(samples, source, _GRID_HW, skip_invalid=False, threads=threads)

    def __call__(self, rows: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """One batch."""
        (batch,) = self.loader.training([rows["index"]], FAST.augmentation, 0, int(rows["epoch"][0]))
        return {
            "image": batch.image_BHWC.numpy(),
            "action": batch.action_B.numpy(),
            "mask": batch.mask_BHW.numpy(),
            "has_boxes": batch.has_boxes_B.numpy(),
        }


def emptied(batches: Iterable[object]) -> None:
    """Take every batch, as a training would."""
    for _ in batches:
        pass


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=600)
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    keep_ray_on_loopback()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with bucket(options) as samples, ray_session(None):
        ray.data.DataContext.get_current().enable_progress_bars = False
        rounds = [measure(samples, number, options) for number in range(1 + options.rounds)]
    show(rounds[1:], options)


@contextlib.contextmanager
def bucket(options: argparse.Namespace) -> Iterator[tuple[Sample, ...]]:
    """Rendered photographs in a bucket."""
    with tempfile.TemporaryDirectory(prefix="lga-train-data-") as folder, local_s3(Path(folder) / "s3") as server:
        os.environ.update(server.environment())
        forget_client()
        make_bucket(_BUCKET)
        store, scenes = open_store(_BUCKET), Path(folder) / "scenes"
        scenes.mkdir()
        config = MisleadingConfig(train=options.photographs, val=8, test=8, size_px=_JPEG_PX)
        samples = misleading_data(scenes, config, size_px=options.size_px).train
        for sample in samples:
            store.put(Path(sample.uri).name, Path(sample.uri).read_bytes())
        yield tuple(dataclasses.replace(sample, uri=f"{_BUCKET}/{Path(sample.uri).name}") for sample in samples)


def measure(samples: tuple[Sample, ...], number: int, options: argparse.Namespace) -> dict[str, Spent]:
    """One epoch of every way."""
    action_N, recipe = np.array([sample.action for sample in samples]), FAST

    def steps(epoch: int) -> list[NDArray[np.int64]]:
        order = epoch_order(action_N, recipe, number, epoch)
        return training_order(order, options.batch_size, slice(None))

    def ours(source: ImageSource, epoch: int) -> Spent:
        loader = Loader(samples, source, _GRID_HW, skip_invalid=False, threads=options.threads)
        with Meter() as meter:
            emptied(loader.training(steps(epoch), recipe.augmentation, number, epoch))
        return meter.spent(all_requests=True)

    def rays(chosen: list[NDArray[np.int64]]) -> Spent:
        with Meter() as meter:
            rows = [{"index": int(index), "epoch": 0} for step in chosen for index in step]
            batches = (
                ray.data.from_items(rows, override_num_blocks=max(1, len(rows) // options.batch_size))
                .map_batches(
                    Load,
                    fn_constructor_args=(samples, options.size_px, 2),
                    batch_size=options.batch_size,
                    compute=ray.data.ActorPoolStrategy(size=max(1, options.threads // 2)),
                    num_cpus=1,
                )
                .iter_torch_batches(batch_size=options.batch_size, prefetch_batches=2)
            )
            emptied(batches)
        return meter.spent(all_requests=False)

    with tempfile.TemporaryDirectory(prefix="lga-disk-cache-") as folder:
        disk = DiskCache(Path(folder), 1 << 40, f"round {number}", read_uri)
        cached = ImageSource(options.size_px, cache_bytes=0, read=disk.read)
        spent = [ours(ImageSource(options.size_px, cache_bytes=0), 0), ours(cached, 0), ours(cached, 1)]
    memory = ImageSource(options.size_px, cache_bytes=1 << 40)
    ours(memory, 0)
    spent.append(ours(memory, 1))
    every = steps(0)
    whole, half, share = rays(every), rays(every[::2]), len(every[1::2]) / len(every)
    beyond = Spent((whole.cpu_s - half.cpu_s) / share, (whole.wall_s - half.wall_s) / share, None)
    return dict(zip(_NAMES, (*spent, whole, beyond), strict=True))


def show(rounds: list[dict[str, Spent]], options: argparse.Namespace) -> None:
    """Print medians of the rounds; ratios are those of each round."""
    images = options.photographs // options.batch_size * options.batch_size
    table = Table(title=f"{images} photographs of {_JPEG_PX} px to {options.size_px} px, batch {options.batch_size}")
    for column in ("way", "images per CPU second", "of the store's", "images/s", "GETs"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for name in _NAMES:
        mine, first = [each[name] for each in rounds], [each[_NAMES[0]] for each in rounds]
        ratio = statistics.median(other.cpu_s / each.cpu_s for each, other in zip(mine, first, strict=True))
        requests = mine[0].requests
        table.add_row(
            name,
            f"{images / statistics.median(each.cpu_s for each in mine):.0f}",
            f"{ratio:.2f}",
            f"{images / statistics.median(each.wall_s for each in mine):.0f}",
            "by actors" if requests is None else str(requests),
        )
    Console().print(table)


def _gets() -> float:
    return float(REQUESTS.labels("get", "answered")._value.get() + REQUESTS.labels("get", "throttled")._value.get())  # noqa: SLF001


if __name__ == "__main__":
    main()
