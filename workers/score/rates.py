"""What each stage costs on this cluster, measured before a run on a few of its objects.

They decide how many processes decode, how many images an engine call takes and, on CPUs, how many engines a node has;
and say afterwards how near the run came to what the hardware allows. Costs are CPU seconds and not the clock: they are
the same whatever else the machine is doing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
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
_BATCHES = (4, 16, 32, 64)
_GAIN = 0.9
"""A larger batch has to take less than this share of the time: rows come later with it, and memory grows."""
_TRIAL_S = 1.0
"""About so long each batch is tried: a few images tell as much of a slow engine as many do of a fast one."""
_ENGINE_S = 2.0
"""About so long the batch that was chosen is measured."""


def measure_rates(
    source: Store, output: Store, plan: Plan, options: FetchOptions,
    predict: tuple[OpenEngine, TagForm, Lineage, int | None], *, batch_size: int | None, gpus: float, log: Log,
) -> Rates | None:  # fmt: skip
    """Measure on a worker, before anything else runs there.

    Args:
        source: Where the objects are.
        output: Where the plan is.
        plan: Its first objects are the sample.
        options: As in the run.
        predict: The arguments of ``Predict``.
        batch_size: Images in one engine call; None tries some.
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
        rates: Rates | None = ray.get(task.remote(source, output, plan, options, predict, batch_size))
    except (RayError, WorkerError) as error:
        log.warning("score.rates_not_measured", problem=(str(error).strip() or repr(error)).partition("\n")[0][:200])
        return None
    if rates:
        log.info("score.rates_measured", **rates.model_dump())
    return rates


def _measure(
    source: Store, output: Store, plan: Plan, options: FetchOptions,
    predict: tuple[OpenEngine, TagForm, Lineage, int | None], batch_size: int | None,
) -> Rates | None:  # fmt: skip
    rows = read_part(output, plan, 0).slice(0, _WARM_UP + _SAMPLE).to_pylist()
    objects = [Listed(**row) for row in rows]
    # Connections, the decoder's process, the engine's memory: what is needed once is no rate.
    list(load_objects(objects[:_WARM_UP], 0, 0, source, options))
    loaded = pa.concat_tables(load_objects(objects[-_SAMPLE:], 0, 0, source, options))
    images = loaded.filter(pa.compute.equal(loaded["status"], "ok")).combine_chunks()
    if not images.num_rows:
        return None
    actor = Predict(*predict)
    actor(images.slice(0, 1))  # What an engine does once is no rate.
    batch_size = batch_size or fitting_batch(actor, images)
    count, wall_s, cpu_s = _cost(actor, images, batch_size, _ENGINE_S)
    return Rates(
        images=count,
        request_s=_median(images["fetch_s"]),
        fetch_cpu_s=_median(images["fetch_cpu_s"]),
        decode_cpu_s=_median(images["decode_s"]),
        engine_s=wall_s / count,
        engine_cpu_s=cpu_s / count,
        batch_size=batch_size,
    )


def fitting_batch(score: Callable[[pa.Table], object], images: pa.Table) -> int:
    """Find how many images one call should take: of some numbers, the smallest that no other beats clearly.

    Args:
        score: An engine at work.
        images: Rows of ``pixel_schema``, all good; larger batches than these are not tried.

    Returns:
        The number of images.
    """
    tried = {1: _image_s(score, images, 1)}
    for batch in _BATCHES:
        if batch > images.num_rows or min(tried.values()) * batch > 2 * _TRIAL_S:
            break
        tried[batch] = _image_s(score, images, batch)
    return next(batch for batch, image_s in tried.items() if _GAIN * image_s <= min(tried.values()))


def _image_s(score: Callable[[pa.Table], object], images: pa.Table, batch_size: int) -> float:
    count, wall_s, _ = _cost(score, images, batch_size, _TRIAL_S)
    return wall_s / count


def _cost(
    score: Callable[[pa.Table], object], images: pa.Table, batch_size: int, seconds: float
) -> tuple[int, float, float]:
    """Images that were scored in about so many seconds, the seconds that it took, and the CPU seconds."""
    score(images.slice(0, batch_size))  # The first batch of its size is no rate either.
    begun, cpu_begun, count = time.perf_counter(), time.process_time(), 0
    while count < images.num_rows and time.perf_counter() - begun < seconds:
        part = images.slice(count, batch_size)
        score(part)
        count += part.num_rows
    return count, time.perf_counter() - begun, time.process_time() - cpu_begun


def _median(column: pa.ChunkedArray) -> float:
    return float(statistics.median(column.to_pylist()))
