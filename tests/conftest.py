"""Real parts for the tests: an S3 server, a Ray, the real photographs where they are at hand."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import pytest

from workers.demo.local_s3 import LocalS3, local_s3
from workers.runtime import keep_ray_on_loopback
from workers.storage import forget_client, make_bucket

# The first settings that a library reads at import. Two cores: more threads than that only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

keep_ray_on_loopback()

# The first example of a run pays for imports and caches; a deadline would call that a failure.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


@dataclass
class S3:
    """A running S3 server; the environment of this process points at it."""

    server: LocalS3
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def bucket(self) -> str:
        """A fresh, empty bucket, as ``s3://name``."""
        uri = f"s3://test-{os.getpid()}-{next(self.numbers)}"
        make_bucket(uri)
        return uri


@pytest.fixture(scope="session")
def s3(tmp_path_factory) -> Iterator[S3]:
    """SeaweedFS on this machine, for the whole session."""
    with local_s3(tmp_path_factory.mktemp("s3")) as server:
        before = dict(os.environ)
        os.environ.update(server.environment())
        forget_client()
        yield S3(server)
        os.environ.clear()
        os.environ.update(before)
        forget_client()


@pytest.fixture(params=["folder", "s3"])
def store_uri(request, tmp_path) -> str:
    """The root of an empty store: once a folder, once a bucket."""
    return str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3").bucket()


@pytest.fixture(scope="session")
def ray_local(s3) -> Iterator[None]:
    """One local Ray with two CPUs. It starts after the S3 server, so that its workers inherit the way there."""
    ray = pytest.importorskip("ray")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="warning",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def stanford40() -> Path:
    """The folder of the real photographs; the test is skipped where they are absent."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "stanford40"
    root = Path(os.environ.get("LGA_TEST_STANFORD40", beside))
    if not root.is_dir():
        pytest.skip(f"needs the Stanford40 photographs; none at {root} (LGA_TEST_STANFORD40 names another folder)")
    return root
