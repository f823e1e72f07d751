"""``lga train``: check and plan, train on the cluster, hold the best epoch against the gate, publish it."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from workers.errors import Refused, Stopped
from workers.logs import get_log
from workers.metrics import published
from workers.patience import PatientStore
from workers.progress import ProgressBar
from workers.runtime import ray_session
from workers.settings import TrainSettings
from workers.storage import open_store
from workers.train.bundle import read_best, write_bundle
from workers.train.cluster import assign, run_trainer
from workers.train.metrics import TrainMetrics
from workers.train.monitor import Watch
from workers.train.plan import new_run_name
from workers.train.preparation import Prepared, prepare
from workers.train.publish import publish_once
from workers.train.rivals import hold_against_production
from workers.train.runs import open_run, read_publication
from workers.train.shelf import Checkpoint, Shelf
from workers.train.summary import print_decision, print_summary
from workers.train.tracking import check_tracking, track


def train(settings: TrainSettings) -> int:
    """Train a model and publish its best epoch as a new version, when the gate lets it.

    The same ``--run`` continues, and publishes once.

    Raises:
        Refused: By the gate. The checkpoints are kept: another rule needs no other training.
    """
    metrics = TrainMetrics()
    with published(metrics, "train", settings):
        return _train(settings, metrics)


def _train(settings: TrainSettings, metrics: TrainMetrics) -> int:
    check_tracking(settings.mlflow_tracking_uri)
    prepared = prepare(settings)
    run = settings.run or new_run_name(settings.name)
    store = PatientStore(open_store(settings.output), settings.storage_patience_s).under(run)
    shared_by = settings.workers if settings.micro_batch_size is None else None
    prepared = prepared.following(open_run(store, prepared.plan, workers=shared_by))
    epochs = prepared.plan.recipe.epochs
    before = read_publication(store)
    if before is not None and before.epochs >= epochs:
        print(f"the run {run} is finished; it was published as {before.version}")
        return 0
    shelf = Shelf(store, keep_best=settings.keep_best)
    newest = shelf.load_newest()  # One of another release is told before Ray starts.
    trained = newest is not None and is_trained(newest[0], epochs * prepared.steps_per_epoch)
    metrics.show_run(run, settings.name)
    metrics.epochs.set(epochs)
    metrics.epoch.set(epochs if trained else 0)
    with ray_session(settings.ray_address):
        started = time.monotonic()
        unusable = {} if trained else _train_on_cluster(settings, prepared, run, metrics)
        trained_s = round(time.monotonic() - started, 1)
        best = read_best(shelf, run)
        decision = hold_against_production(best, prepared, settings)
        metrics.record_gate(decision.passed)
    print_decision(decision)
    if not decision.passed:
        raise Refused(
            f"the gate refuses the best epoch of {run}: the table says why. Nothing was published; the checkpoints "
            f"are kept, and another rule can be tried at once with --run {run}"
        )
    lineage = prepared.lineage(settings) | {
        "run": run,
        "checkpoint": store.uri(f"checkpoints/{best.checkpoint.name}"),
        "wall_s": trained_s,
        "unusable_images": len(unusable),
        "gate": decision.to_json(),
    }
    with tempfile.TemporaryDirectory(prefix="lga-bundle-") as folder:
        summary = write_bundle(best, Path(folder), prepared.plan, lineage)
        version = publish_once(store, Path(folder), lineage["checkpoint"], epochs, settings)
        facts = {"settings": lineage["settings"], "history": best.history, "version": version}
        track(settings.mlflow_tracking_uri, settings.name, run, Path(folder), facts)
    metrics.last_run.set("map", summary.scores.map)
    metrics.last_run.set("images_per_second", summary.images_per_s)
    get_log().info("train.version_published", run=run, version=str(version), map=round(summary.scores.map, 4))
    print_summary(version, summary, run)
    return 0


def is_trained(newest: Checkpoint, steps: int) -> bool:
    """Whether all steps are taken and the last epoch is validated: a stop may have come between the two."""
    return newest.step >= steps and newest.map is not None


def _train_on_cluster(settings: TrainSettings, prepared: Prepared, run: str, metrics: TrainMetrics) -> dict[str, str]:
    """Train to the last epoch; returns the images that could not be used, with the reason."""
    plan = prepared.plan
    assignment = assign(prepared, open_store(settings.output).under(run).root, settings)
    get_log().info(
        "train.run_started", run=run, backbone=plan.config.backbone, recipe=plan.recipe.name,
        epochs=plan.recipe.epochs, train_images=len(prepared.splits.train), val_images=len(prepared.splits.val),
        classes=len(plan.config.classes), workers=settings.workers, cores_per_worker=assignment.threads,
        micro_batch=plan.micro_batch,
    )  # fmt: skip
    with ProgressBar("train", prepared.images_per_epoch * plan.recipe.epochs, shown=settings.progress) as bar:
        watch = Watch(bar, metrics, prepared.images_per_epoch, plan.recipe.epochs)
        try:
            run_trainer(assignment, run=run, settings=settings, watch=watch)
        except Stopped:
            get_log().warning("train.run_stopped", run=run, continue_with=f"--run {run}")
            raise
    return watch.unusable
