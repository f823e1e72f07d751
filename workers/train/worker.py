"""What each Ray Train worker does: continue or begin, train an epoch, validate it, report a checkpoint."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
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
from workers.logs import configure_logs
from workers.train.checkpoints import restore, save_checkpoint
from workers.train.data import Batch, ImageSource, Loader, training_order, validation_order
from workers.train.dataset import Sample, Splits
from workers.train.loop import Training
from workers.train.monitor import MailboxHandle, Reporter, Work
from workers.train.plan import Plan, finite
from workers.train.sampling import epoch_order
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
    cache_bytes: int
    skip_invalid: bool
    log_format: Literal["console", "json"]
    log_level: str


def train_worker(task: dict[str, Any]) -> None:
    """Entry point. An error for people goes to the driver, who ends the run: a fresh start would only repeat it."""
    assignment: Assignment = task["assignment"]
    if ray.get(assignment.mailbox.error.remote()) is not None:
        return
    configure_logs(assignment.log_format, assignment.log_level)
    torch.set_num_threads(assignment.threads)
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
        raise SettingsError("the GPU is out of memory; choose a smaller --batch-size or more --workers") from error


class _Worker:
    """One of several equal workers; the first of them keeps the books."""

    def __init__(self, assignment: Assignment) -> None:
        context = ray.train.get_context()
        self.rank, self.workers = context.get_world_rank(), context.get_world_size()
        self.assignment, self.plan = assignment, assignment.plan
        self.recipe = self.plan.recipe
        self.splits = ray.get(assignment.splits)
        self.reporter = Reporter(assignment.mailbox)
        self.history: tuple[dict[str, Any], ...] = ()
        self.training = self._begin()
        self.source = ImageSource(self.plan.config.image.size_px, assignment.cache_bytes)
        self.told: set[str] = set()

    def _begin(self) -> Training:
        device = ray.train.torch.get_device()
        network = build_network(self.plan.config)
        network.load_state_dict(load(ray.get(self.assignment.initial_weights)))
        steps = len(self.splits.train) // self.recipe.batch_size
        training = Training(network, self.recipe, steps, device)
        if (checkpoint := ray.train.get_checkpoint()) is not None:
            with checkpoint.as_directory() as folder:
                self.history = restore(Path(folder), training).history
        # The weights are the same on every worker already; the wrapper makes the gradients so.
        training.forward = ray.train.torch.prepare_model(training.network)
        return training

    def run(self) -> None:
        """Train until the recipe's last epoch."""
        if self.rank == 0:
            self.assignment.mailbox.start.remote(self.training.epoch)
        while self.training.epoch < self.recipe.epochs:
            work, train_s = self._train_epoch()
            self.training.epoch += 1
            started = time.monotonic()
            outputs = self._validate()
            self._tell_unusable()
            if self.rank == 0:
                figures = self._figures(work, train_s, time.monotonic() - started, outputs)
                self._report(figures, outputs)
            else:
                ray.train.report({})

    def _loader(self, samples: Sequence[Sample]) -> Loader:
        return Loader(
            samples,
            self.source,
            self.training.network.feature_size,
            skip_invalid=self.assignment.skip_invalid,
            threads=self.assignment.threads,
        )

    def _train_epoch(self) -> tuple[Work, float]:
        training, plan = self.training, self.plan
        training.begin_epoch(plan.seed, self.rank)
        samples = self.splits.train + self.splits.nobody_train
        action_N = np.array([sample.action for sample in samples])
        order = epoch_order(action_N, self.recipe, plan.seed, training.epoch)
        steps = training_order(order, self.recipe.batch_size, self.rank, self.workers)
        batches = self._loader(samples).training(steps, self.recipe.augmentation, plan.seed, training.epoch)
        total, started = Work(), time.monotonic()
        for number, (batch, data_wait_s) in enumerate(_timed(batches)):
            begun = time.monotonic()
            losses = training.step(batch.to(training.device), number)
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
            total.add(work)
        self.reporter.post()
        return total, time.monotonic() - started

    def _validate(self) -> Outputs:
        if self.workers > 1:
            self._agree()
        samples = self.splits.val + self.splits.nobody_val
        steps = validation_order(len(samples), self.recipe.batch_size, self.rank, self.workers)
        training = self.training
        outputs = validate(
            training.published, self._loader(samples).validation(steps), training.precision, training.device
        )
        parts: list[Outputs | None] = [outputs]
        if self.workers > 1:
            parts = [None] * self.workers
            distributed.all_gather_object(parts, outputs)
        known = [part for part in parts if part is not None]
        if not known:
            raise SettingsError("no validation image can be used; see train.image_skipped in the log for why")
        return joined(known)

    def _agree(self) -> None:
        """Make the statistics of the norms equal, which each worker gathers from its own images."""
        for network in (self.training.network, self.training.published):
            for buffer in network.buffers():
                distributed.broadcast(buffer, src=0)

    def _tell_unusable(self) -> None:
        if news := {uri: reason for uri, reason in self.source.unusable.items() if uri not in self.told}:
            self.assignment.mailbox.unusable.remote(news)
            self.told |= news.keys()

    def _figures(self, work: Work, train_s: float, validation_s: float, outputs: Outputs) -> dict[str, Any]:
        """One epoch, as plain JSON. The losses are the first worker's, the validation is of the whole split."""
        steps = max(work.steps, 1)
        figures: dict[str, Any] = finite(
            {
                "epoch": self.training.epoch,
                "loss": work.loss / steps,
                "loss_classification": work.classification / steps,
                "loss_mask": work.mask / steps,
                "images_per_s": work.images * self.workers / train_s,
                "data_wait_share": work.data_wait_s / train_s,
                "train_s": train_s,
                "validation_s": validation_s,
                "learning_rate": work.learning_rate,
                **asdict(summarise(outputs)),
            }
        )
        return figures

    def _report(self, figures: dict[str, Any], outputs: Outputs) -> None:
        self.history = (*self.history, figures)
        with tempfile.TemporaryDirectory(prefix="lga-checkpoint-") as folder:
            save_checkpoint(Path(folder), self.training, outputs, self.history)
            ray.train.report(
                {"map": figures["map"], "epoch": figures["epoch"], "history": self.history},
                checkpoint=ray.train.Checkpoint.from_directory(folder),
                checkpoint_dir_name=f"epoch-{figures['epoch']:04d}",
            )
        # After the report: an epoch is finished when its checkpoint is safe.
        self.assignment.mailbox.epoch.remote(figures)


def _timed(batches: Iterator[Batch]) -> Iterable[tuple[Batch, float]]:
    """Each batch, and how long it was waited for."""
    started = time.monotonic()
    for batch in batches:
        yield batch, time.monotonic() - started
        started = time.monotonic()
