"""Whatever breaks: one row for each object, the same rows as of a run that nobody disturbed, a balanced account."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import time

import psutil
import pytest
from dirty_corpus import corpus
from disturbance import account, children, kill_all, photograph, written_rows

from workers.storage import open_store
from workers.tags import list_shards

pytestmark = pytest.mark.timeout(1200)  # The first test starts everything; a busy machine takes its time.

TARGETS = ("driver", "worker", "raylet", "s3 server")
FAULTS_SHARE = 0.1

CLOCK = """
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <time.h>

    /* The wall clock jumps to and fro by four minutes every second; the monotonic clock stays as it is. */
    int clock_gettime(clockid_t id, struct timespec *now) {
        static int (*real)(clockid_t, struct timespec *);
        if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
        int result = real(id, now);
        if (id == CLOCK_REALTIME) now->tv_sec += (now->tv_sec % 3 - 1) * 240;
        return result;
    }
"""


def test_every_kind_of_bad_object_has_its_reason(undisturbed):
    """
    The whole path tells empty, alien, cut, damaged and explosive objects apart, and lets odd ones that are good pass.
    """
    wanted = {f"dirty/{name}": reason for name, (_, reason) in corpus().items()}
    found = {row["key"]: row["reason"] for row in undisturbed if row["key"].startswith("dirty/")}

    assert sum(reason is not None for reason in wanted.values()) >= 40
    assert wanted == found
    assert all(row["detail"] for row in undisturbed if row["status"] == "failed")


def test_a_bad_network_changes_nothing(server, bucket, scoring, undisturbed):
    """
    A tenth of all requests is refused, broken off, cut short, slow, or done and never answered: the rows are the same.
    """
    output = scoring.output()
    server.proxy.share = FAULTS_SHARE
    server.proxy.met.clear()
    try:
        scoring.finish(output)
    finally:
        server.proxy.share = 0.0

    assert undisturbed == written_rows(output)
    assert len(undisturbed) == account(output)["listed"]
    assert {"busy", "reset", "lost_answer", "cut", "slow"} <= server.proxy.met.keys()


@pytest.mark.parametrize("seed", range(2))
def test_killing_anything_costs_no_row(server, scoring, undisturbed, seed):
    """
    SIGKILL at a random moment, then the same command until it is done.
    """
    one_round(server, scoring, undisturbed, seed)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(2, 50))
def test_killing_anything_costs_no_row_for_long(server, scoring, undisturbed, seed):
    """
    The same, many more times.
    """
    one_round(server, scoring, undisturbed, seed)


def one_round(server, scoring, undisturbed, seed: int) -> None:
    draw = random.Random(seed)
    # The first two rounds take the two that are hardest to survive.
    target = ("s3 server", "raylet")[seed] if seed < 2 else draw.choice(TARGETS)
    output = scoring.output()
    store = open_store(output)
    driver = scoring.start(output)
    try:
        wait_for_shards(driver, store, draw.randrange(8))
        time.sleep(draw.uniform(0, 1))
        if target == "s3 server":
            server.kill(away_s=draw.uniform(0, 2))
        else:
            kill(driver, target, draw)
        driver.wait(timeout=600)
    finally:
        kill_all(driver)
    if driver.returncode:
        scoring.finish(output)

    assert undisturbed == written_rows(output), target
    assert len(undisturbed) == account(output)["listed"]


def kill(driver: subprocess.Popen, target: str, draw: random.Random) -> None:
    """SIGKILL for the driver (and its machine), the raylet, or any one process that works for Ray or decodes."""
    if target == "driver":
        kill_all(driver)
        return
    words = ("raylet/raylet",) if target == "raylet" else ("ray::", "workers.score.decoder")
    if victims := children(driver, *words):
        with contextlib.suppress(psutil.NoSuchProcess):  # It was faster.
            draw.choice(victims).kill()


@pytest.mark.chaos
def test_two_attempts_at_once_make_one_run(scoring, undisturbed):
    """
    Two schedulers start the same command: the rows of both together are those of one.
    """
    output = scoring.output()
    attempts = [scoring.start(output), scoring.start(output)]

    assert [0, 0] == [attempt.wait(timeout=600) for attempt in attempts]
    assert undisturbed == written_rows(output)
    assert len(undisturbed) == account(output)["listed"]


@pytest.mark.chaos
def test_objects_that_change_meanwhile_have_one_row(server, bucket, scoring, undisturbed):
    """
    Overwritten while the run goes on: a row of the old version or of the new one. Deleted: its row, or ``missing``.
    """
    output = scoring.output()
    overwritten, deleted = "photos/0149.jpg", "photos/0148.jpg"
    before = {key: bucket.get(key).data for key in (overwritten, deleted)}
    driver = scoring.start(output)
    try:
        wait_for_shards(driver, open_store(output), 1)
        bucket.put(overwritten, photograph(9999))
        etag = next(info.etag for info in bucket.list(overwritten))
        bucket.delete(deleted)
        assert 0 == driver.wait(timeout=600)
    finally:
        kill_all(driver)
        for key, data in before.items():
            bucket.put(key, data)
    found = {row["key"]: row for row in written_rows(output)}
    wanted = {row["key"]: row for row in undisturbed}

    assert wanted.keys() == found.keys()
    assert {key for key in wanted if wanted[key] != found[key]} <= {overwritten, deleted}
    assert found[overwritten]["etag"] in {wanted[overwritten]["etag"], etag}
    assert found[deleted]["reason"] in {None, "missing"}
    assert len(wanted) == len(written_rows(output)) == account(output)["listed"]


@pytest.mark.chaos
def test_a_clock_that_jumps_changes_nothing(scoring, undisturbed, tmp_path):
    """
    The wall clock of every process jumps by minutes, forwards and back: no deadline and no row depends on it.
    """
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler (cc) to make the clock jump")
    (tmp_path / "clock.c").write_text(CLOCK)
    library = tmp_path / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "clock.c", "-ldl"], check=True)
    output = scoring.output()

    assert 0 == scoring.start(output, LD_PRELOAD=str(library)).wait(timeout=600)
    assert undisturbed == written_rows(output)
    assert len(undisturbed) == account(output)["listed"]


def wait_for_shards(driver: subprocess.Popen, store, count: int) -> None:
    """Until so many shards are written, or the driver has ended."""
    end = time.monotonic() + 500
    while driver.poll() is None and len(list(list_shards(store))) < count:
        assert time.monotonic() < end, "the run does not move"
        time.sleep(0.05)
