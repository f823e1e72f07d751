"""``lga train``: check and plan, train on the cluster, publish the best epoch."""

from __future__ import annotations

import time

from ray.train import Result

from workers.errors import Stopped
from workers.logs import get_log
from workers.metrics import published
from workers.progress import ProgressBar
from workers.runtime import ray_session
from workers.settings import TrainSettings
from workers.storage import open_store
from workers.train.cluster import assign, run_trainer
from workers.train.metrics import TrainMetrics
from workers.train.monitor import Watch
from workers.train.plan import new_run_name
from workers.train.preparation import Prepared, prepare
from workers.train.publish import publish_best
from workers.train.runs import Publication, open_run, read_publication, write_publication
from workers.train.summary import print_summary


def train(settings: TrainSettings) -> int:
    """Train a model and publish its best epoch as a new version. The same ``--run`` continues, and publishes once."""
    metrics = TrainMetrics()
    with published(metrics, "train", settings):
        return _train(settings, metrics)


def _train(settings: TrainSettings, metrics: TrainMetrics) -> int:
    prepared = prepare(settings)
    epochs = prepared.plan.recipe.epochs
    run = settings.run or new_run_name(settings.name)
    store = open_store(settings.output).under(run)
    open_run(store, prepared.plan)
    before = read_publication(store)
    if before is not None and before.epochs >= epochs:
        print(f"the run {run} is finished; it was published as {before.version}")
        return 0
    metrics.show_run(run, settings.name)
    metrics.epochs.set(epochs)
    with ray_session(settings.ray_address):
        started = time.monotonic()
        result, unusable = _train_on_cluster(settings, prepared, run, metrics)
        lineage = prepared.lineage(settings) | {
            "run": run,
            "wall_s": round(time.monotonic() - started, 1),
            "unusable_images": len(unusable),
        }
        publication = publish_best(result, prepared.plan, lineage, settings.name, settings.registry)
    version, validation_map = str(publication.version), round(publication.summary.scores.map, 4)
    write_publication(store, Publication(version=version, epochs=epochs))
    metrics.last_run.set("map", publication.summary.scores.map)
    metrics.last_run.set("images_per_second", publication.summary.images_per_s)
    get_log().info("train.version_published", run=run, version=version, map=validation_map)
    print_summary(publication, run)
    return 0


def _train_on_cluster(
    settings: TrainSettings, prepared: Prepared, run: str, metrics: TrainMetrics
) -> tuple[Result, dict[str, str]]:
    """Ray's result, and the images that could not be used."""
    plan = prepared.plan
    assignment = assign(prepared, settings)
    get_log().info(
        "train.run_started", run=run, backbone=plan.config.backbone, recipe=plan.recipe.name,
        epochs=plan.recipe.epochs, train_images=len(prepared.splits.train), val_images=len(prepared.splits.val),
        classes=len(plan.config.classes), workers=settings.workers, cores_per_worker=assignment.threads,
    )  # fmt: skip
    with ProgressBar("train", prepared.images_per_epoch * plan.recipe.epochs, shown=settings.progress) as bar:
        watch = Watch(bar, metrics, prepared.images_per_epoch, plan.recipe.epochs)
        try:
            return run_trainer(assignment, run=run, settings=settings, watch=watch), watch.unusable
        except Stopped:
            get_log().warning("train.run_stopped", run=run, continue_with=f"--run {run}")
            raise
