from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from workers.train.disk_cache import DiskCache

SIZE = 1000
EACH = SIZE + 32
"""Bytes of one image on disk, with its digest."""


def image(uri: str) -> bytes:
    return (uri.encode() * SIZE)[:SIZE]


class Source:
    """Where the images lie; remembers what it was asked for."""

    def __init__(self):
        self.asked: list[str] = []

    def __call__(self, uri: str) -> bytes:
        self.asked.append(uri)
        return image(uri)


def cache(folder, source, images: float, run: str = "run") -> DiskCache:
    return DiskCache(Path(folder), int(images * EACH), run, source)


def on_disk(folder) -> int:
    return sum(path.stat().st_size for path in Path(folder).glob("??/*"))


def age(folder, seconds: float) -> None:
    """As if everything there had been used that long ago."""
    for path in Path(folder).glob("??/*"):
        used_at = path.stat().st_mtime - seconds
        os.utime(path, (used_at, used_at))


def test_an_image_is_asked_for_once(tmp_path):
    """
    By whichever worker of the machine, and also after the process has ended.
    """
    source, other = Source(), Source()
    first, second = cache(tmp_path, source, 10), cache(tmp_path, other, 10)

    assert [image("a"), image("b")] == [first.read("a"), first.read("b")]
    assert [image("a"), image("b")] == [first.read("a"), second.read("b")]
    assert (["a", "b"], []) == (source.asked, other.asked)


def test_another_run_asks_anew(tmp_path):
    """
    Between two runs an image may have been replaced under its name.
    """
    source = Source()
    cache(tmp_path, source, 10, run="one").read("a")
    cache(tmp_path, source, 10, run="two").read("a")

    assert ["a", "a"] == source.asked


def test_what_was_used_longest_ago_goes_first(tmp_path):
    """
    Of an earlier run the images that were used last stay, within the limit.
    """
    earlier = cache(tmp_path, Source(), 4, run="earlier")
    for seconds, uri in ((30, "old"), (20, "older"), (0, "new")):
        earlier.read(uri)
        age(tmp_path, seconds)
    earlier.read("old")
    age(tmp_path, 10)
    now = cache(tmp_path, Source(), 4)
    now.read("mine"), now.read("mine too")
    asked = Source()
    again = cache(tmp_path, asked, 4, run="earlier")

    assert on_disk(tmp_path) == 4 * EACH
    assert [again.read(uri) for uri in ("new", "old")] == [image("new"), image("old")]
    assert [] == asked.asked
    assert image("older") == again.read("older")
    assert ["older"] == asked.asked


def test_what_fits_stays_when_the_run_has_more(tmp_path):
    """
    In another order each time, half of the images still come from the disk when half of them fit.
    """
    source, order = Source(), [str(number) for number in range(20)]
    kept = cache(tmp_path, source, 10)
    for _ in range(4):
        random.Random(len(source.asked)).shuffle(order)
        for uri in order:
            assert image(uri) == kept.read(uri)

    assert 20 + 3 * 10 == len(source.asked)
    assert on_disk(tmp_path) == 10 * EACH


@pytest.mark.parametrize("damage", [b"", b"half", b"x" * EACH])
def test_what_is_damaged_is_asked_for_again(tmp_path, damage):
    """
    Cut short or with another content: nobody is handed it, and it is whole afterwards.
    """
    source = Source()
    kept = cache(tmp_path, source, 10)
    kept.read("a")
    (path,) = tmp_path.glob("??/*")
    path.write_bytes(damage)

    assert [image("a"), image("a")] == [kept.read("a"), kept.read("a")]
    assert ["a", "a"] == source.asked


def test_a_full_disk_is_no_failure(tmp_path):
    """
    What cannot be kept is read from where it lies, each time.
    """
    source = Source()
    (tmp_path / "no folder").write_bytes(b"")
    kept = cache(tmp_path / "no folder", source, 10)

    assert [image("a"), image("a")] == [kept.read("a"), kept.read("a")]
    assert ["a", "a"] == source.asked


def read_for_ever(folder: str, seed: int, images: int) -> None:
    kept, draw = cache(folder, image, images, run=str(seed % 2)), random.Random(seed)
    while True:
        kept.read(str(draw.randrange(100)))


def test_many_at_once_and_killed_anywhere_keep_the_limit(tmp_path):
    """
    Processes that share the folder, each killed in the middle of its work; threads that go on afterwards: every image
    is right, and there are never more bytes than the limit.
    """
    limit = 30
    context = multiprocessing.get_context("spawn")
    readers = [context.Process(target=read_for_ever, args=(str(tmp_path), seed, limit), daemon=True) for seed in (1, 2)]
    for reader in readers:
        reader.start()
    end = time.monotonic() + 60
    while on_disk(tmp_path) < (limit - 1) * EACH and time.monotonic() < end:
        time.sleep(0.05)
    for reader in readers:
        os.kill(reader.pid, signal.SIGKILL)
        reader.join()
    kept = cache(tmp_path, image, limit, run="after")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(kept.read, (str(number % 50) for number in range(500))))

    assert [image(str(number % 50)) for number in range(500)] == found
    assert (limit - 2) * EACH <= on_disk(tmp_path) <= limit * EACH
