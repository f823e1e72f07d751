"""The run on Ray: how many cores for each worker, the trainer, and what its failures mean to people."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.train import (
    CheckpointConfig,
    ControllerError,
    FailureConfig,
    LoggingConfig,
    Result,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    WorkerGroupError,
)
from ray.train.torch import TorchTrainer

from workers.errors import ClusterError, SettingsError, WorkerError
from workers.logs import get_log
from workers.runtime import cluster_gpus
from workers.settings import TrainSettings
from workers.train.monitor import Watch, open_mailbox
from workers.train.preparation import Prepared
from workers.train.run_storage import run_storage
from workers.train.worker import Assignment, train_worker

_MAX_FAILURES = 3
"""Lost workers or nodes that a run survives, each time from its newest checkpoint."""
_LOOK_EVERY_S = 0.5


def choose_cores(workers: int, wanted: int | None, *, gpu: bool) -> int:
    """Cores of each worker: as asked for, or the most that lets all workers fit on the cluster's nodes.

    Raises:
        SettingsError: If the cluster is too small. Ray would wait for ever.
    """
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if gpu and cluster_gpus() < workers:
        raise SettingsError(f"--gpu with --workers {workers} needs {workers} GPUs; Ray has {cluster_gpus()}")
    cores = most_cores(nodes, workers) if wanted is None else wanted
    if cores == 0 or sum(node // cores for node in nodes) < workers:
        has = " + ".join(f"{node:g}" for node in nodes)
        raise SettingsError(
            f"{workers} workers with {max(cores, 1)} CPU cores each do not fit on this cluster ({has} cores); "
            "choose fewer --workers or --cpus-per-worker"
        )
    return cores


def most_cores(nodes: Sequence[float], workers: int) -> int:
    """The largest number of cores that every one of some equal workers can have at once, 0 when they do not fit."""
    fitting = (cores for cores in range(int(max(nodes, default=0)), 0, -1))
    return next((cores for cores in fitting if sum(node // cores for node in nodes) >= workers), 0)


def assign(prepared: Prepared, settings: TrainSettings) -> Assignment:
    """What every worker is handed. Large things go to Ray's object store, once.

    Raises:
        SettingsError: If the cluster is too small.
    """
    return Assignment(
        plan=prepared.plan,
        splits=ray.put(prepared.splits),
        initial_weights=ray.put(prepared.initial_weights),
        mailbox=open_mailbox(),
        threads=choose_cores(settings.workers, settings.cpus_per_worker, gpu=settings.gpu),
        cache_bytes=settings.cache_mb << 20,
        skip_invalid=settings.skip_invalid,
        log_format=settings.log_format,
        log_level=settings.log_level,
    )


def run_trainer(assignment: Assignment, *, run: str, settings: TrainSettings, watch: Watch) -> Result:
    """Train to the end on the cluster, showing how far it is.

    The trainer waits in a thread of its own, so that a signal reaches this one at once.

    Raises:
        WorkerError: Whatever a worker said cannot go on.
        ClusterError: If workers were lost too often, or Ray itself failed.
    """
    storage_path, filesystem = run_storage(settings.output)
    gpus = {"GPU": 1} if settings.gpu else {}
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"assignment": assignment},
        scaling_config=ScalingConfig(
            num_workers=settings.workers,
            use_gpu=settings.gpu,
            resources_per_worker={"CPU": assignment.threads, **gpus},
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # typed as Train V1's, is V2's
            name=run,
            storage_path=storage_path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=_MAX_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="map"),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    outcome = _InThread(trainer.fit)
    mailbox: Any = assignment.mailbox
    while not outcome.done(_LOOK_EVERY_S):
        watch.read(ray.get(mailbox.collect.remote()))
    watch.read(ray.get(mailbox.collect.remote()))
    if (error := ray.get(mailbox.error.remote())) is not None:
        raise error
    return outcome.result()


class _InThread:
    """A call in a thread that nobody has to wait for when the process ends."""

    def __init__(self, call: Callable[[], Result]) -> None:
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call,), name="trainer", daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], Result]) -> None:
        try:
            self._result = call()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is taken
            self._error = error

    def done(self, wait_s: float) -> bool:
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def result(self) -> Result:
        if isinstance(self._error, TrainingFailedError):
            raise _told(self._error) from self._error
        if self._error is not None:
            raise ClusterError(f"Ray could not run the training: {self._error}") from self._error
        if self._result is None:
            raise ClusterError("Ray ended the training without a result; run it again with --run to continue")
        return self._result


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
