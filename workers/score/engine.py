"""Which engine scores, decided on the machine that will run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayTaskError

from workers.engines import EngineRecord, best_engine
from workers.errors import WorkerError
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


def choose_engine(candidates: Candidates, wanted: str) -> EngineRecord:
    """Choose on a worker: the driver often has no GPU, or other versions.

    Raises:
        SettingsError: If none fits, with the command that makes one.
    """
    chooser: Any = ray.remote(best_engine)
    chooser = chooser.options(num_cpus=0, num_gpus=1 if cluster_gpus() else 0)
    try:
        record: EngineRecord = ray.get(chooser.remote(candidates.engines, wanted))
    except RayTaskError as error:
        if isinstance(error.cause, WorkerError):
            raise error.cause from None
        raise
    return record
