"""Which engine scores, decided on the machine that will run it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from workers.engines import FASTEST_FIRST, EngineRecord, best_engine, fastest_target
from workers.errors import ClusterError, SettingsError, WorkerError
from workers.registry import Registry, Version
from workers.runtime import cluster_gpus


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """A version of a model and the engines that it has."""

    version: Version
    engines: Sequence[EngineRecord]


def find_candidates(registry: str, reference: str) -> Candidates:
    """Look a model reference up.

    Raises:
        SettingsError: If there is no such version.
        StorageError: If the registry cannot be read.
    """
    found = Registry(registry)
    version = found.resolve(reference)
    return Candidates(version=version, engines=found.engines(version))


def compile_missing(registry: str, candidates: Candidates, wanted: str) -> Candidates:
    """Compile on a worker when nothing fits there, by the command that a person would be told to type.

    It runs in a process of its own: whatever builders take, memory of the GPU not least, is given back.

    Raises:
        SettingsError: If the command fails; what it printed is in the message.
        ClusterError: If the worker dies of it.
    """
    builder: Any = ray.remote(_compile_if_missing)
    builder = builder.options(num_cpus=1, num_gpus=1 if cluster_gpus() else 0)
    problem: str | None = _answer(builder.remote(registry, candidates, wanted), f"compile {candidates.version}")
    if problem:
        raise SettingsError(f"no engine of {candidates.version} fits, and none could be compiled: {problem}")
    return find_candidates(registry, str(candidates.version))


def _compile_if_missing(registry: str, candidates: Candidates, wanted: str) -> str | None:
    """Runs on the worker. What went wrong, None when an engine fits or was made."""
    try:
        best_engine(candidates.engines, wanted)
    except SettingsError as error:
        if wanted not in ("best", *FASTEST_FIRST):
            return str(error)  # No command makes that very engine.
        target = fastest_target() if wanted == "best" else wanted
        command = [sys.executable, "-m", "workers", "compile", "--registry", registry]
        command += ["--model", str(candidates.version), "--target", target]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        return None if done.returncode == 0 else done.stderr.strip()[-2000:] or f"exit code {done.returncode}"
    return None


def choose_engine(candidates: Candidates, wanted: str) -> EngineRecord:
    """Choose on a worker: the driver often has no GPU, or other versions.

    Raises:
        SettingsError: If none fits, with the command that makes one.
        ClusterError: If no worker can look.
    """
    chooser: Any = ray.remote(best_engine)
    # A look at a GPU takes none of it: other runs' engines may have most of it.
    chooser = chooser.options(num_cpus=0, num_gpus=0.01 if cluster_gpus() else 0)
    record: EngineRecord = _answer(
        chooser.remote(candidates.engines, wanted), f"choose an engine of {candidates.version}"
    )
    return record


def _answer(task: Any, what: str) -> Any:  # noqa: ANN401 - of any task
    """What a worker found; its own errors as it raised them."""
    try:
        return ray.get(task)
    except RayError as error:
        cause = getattr(error, "cause", error)
        if isinstance(cause, WorkerError):
            raise cause from None
        reason = f"{type(cause).__name__}: {str(cause).strip()}".partition("\n")[0]
        raise ClusterError(f"no worker could {what} ({reason}). Look at its memory and the Ray logs") from error
