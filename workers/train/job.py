"""``lga train``: check and plan, train on the cluster, publish the best epoch."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import ray
from ray.train import Result

from workers.errors import ClusterError, Stopped
from workers.logs import get_log
from workers.metrics import served
from workers.progress import ProgressBar
from workers.registry import Registry, Version
from workers.runtime import ray_session
from workers.settings import TrainSettings
from workers.storage import open_store
from workers.train.cluster import choose_cores, run_trainer
from workers.train.metrics import TrainMetrics
from workers.train.monitor import Watch, open_mailbox
from workers.train.plan import new_run_name
from workers.train.preparation import Prepared, prepare
from workers.train.publish import Published, write_bundle
from workers.train.runs import Publication, open_run, read_publication, write_publication
from workers.train.summary import print_summary
from workers.train.worker import Assignment


def train(settings: TrainSettings) -> int:
    """Train a model and publish its best epoch as a new version. The same ``--run`` continues, and publishes once."""
    prepared = prepare(settings)
    epochs = prepared.plan.recipe.epochs
    run = settings.run or new_run_name(settings.name)
    store = open_store(settings.output).under(run)
    open_run(store, prepared.plan)
    before = read_publication(store)
    if before is not None and before.epochs >= epochs:
        print(f"the run {run} is finished; it was published as {before.version}")
        return 0
    metrics = TrainMetrics()
    with ray_session(settings.ray_address), served(metrics, settings.metrics_port, settings.metrics_host):
        started = time.monotonic()
        result, unusable = _trained(settings, prepared, run, metrics)
        facts = {"run": run, "wall_s": round(time.monotonic() - started, 1), "unusable_images": len(unusable)}
        version, published = _published(settings, prepared, result, facts)
    write_publication(store, Publication(version=str(version), epochs=epochs))
    get_log().info("train.version_published", run=run, version=str(version), map=round(published.scores.map, 4))
    print_summary(version, run, published)
    return 0


def _trained(
    settings: TrainSettings, prepared: Prepared, run: str, metrics: TrainMetrics
) -> tuple[Result, dict[str, str]]:
    """Ray's result, and the images that could not be used."""
    plan, epochs = prepared.plan, prepared.plan.recipe.epochs
    cores = choose_cores(settings.workers, settings.cpus_per_worker, gpu=settings.gpu)
    assignment = Assignment(
        plan=plan,
        splits=ray.put(prepared.splits),
        initial_weights=ray.put(prepared.initial_weights),
        mailbox=open_mailbox(),
        threads=cores,
        cache_bytes=settings.cache_mb << 20,
        skip_invalid=settings.skip_invalid,
        log_format=settings.log_format,
        log_level=settings.log_level,
    )
    get_log().info(
        "train.run_started", run=run, backbone=plan.config.backbone, recipe=plan.recipe.name, epochs=epochs,
        train_images=len(prepared.splits.train), val_images=len(prepared.splits.val),
        classes=len(plan.config.classes), workers=settings.workers, cores_per_worker=cores,
    )  # fmt: skip
    with ProgressBar("train", prepared.images_per_epoch * epochs, shown=settings.progress) as bar:
        watch = Watch(bar, metrics, prepared.images_per_epoch, epochs)
        try:
            result = run_trainer(assignment, run=run, settings=settings, watch=watch)
        except Stopped:
            get_log().warning("train.run_stopped", run=run, continue_with=f"--run {run}")
            raise
    return result, watch.unusable


def _published(
    settings: TrainSettings, prepared: Prepared, result: Result, facts: dict[str, object]
) -> tuple[Version, Published]:
    """The best checkpoint as the next version of the model."""
    checkpoint = result.get_best_checkpoint("map", "max")
    if checkpoint is None or result.metrics is None:
        raise ClusterError(f"the run {facts['run']} ended without a checkpoint; continue it with --run {facts['run']}")
    lineage, history = prepared.lineage(settings) | facts, result.metrics["history"]
    with checkpoint.as_directory() as folder, tempfile.TemporaryDirectory(prefix="lga-bundle-") as bundle:
        published = write_bundle(Path(folder), Path(bundle), prepared.plan, lineage, history)
        return Registry(settings.registry).publish(settings.name, Path(bundle)), published
