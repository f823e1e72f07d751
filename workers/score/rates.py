"""What each stage costs on this cluster, measured before a run on a few of its objects.

The costs decide how many processes decode, and say afterwards how near the run came to what the hardware allows. CPU
seconds are counted, not the clock: they are the same whatever else the machine is doing.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayError

from workers.errors import WorkerError
from workers.logs import Log
from workers.runs.plan import Plan, read_part
from workers.runs.speed import Rates
from workers.score.fetch import FetchOptions
from workers.score.load import load_objects
from workers.score.objects import Listed
from workers.score.predict import OpenEngine, Predict
from workers.storage import Store
from workers.tags import Lineage, TagForm

_WARM_UP, _SAMPLE = 8, 64
_ENGINE_S = 3.0
"""About so long the engine is measured: a few images tell as much of a slow one as many do of a fast one."""


def measure_rates(
    source: Store, output: Store, plan: Plan, options: FetchOptions, predict: tuple[OpenEngine, TagForm, Lineage],
    *, gpus: float, log: Log,
) -> Rates | None:  # fmt: skip
    """Measure on a worker, before anything else runs there.

    Args:
        source: Where the objects are.
        output: Where the plan is.
        plan: Its first objects are the sample.
        options: As in the run.
        predict: The arguments of ``Predict``.
        gpus: GPUs to set aside.
        log: Is told when it fails.

    Returns:
        None when nothing could be measured: no object, none of the sample is an image, or the store or the cluster is
        ill, which the run itself will tell better.
    """
    if not plan.rows:
        return None
    task: Any = ray.remote(_measure).options(num_cpus=0, num_gpus=gpus, max_retries=0)
    try:
        rates: Rates | None = ray.get(task.remote(source, output, plan, options, predict))
    except (RayError, WorkerError) as error:
        log.warning("score.rates_not_measured", problem=str(error).splitlines()[0][:200])
        return None
    if rates:
        log.info("score.rates_measured", **rates.model_dump())
    return rates


def _measure(
    source: Store, output: Store, plan: Plan, options: FetchOptions, predict: tuple[OpenEngine, TagForm, Lineage]
) -> Rates | None:
    rows = read_part(output, plan, 0).slice(0, _WARM_UP + _SAMPLE).to_pylist()
    objects = [Listed(**row) for row in rows]
    # Connections, the decoder's process, the engine's memory: what is needed once is no rate.
    list(load_objects(objects[:_WARM_UP], 0, 0, source, options))
    loaded = pa.concat_tables(load_objects(objects[-_SAMPLE:], 0, 0, source, options))
    images = loaded.filter(pa.compute.equal(loaded["status"], "ok")).combine_chunks()
    if not images.num_rows:
        return None
    count, wall_s, cpu_s = _engine_cost(Predict(*predict), images, options.batch_size)
    return Rates(
        images=count,
        request_s=_median(images["fetch_s"]),
        fetch_cpu_s=_median(images["fetch_cpu_s"]),
        decode_cpu_s=_median(images["decode_s"]),
        engine_s=wall_s / count,
        engine_cpu_s=cpu_s / count,
    )


def _engine_cost(actor: Predict, images: pa.Table, batch_size: int) -> tuple[int, float, float]:
    """Images that were scored, the seconds that it took, and the CPU seconds."""
    begun = time.perf_counter()
    actor(images.slice(0, 1))
    batch = max(1, min(batch_size, int(_ENGINE_S / (time.perf_counter() - begun))))
    actor(images.slice(0, batch))  # The first batch of its size is no rate either.
    begun, cpu_begun, count = time.perf_counter(), time.process_time(), 0
    while count < images.num_rows and time.perf_counter() - begun < _ENGINE_S:
        part = images.slice(count, batch)
        actor(part)
        count += part.num_rows
    return count, time.perf_counter() - begun, time.process_time() - cpu_begun


def _median(column: pa.ChunkedArray) -> float:
    return float(statistics.median(column.to_pylist()))
