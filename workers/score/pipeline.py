"""The stream on Ray Data: chunks of missing shards -> fetch and decode (tasks) -> predict (actors) -> rows.

Committing is left to the driver. Three ways were weighed: an actor that collects shards loses its buffer when its node
dies, and nobody notices; one task that does a whole shard ties the number of decoding cores to the number of engines;
the driver is the one process whose death ends the attempt anyway, and rows are small (1-2 kB, one hundredth of the
photograph).
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from workers.errors import SettingsError, WorkerError
from workers.runs.plan import Plan
from workers.runs.speed import Hardware, Rates
from workers.score.fetch import CHUNK_ROWS, FetchOptions
from workers.score.load import load_chunk
from workers.score.predict import OpenEngine, Predict
from workers.settings.shared import DecodeOn
from workers.storage import Store
from workers.tags import Lineage, TagForm

_CHUNKS_PER_PASS = 16_384  # Each is one object in Ray: bounds the driver's memory. Four million images.
_CALLS_OF_A_PROCESS = 200
_CALLS_AT_ONCE = 2  # One batch in the engine, one being unpacked or made into rows.
_CORES_OF_AN_ENGINE = 4  # At the least, where a node has several: each holds the weights anew.
_DECODING_SHARE = 0.1  # Of a GPU; only says who runs where, the units that decode are not those that compute.
_BLOCK_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What Ray sets aside.

    The engines take at most a quarter of the CPUs, one fetch task at most half: so two attempts that overlap on one
    cluster both move, even on one CPU. What the engines really use, their threads decide.
    """

    engines: int
    engine_cpus: float
    engine_gpus: float
    fetch_cpus: float
    fetch_gpus: float
    fetchers: int
    """Fetch tasks that may run at once."""
    cores: float
    """CPUs of the cluster."""
    threads: int | None
    """CPU threads of one engine; None on a GPU."""


def plan_resources(
    cpus: float,
    gpus: int,
    nodes: int,
    engines: int | None,
    rates: Rates | None = None,
    decode_on: DecodeOn = "cpu",
) -> Resources:
    """Share a cluster between engines and what feeds them.

    On CPUs the operating system shares the cores: a stage that waits takes none. So there are as many fetch tasks as
    the measured costs ask for, and one more, and the engines of a node have a thread for each core. An engine that was
    seen to keep only some of its threads busy gets others beside it.

    Args:
        cpus: CPUs of the cluster.
        gpus: GPUs of the cluster.
        nodes: Machines of the cluster that have CPUs.
        engines: Number of engine actors; None takes one for each GPU, or as many on each node as keep its cores busy.
        rates: What an image costs; None makes a fetch task for every CPU, and one engine for every node.
        decode_on: Whether fetch tasks, which also decode, need a part of a GPU.

    Raises:
        SettingsError: If they need one and there is none.
    """
    if decode_on == "gpu" and not gpus:
        raise SettingsError("--decode-on gpu: there is no GPU in this cluster")
    nodes = max(1, nodes)
    count = engines or gpus or nodes * _engines_of_a_node(cpus / nodes, rates)
    on_one_node = math.ceil(count / nodes)
    # On a GPU an engine's share is the card; with more engines than cards they share one.
    engine_cpus = 0 if gpus else min(1.0, cpus / 4 / count)
    wanted = cpus
    if rates and not gpus:
        loading = rates.fetch_cpu_s + rates.decode_cpu_s
        wanted = cpus * loading / (loading + rates.engine_cpu_s) + 1
    fetchers = max(1, min(int(cpus), math.ceil(wanted)))
    decoding = _DECODING_SHARE if decode_on == "gpu" else 0
    return Resources(
        engines=count,
        engine_cpus=engine_cpus,
        engine_gpus=(1 - decoding) / math.ceil(count / gpus) if gpus else 0,
        fetch_cpus=min(1.0, cpus / 2, (cpus - count * engine_cpus) / fetchers),
        fetch_gpus=decoding / math.ceil(fetchers / gpus) if decoding else 0,
        fetchers=fetchers,
        cores=cpus,
        threads=None if gpus else max(1, int(cpus / nodes) // on_one_node),
    )


def _engines_of_a_node(cores: float, rates: Rates | None) -> int:
    """As many as keep the cores busy, by how many of them one engine with a thread for each was seen to keep."""
    if rates is None:
        return 1
    busy = max(1.0, rates.engine_cpu_s / max(rates.engine_s, 1e-9))
    return max(1, min(int(cores / busy), int(cores // _CORES_OF_AN_ENGINE)))


def cluster_resources(engines: int | None, rates: Rates | None = None, decode_on: DecodeOn = "cpu") -> Resources:
    """``plan_resources`` for the cluster that this process is connected to."""
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    # The head of a cluster often has no CPU to lend: nothing of a run goes there.
    nodes = sum(bool(node["Alive"] and node["Resources"].get("CPU")) for node in ray.nodes())  # type: ignore[no-untyped-call]
    return plan_resources(total.get("CPU", 1.0), int(total.get("GPU", 0)), nodes, engines, rates, decode_on)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Everything that the tasks and actors of a run need."""

    source: Store
    output: Store
    plan: Plan
    options: FetchOptions
    opener: OpenEngine
    form: TagForm
    lineage: Lineage
    resources: Resources
    rates: Rates | None = None

    @property
    def hardware(self) -> Hardware:
        """What the run uses, for its report."""
        return Hardware(
            cores=self.resources.cores,
            engines=self.resources.engines,
            on_gpu=self.resources.engine_gpus > 0,
            fetchers=self.resources.fetchers,
            concurrency=self.options.concurrency,
        )

    def stream(self, shards: Sequence[int]) -> Generator[pa.Table]:
        """Score shards, as many as fit into one pass; yields rows as they come, shards interleaved.

        Raises:
            WorkerError: What a task or an actor told, as it told it.
            RayError: Anything else that went wrong in the cluster.
        """
        blocks = list(_chunks(self.plan, shards))
        with _quiet(), _told():
            chunks = ray.data.from_blocks(blocks)
            pixels = chunks.map_batches(
                load_chunk,
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=self.resources.fetch_cpus,
                num_gpus=self.resources.fetch_gpus,
                # A process ends now and then, and with it the threads that read folders and hang. An option that
                # predicting does not have also keeps Ray from fusing the stages, and decoding off the engine's time.
                max_calls=_CALLS_OF_A_PROCESS,
                fn_args=(self.source, self.output, self.plan, self.options),
            )
            tagged = pixels.map_batches(
                Predict,
                batch_size=self.options.batch_size,
                batch_format="pyarrow",
                num_cpus=self.resources.engine_cpus,
                num_gpus=self.resources.engine_gpus,
                compute=ray.data.ActorPoolStrategy(
                    size=self.resources.engines,
                    max_concurrent_calls_per_actor=_CALLS_AT_ONCE,
                    enable_true_multi_threading=True,
                ),
                fn_constructor_args=(self.opener, self.form, self.lineage, self.resources.threads),
            )
            batches = iter(tagged.iter_batches(batch_size=None, batch_format="pyarrow"))
            # Closed explicitly, since a stream that is left early would keep its actors and their CPUs.
            with contextlib.closing(batches):
                yield from batches


def _chunks(plan: Plan, shards: Sequence[int]) -> Iterator[pa.Table]:
    """One small block, and so one task, for each chunk of the shards; whole shards, up to the bound of a pass."""
    count = 0
    for shard in shards:
        rows = plan.rows_of(shard)
        if count and count + math.ceil(rows / CHUNK_ROWS) > _CHUNKS_PER_PASS:
            return
        for start in range(0, rows, CHUNK_ROWS):
            count += 1
            yield pa.table({"shard": [shard], "start": [start], "stop": [min(rows, start + CHUNK_ROWS)]})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ray Data without its own bars, log lines and errors, with small blocks; as before afterwards."""
    context = ray.data.DataContext.get_current()
    wanted: dict[str, Any] = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "target_max_block_size": _BLOCK_BYTES,
        "raise_original_map_exception": True,  # In Ray's own, what an actor's call raised gets lost on its way.
    }
    before = {name: getattr(context, name) for name in wanted}
    log = logging.getLogger("ray.data")
    level = log.level
    try:
        for name, value in wanted.items():
            setattr(context, name, value)
        # What went wrong reaches us as an exception, and the user as one line.
        log.setLevel(logging.CRITICAL)
        yield
    finally:
        log.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except RayError as error:
        if told := _worker_error(error):
            raise told from None
        raise


def _worker_error(error: BaseException | None) -> WorkerError | None:
    """The error that one of ours raised, inside Ray's wrappers."""
    if isinstance(error, RayTaskError):
        return _worker_error(error.cause)
    if isinstance(error, WorkerError):
        # Ray appends advice on its own settings to the first argument.
        first, *others = error.args
        return type(error)(first.partition("\nFailed to ")[0] if isinstance(first, str) else first, *others)
    if isinstance(error, ActorDiedError) and error.args:
        return _worker_error(error.args[0]) if isinstance(error.args[0], BaseException) else None
    return None if error is None else _worker_error(error.__cause__)
