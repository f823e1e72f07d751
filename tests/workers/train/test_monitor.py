from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from workers.errors import SettingsError
from workers.logs import configure_logs
from workers.progress import ProgressBar
from workers.train.metrics import TrainMetrics
from workers.train.monitor import Mailbox, Watch, Work

FIGURES = {"epoch": 2, "map": 0.5, "focus": None, "loss": 1.0, "average_precision": [0.5], "images_per_s": 12.3456789}


def work(**changes) -> Work:
    fields = {
        "images": 8,
        "steps": 1,
        "step_s": 0.5,
        "data_wait_s": 0.25,
        "loss": 2.0,
        "classification": 1.5,
        "mask": 0.5,
    }
    return Work(**(fields | {"learning_rate": 0.1} | changes))


def watch(metrics: TrainMetrics) -> Watch:
    return Watch(ProgressBar("train", 100, shown=False), metrics, images_per_epoch=50, epochs=2)


def series(metrics: TrainMetrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_mail_is_summed_and_taken_out_once():
    """
    Steps of several workers add up; a second look finds nothing.
    """
    mailbox = Mailbox()
    mailbox.work(work(images=8))
    mailbox.work(work(images=4, learning_rate=0.2))
    mail = mailbox.collect()

    assert (12, 2, 0.2) == (mail.work.images, mail.work.steps, mail.work.learning_rate)
    assert 0 == mailbox.collect().work.images


def test_the_first_error_stays():
    """
    What the others die of is a consequence.
    """
    mailbox = Mailbox()
    mailbox.fail(SettingsError("first"))
    mailbox.fail(SettingsError("second"))

    assert "first" == str(mailbox.error())


def test_metrics_count_the_work_and_show_the_epoch():
    """
    Counters of images and seconds, the mean loss of the latest steps, the figures of the epoch.
    """
    metrics, mailbox = TrainMetrics(), Mailbox()
    for number in range(2):
        mailbox.work(work(loss=2.0 + 2 * number))
    mailbox.epoch(FIGURES)
    watch(metrics).read(mailbox.collect())
    found = series(metrics)

    assert 16 == found["lga_train_images_total"]
    assert 1.0 == found["lga_train_step_seconds_total"]
    assert 0.5 == found["lga_train_data_wait_seconds_total"]
    assert 3.0 == found['lga_train_loss{term="total"}']
    assert (2, 0.5) == (found["lga_train_epoch"], found["lga_train_map"])


def test_a_run_that_continues_shows_the_epochs_it_has():
    """
    Nothing may look as if it stood still before its first epoch.
    """
    metrics, mailbox = TrainMetrics(), Mailbox()
    mailbox.start(1, 16)
    watch(metrics).read(mailbox.collect())

    assert 1 == series(metrics)["lga_train_epoch"]


def test_an_epoch_and_a_restart_are_logged(capsys):
    """
    With figures short enough to read; the first start is no restart.
    """
    configure_logs("console", "info")
    mailbox, reader = Mailbox(), watch(TrainMetrics())
    mailbox.start(0, 0)
    mailbox.epoch(FIGURES)
    reader.read(mailbox.collect())
    before = capsys.readouterr().err

    assert "train.epoch_finished" in before
    assert "images_per_s=12.35" in before
    assert "workers_restarted" not in before

    mailbox.start(2, 16)
    reader.read(mailbox.collect())

    assert "train.workers_restarted" in capsys.readouterr().err


@pytest.mark.parametrize(("share", "warned"), [(None, False), (0.1, False), (1.0, True)])
def test_dying_heatmaps_are_told_with_a_remedy(capsys, share, warned):
    """
    A warning that names the share and the way out; a few empty maps, or no branch at all, are no reason for one.
    """
    configure_logs("console", "info")
    mailbox = Mailbox()
    mailbox.epoch(FIGURES | {"dead_heatmaps": share})
    watch(TrainMetrics()).read(mailbox.collect())
    told = capsys.readouterr().err

    assert warned == ("train.heatmaps_dead" in told)
    assert warned == ("straight_through" in told)


@pytest.mark.parametrize("images", [{}, {"a.jpg": "missing"}])
def test_skipped_images_are_remembered(images):
    """
    For the record of the training.
    """
    mailbox, reader = Mailbox(), watch(TrainMetrics())
    mailbox.unusable(images)
    reader.read(mailbox.collect())
    reader.read(mailbox.collect())

    assert images == reader.unusable
