"""What the training workers tell the driver while they work: a mailbox, and the reader who shows it.

Workers may sit on other machines, so the mailbox is a small Ray actor. A worker posts about twice a second and never
waits for an answer; a call reaches the actor at most once, so nothing is counted twice.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any, cast

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from workers.errors import WorkerError
from workers.logs import get_log
from workers.progress import ProgressBar
from workers.train.metrics import TrainMetrics

MailboxHandle = ActorHandle["Mailbox"]

_POST_EVERY_S = 0.5
_MANY_DEAD = 0.2
"""Share of empty heatmaps from which a person is warned: the final relu is dying."""


@dataclass(kw_only=True)
class Work:
    """Some steps of one worker, summed."""

    images: int = 0
    steps: int = 0
    step_s: float = 0.0
    data_wait_s: float = 0.0
    loss: float = 0.0
    classification: float = 0.0
    mask: float = 0.0
    learning_rate: float = 0.0

    def add(self, other: Work) -> None:
        """Sum up; the learning rate is the newest."""
        for entry in dataclasses.fields(Work):
            if entry.name != "learning_rate":
                setattr(self, entry.name, getattr(self, entry.name) + getattr(other, entry.name))
        self.learning_rate = other.learning_rate or self.learning_rate


@dataclass(kw_only=True)
class Mail:
    """What has come in since the last look."""

    work: Work = field(default_factory=Work)
    starts: list[tuple[int, int]] = field(default_factory=list)
    """Finished epochs, and images of the one after them, each time that the workers start: again after a failure."""
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """Figures of each epoch that finished."""
    unusable: dict[str, str] = field(default_factory=dict)
    """Images that were left out, and why."""
    saved: list[tuple[int, float]] = field(default_factory=list)
    """Step and time of each checkpoint that is safe."""


class Mailbox:
    """The actor. Holds the first error, so that the driver tells it and no worker tries again."""

    def __init__(self) -> None:
        self._mail = Mail()
        self._error: WorkerError | None = None
        self._stopping, self._rested = False, False

    def work(self, work: Work) -> bool:
        """Some steps were done. Whether the driver asks for a last checkpoint."""
        self._mail.work.add(work)
        return self._stopping

    def stop(self) -> None:
        """Ask for a last checkpoint: the driver has to end."""
        self._stopping = True

    def rested(self) -> bool:
        """Whether a checkpoint was saved since ``stop``."""
        return self._rested

    def saved(self, step: int) -> None:
        """A checkpoint is safe."""
        self._mail.saved.append((step, time.time()))
        self._rested = self._stopping

    def start(self, epoch: int, images: int) -> None:
        """The workers begin, after this many finished epochs and images of the next."""
        self._mail.starts.append((epoch, images))

    def epoch(self, figures: dict[str, Any]) -> None:
        """An epoch was finished."""
        self._mail.epochs.append(figures)

    def unusable(self, images: dict[str, str]) -> None:
        """These images could not be used."""
        self._mail.unusable.update(images)

    def fail(self, error: WorkerError) -> None:
        """Trying again would not help."""
        self._error = self._error or error

    def error(self) -> WorkerError | None:
        """Why the training cannot go on, or None."""
        return self._error

    def collect(self) -> Mail:
        """Take out what has come in."""
        mail, self._mail = self._mail, Mail()
        return mail


def open_mailbox() -> MailboxHandle:
    """Start the mailbox beside the driver: it should live exactly as long."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(num_cpus=0)(Mailbox)
    return cast("MailboxHandle", actor.options(scheduling_strategy=here).remote())


class Reporter:
    """A worker's pen: sums up its steps and posts them now and then."""

    def __init__(self, mailbox: MailboxHandle) -> None:
        self._mailbox, self._work, self._posted_at = mailbox, Work(), time.monotonic()
        self._answer: ray.ObjectRef[bool] | None = None

    def step(self, work: Work) -> None:
        """One step was done."""
        self._work.add(work)
        if time.monotonic() - self._posted_at >= _POST_EVERY_S:
            self.post()

    def post(self) -> None:
        """Send what has summed up."""
        self._answer = self._mailbox.work.remote(self._work)
        self._work, self._posted_at = Work(), time.monotonic()

    def asked_to_stop(self) -> bool:
        """Whether the driver asks for a last checkpoint, as far as its answer has come."""
        if self._answer is None or not ray.wait([self._answer], timeout=0)[0]:
            return False
        answer, self._answer = self._answer, None
        return bool(ray.get(answer))


class Watch:
    """The driver's reader: progress bar, metrics and logs."""

    def __init__(self, bar: ProgressBar, metrics: TrainMetrics, images_per_epoch: int, epochs: int) -> None:
        """Args: images_per_epoch: That are trained on, over all workers."""
        self.unusable: dict[str, str] = {}
        self._bar, self._metrics = bar, metrics
        self._images_per_epoch, self._epochs = images_per_epoch, epochs
        self._epoch, self._map, self._attempts = 0, "", 0

    def read(self, mail: Mail) -> None:
        """Show what came in."""
        for epoch, images in mail.starts:
            self._attempts += 1
            if self._attempts > 1:
                get_log().warning("train.workers_restarted", attempt=self._attempts, finished_epochs=epoch)
                self._metrics.restarts.inc()
            self._epoch = epoch
            self._metrics.epoch.set(epoch)
            self._bar.reach(epoch * self._images_per_epoch + images, self._title(None))
        if mail.work.steps:
            self._metrics.record_work(mail.work)
            self._bar.advance(mail.work.images, self._title(mail.work.loss / mail.work.steps))
        for uri, reason in mail.unusable.items():
            get_log().warning("train.image_skipped", image=uri, reason=reason)
        self.unusable |= mail.unusable
        for step, at in mail.saved:
            self._metrics.checkpoint_time.set(at)
            get_log().debug("train.checkpoint_saved", step=step)
        for figures in mail.epochs:
            self._epoch, self._map = int(figures["epoch"]), f" mAP {figures['map']:.3f}"
            self._metrics.record_epoch(figures)
            self._bar.reach(self._epoch * self._images_per_epoch, self._title(figures["loss"]))
            get_log().info("train.epoch_finished", **_rounded(figures))
            if (figures.get("dead_heatmaps") or 0) >= _MANY_DEAD:
                get_log().warning(
                    "train.heatmaps_dead",
                    epoch=self._epoch,
                    share=round(figures["dead_heatmaps"], 3),
                    remedy="--localisation-activation straight_through, or lower learning rates",
                )

    def _title(self, loss: float | None) -> str:
        now = min(self._epoch + 1, self._epochs)
        return f"epoch {now}/{self._epochs}" + ("" if loss is None else f" loss {loss:.3f}") + self._map


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in figures.items()
        if not isinstance(value, (list, tuple))
    }
