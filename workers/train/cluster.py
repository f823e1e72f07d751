"""The run on Ray: how many cores for each worker, the trainer, and what its failures mean to people."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.train import (
    ControllerError,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    WorkerGroupError,
)
from ray.train.torch import TorchTrainer

from workers.errors import ClusterError, SettingsError, Stopped, WorkerError
from workers.logs import get_log
from workers.runtime import cluster_gpus
from workers.settings import TrainSettings
from workers.train.monitor import Watch, open_mailbox
from workers.train.preparation import Prepared
from workers.train.worker import Assignment, train_worker

_MAX_FAILURES = 3
"""Times that an attempt goes on after workers were lost, each time from its newest checkpoint. Nodes that go with a
notice are not counted."""
_LOOK_EVERY_S = 0.5
_GRACE_S = 20.0
"""Seconds for a last checkpoint after a signal: less than the 30 that Kubernetes gives a pod."""
_ELASTIC_START_S = "15"
"""Seconds that an elastic group waits for workers that Ray believes to fit: it counts a node that is just gone for a
while, and looks again only after this time. Its own 60 s are for machines that have yet to start."""


def choose_cores(workers: int, wanted: int | None, *, least: int | None = None, gpu: bool) -> int:
    """Cores of each worker: as asked for, or the most that lets all workers fit on the cluster's nodes.

    Args:
        workers: That train together.
        wanted: Cores asked for, if any.
        least: As few workers as this may begin, with the cores of the most that fit now.
        gpu: Whether each needs a GPU.

    Raises:
        SettingsError: If the cluster is too small. Ray would wait for ever.
    """
    least = workers if least is None else min(least, workers)
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if gpu and cluster_gpus() < least:
        raise SettingsError(f"--gpu with {least} workers needs {least} GPUs; Ray has {cluster_gpus()}")
    fitting = (cores for count in range(workers, least - 1, -1) if (cores := most_cores(nodes, count)))
    cores = next(fitting, 0) if wanted is None else wanted
    if cores == 0 or sum(node // cores for node in nodes) < least:
        has = " + ".join(f"{node:g}" for node in nodes)
        raise SettingsError(
            f"{least} workers with {max(cores, 1)} CPU cores each do not fit on this cluster ({has} cores); "
            "choose fewer --workers or --cpus-per-worker"
        )
    return cores


def most_cores(nodes: Sequence[float], workers: int) -> int:
    """The largest number of cores that every one of some equal workers can have at once, 0 when they do not fit."""
    fitting = (cores for cores in range(int(max(nodes, default=0)), 0, -1))
    return next((cores for cores in fitting if sum(node // cores for node in nodes) >= workers), 0)


def assign(prepared: Prepared, run_uri: str, settings: TrainSettings) -> Assignment:
    """What every worker is handed. Large things go to Ray's object store, once.

    Raises:
        SettingsError: If the cluster is too small.
    """
    return Assignment(
        plan=prepared.plan,
        splits=ray.put(prepared.splits),
        initial_weights=ray.put(prepared.initial_weights),
        mailbox=open_mailbox(),
        threads=choose_cores(settings.workers, settings.cpus_per_worker, least=settings.min_workers, gpu=settings.gpu),
        run_uri=run_uri,
        cache_bytes=settings.cache_mb << 20,
        disk_cache_bytes=settings.disk_cache_mb << 20,
        skip_invalid=settings.skip_invalid,
        checkpoint_steps=settings.checkpoint_steps,
        keep_best=settings.keep_best,
        patience_s=settings.storage_patience_s,
        log_format=settings.log_format,
        log_level=settings.log_level,
    )


def run_trainer(assignment: Assignment, *, run: str, settings: TrainSettings, watch: Watch) -> None:
    """Train to the end on the cluster, showing how far it is.

    The trainer waits in a thread of its own, so that a signal reaches this one at once.

    Raises:
        WorkerError: Whatever a worker said cannot go on.
        ClusterError: If workers were lost too often, or Ray itself failed.
    """
    # Ray keeps nothing of a run: its folder only has to be a fresh one, or it would continue what it finds there.
    with tempfile.TemporaryDirectory(prefix="lga-ray-train-") as scratch:
        _fit(_trainer(assignment, run, scratch, settings), assignment, watch)


def _trainer(assignment: Assignment, run: str, scratch: str, settings: TrainSettings) -> TorchTrainer:
    gpus = {"GPU": 1} if settings.gpu else {}
    return TorchTrainer(
        train_worker,
        train_loop_config={"assignment": assignment},
        scaling_config=ScalingConfig(
            num_workers=_number_of_workers(settings),  # type: ignore[arg-type]  # typed as Train V1's, is V2's
            use_gpu=settings.gpu,
            resources_per_worker={"CPU": assignment.threads, **gpus},
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # typed as Train V1's, is V2's
            name=run,
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=_MAX_FAILURES),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


def _fit(trainer: TorchTrainer, assignment: Assignment, watch: Watch) -> None:
    outcome = _InThread(trainer.fit)
    mailbox: Any = assignment.mailbox
    try:
        while not outcome.done(_LOOK_EVERY_S):
            watch.read(ray.get(mailbox.collect.remote()))
        watch.read(ray.get(mailbox.collect.remote()))
        error = ray.get(mailbox.error.remote())
    except Stopped:
        _save_before_the_end(mailbox, outcome)
        raise
    except ray.exceptions.RayActorError as lost:
        raise ClusterError("Ray lost the run's mailbox; the checkpoints are kept: continue with --run") from lost
    if error is not None:
        raise error
    outcome.raise_error()


def _number_of_workers(settings: TrainSettings) -> int | tuple[int, int]:
    least = settings.min_workers
    if least is None or least == settings.workers:
        return settings.workers
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", _ELASTIC_START_S)
    return least, settings.workers


def _save_before_the_end(mailbox: Any, outcome: _InThread) -> None:  # noqa: ANN401 - Ray's actors have no types
    """Let the workers save what they have: a notice of pre-emption leaves seconds for that, and no more."""
    gives_up_at = time.monotonic() + _GRACE_S
    ray.get(mailbox.stop.remote())
    while time.monotonic() < gives_up_at and not ray.get(mailbox.rested.remote()):
        if outcome.done(_LOOK_EVERY_S):
            return


class _InThread:
    """A call in a thread that nobody has to wait for when the process ends."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call,), name="trainer", daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised again by raise_error
            self._error = error

    def done(self, wait_s: float) -> bool:
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def raise_error(self) -> None:
        """Raise what the call raised, told to people."""
        if isinstance(self._error, TrainingFailedError):
            raise _told(self._error) from self._error
        if self._error is not None:
            raise ClusterError(f"Ray could not run the training: {self._error}") from self._error


def _told(error: TrainingFailedError) -> WorkerError:
    """What a failed training means, without Ray's wrapping and tracebacks."""
    causes: list[Any] = []
    if isinstance(error, WorkerGroupError):
        causes = [getattr(cause, "_base_exc", cause) for cause in error.worker_failures.values()]
    elif isinstance(error, ControllerError):
        causes = [error.controller_failure]
    get_log().debug("train.workers_failed", error=str(error))
    for cause in causes:
        if isinstance(cause, WorkerError):
            return cause
    cause = causes[0] if causes else error
    reason = f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}"
    return ClusterError(
        f"the training failed {_MAX_FAILURES + 1} times, the last time with {reason}. "
        "The newest checkpoint is kept: continue it with --run; --log-level debug shows more"
    )
