"""What each Ray Train worker does: continue or begin, train an epoch, validate it, save checkpoints.

The weights are the same on every worker, so the first one alone writes checkpoints, into the run's own folder. Ray
Train starts the workers, and starts them again when one is lost; of checkpoints it knows nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
import ray
import ray.train
import ray.train.torch
import torch
from safetensors.torch import load
from torch import distributed

from lga_model.network import build_network
from workers.errors import SettingsError, WorkerError
from workers.logs import configure_logs, get_log
from workers.patience import PatientStore
from workers.registry.cache import default_cache
from workers.runtime import keep_freed_memory
from workers.storage import open_store
from workers.train.checkpoints import Files, pack, restore
from workers.train.data import Batch, ImageSource, Loader, patient_reader, training_order, validation_order
from workers.train.dataset import Sample, Splits
from workers.train.disk_cache import DiskCache
from workers.train.loop import Training, shares
from workers.train.monitor import MailboxHandle, Reporter, Work
from workers.train.plan import Plan, finite
from workers.train.preemption import Notice
from workers.train.sampling import epoch_order
from workers.train.shelf import Shelf
from workers.train.validation import Outputs, joined, summarise, validate


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What the driver hands to every worker."""

    plan: Plan
    splits: ray.ObjectRef[Splits]
    initial_weights: ray.ObjectRef[bytes]
    """The network before the first step, as safetensors: every worker starts from the same."""
    mailbox: MailboxHandle
    threads: int
    """Cores of this worker."""
    run_uri: str
    """Folder of the run."""
    cache_bytes: int
    """Memory for decoded images."""
    disk_cache_bytes: int
    """Disk of each machine for images from object storage; 0 for none."""
    skip_invalid: bool
    checkpoint_steps: int
    """Steps between two checkpoints."""
    keep_best: int
    patience_s: float
    """Seconds that storage may be away."""
    log_format: Literal["console", "json"]
    log_level: str


def train_worker(task: dict[str, Any]) -> None:
    """Entry point. An error for people goes to the driver, who ends the run: a fresh start would only repeat it."""
    assignment: Assignment = task["assignment"]
    if ray.get(assignment.mailbox.error.remote()) is not None:
        return
    configure_logs(assignment.log_format, assignment.log_level)
    torch.set_num_threads(assignment.threads)
    keep_freed_memory()
    cv2.setNumThreads(1)  # The loader has threads of its own.
    try:
        with _telling_memory():
            _Worker(assignment).run()
    except WorkerError as error:
        if error.retryable:
            raise
        ray.get(assignment.mailbox.fail.remote(error))
        # The others may be waiting for us inside a collective: only our death frees them.
        if ray.train.get_context().get_world_size() > 1:
            raise


@contextlib.contextmanager
def _telling_memory() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise SettingsError("the GPU is out of memory; choose a smaller --micro-batch-size") from error


class _Worker:
    """One of several equal workers; the first of them keeps the books."""

    def __init__(self, assignment: Assignment) -> None:
        context = ray.train.get_context()
        self.rank, self.workers = context.get_world_rank(), context.get_world_size()
        self.assignment, self.plan = assignment, assignment.plan
        self.recipe = self.plan.recipe
        self.splits = ray.get(assignment.splits)
        self.reporter, self.notice = Reporter(assignment.mailbox), Notice()
        self.shelf = Shelf(
            PatientStore(open_store(assignment.run_uri), assignment.patience_s), keep_best=assignment.keep_best
        )
        self.history: tuple[dict[str, Any], ...] = ()
        self.work = Work()
        self.training = self._begin()
        self.source = ImageSource(self.plan.config.image.size_px, assignment.cache_bytes, read=_reader(assignment))
        self.told: set[str] = set()
        micro_batches = shares(self.recipe.batch_size // self.plan.micro_batch, self.workers)[self.rank]
        self.share = slice(micro_batches.start * self.plan.micro_batch, micro_batches.stop * self.plan.micro_batch)

    def _begin(self) -> Training:
        device = ray.train.torch.get_device()
        network = build_network(self.plan.config)
        network.load_state_dict(load(ray.get(self.assignment.initial_weights)))
        training = Training(
            network,
            self.recipe,
            len(self.splits.train) // self.recipe.batch_size,
            device,
            micro_batch=self.plan.micro_batch,
            seed=self.plan.seed,
        )
        if (files := self._newest_checkpoint()) is not None:
            progress = restore(files, training)
            self.history, self.work = progress.history, progress.work
        # The weights are the same on every worker already, and the norms' statistics too: see NormStatistics.
        training.forward = ray.train.torch.prepare_model(
            training.network, parallel_strategy_kwargs={"broadcast_buffers": False}
        )
        return training

    def _newest_checkpoint(self) -> Files | None:
        """The first worker chooses: the others must not find another one."""
        newest = self.shelf.load_newest() if self.rank == 0 else None
        names = [newest[0].name if newest else None]
        if self.workers > 1:
            distributed.broadcast_object_list(names, src=0)
        if newest is not None:
            return newest[1]
        return None if names[0] is None else self.shelf.load(names[0])

    def run(self) -> None:
        """Train until the recipe's last epoch."""
        training = self.training
        if self.rank == 0:
            self.assignment.mailbox.start.remote(training.epoch, training.position * self.recipe.batch_size)
        while training.epoch < self.recipe.epochs:
            self._train_epoch()
            training.epoch, training.position = training.epoch + 1, 0
            started = time.monotonic()
            outputs = self._validate()
            if self.rank == 0:
                figures = self._figures(time.monotonic() - started, outputs)
                self.history, self.work = (*self.history, figures), Work()
                self._save(outputs)
                # After the checkpoint: an epoch is finished when it is safe.
                self.assignment.mailbox.epoch.remote(figures)
            self.work = Work()

    def _loader(self, samples: Sequence[Sample]) -> Loader:
        return Loader(
            samples,
            self.source,
            self.training.network.feature_size,
            skip_invalid=self.assignment.skip_invalid,
            threads=self.assignment.threads,
        )

    def _train_epoch(self) -> None:
        """Take the steps of the epoch that are not done yet."""
        training, plan = self.training, self.plan
        samples = self.splits.train + self.splits.nobody_train
        action_N = np.array([sample.action for sample in samples])
        order = epoch_order(action_N, self.recipe, plan.seed, training.epoch)
        steps = training_order(order, self.recipe.batch_size, self.share)[training.position :]
        batches = self._loader(samples).training(steps, self.recipe.augmentation, plan.seed, training.epoch)
        for batch, data_wait_s in _timed(batches):
            begun = time.monotonic()
            losses = training.step(batch, rank=self.rank, workers=self.workers)
            work = Work(
                images=len(batch.uris),
                steps=1,
                step_s=time.monotonic() - begun,
                data_wait_s=data_wait_s,
                loss=losses.total,
                classification=losses.classification,
                mask=losses.mask,
                learning_rate=training.learning_rate(),
            )
            self.reporter.step(work)
            self.work.add(work)
            self._save_when_due()
        self.reporter.post()

    def _save_when_due(self) -> None:
        if self.rank > 0:
            return
        asked = self.reporter.asked_to_stop() or self._warned()
        due = self.training.step_number % self.assignment.checkpoint_steps == 0
        # The epoch's last step is saved with its validation, a moment later.
        if asked or (due and self.training.position < self.training.steps_per_epoch):
            self._save(None)

    def _warned(self) -> bool:
        if warned := self.notice.taken():
            get_log().warning("train.preemption_noticed", step=self.training.step_number)
        return warned

    def _save(self, outputs: Outputs | None) -> None:
        self.shelf.save(self.training.step_number, pack(self.training, self.history, self.work, outputs))
        self.assignment.mailbox.saved.remote(self.training.step_number)

    def _validate(self) -> Outputs:
        samples = self.splits.val + self.splits.nobody_val
        steps = validation_order(len(samples), self.recipe.batch_size, self.rank, self.workers)
        training = self.training
        outputs = validate(
            training.published, self._loader(samples).validation(steps), training.precision, training.device
        )
        self._tell_unusable()
        parts: list[Outputs | None] = [outputs]
        if self.workers > 1:
            parts = [None] * self.workers
            distributed.all_gather_object(parts, outputs)
        known = [part for part in parts if part is not None]
        if not any(len(part.people.index_N) for part in known):
            raise SettingsError(
                "no validation image of an action can be used; see train.image_skipped in the log for why"
            )
        return joined(known)

    def _tell_unusable(self) -> None:
        if news := {uri: reason for uri, reason in self.source.unusable.items() if uri not in self.told}:
            self.assignment.mailbox.unusable.remote(news)
            self.told |= news.keys()

    def _figures(self, validation_s: float, outputs: Outputs) -> dict[str, Any]:
        """One epoch, as plain JSON. Times are the first worker's; an epoch that was interrupted counts its steps."""
        work, steps = self.work, max(self.work.steps, 1)
        train_s = max(work.step_s + work.data_wait_s, 1e-9)
        figures: dict[str, Any] = finite(
            {
                "epoch": self.training.epoch,
                "loss": work.loss / steps,
                "loss_classification": work.classification / steps,
                "loss_mask": work.mask / steps,
                "images_per_s": steps * self.recipe.batch_size / train_s,
                "data_wait_share": work.data_wait_s / train_s,
                "train_s": train_s,
                "validation_s": validation_s,
                "learning_rate": work.learning_rate,
                "workers": self.workers,
                **asdict(summarise(outputs)),
            }
        )
        return figures


def _reader(assignment: Assignment) -> Callable[[str], bytes]:
    """How the images are read: those in object storage once, and then from this machine's disk."""
    ask = patient_reader(assignment.patience_s)
    if not assignment.disk_cache_bytes:
        return ask
    cache = DiskCache(default_cache() / "images", assignment.disk_cache_bytes, assignment.run_uri, ask)
    return lambda uri: cache.read(uri) if uri.startswith("s3://") else ask(uri)


def _timed(batches: Iterator[Batch]) -> Iterable[tuple[Batch, float]]:
    """Each batch, and how long it was waited for."""
    started = time.monotonic()
    for batch in batches:
        yield batch, time.monotonic() - started
        started = time.monotonic()
