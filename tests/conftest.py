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
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="warning",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def registry(tmp_path_factory) -> str:
    """A registry with one small model of random weights, ``tiny:1``, and its engine on onnxruntime."""
    # Seconds that tests of other things need not wait for.
    import torch  # noqa: PLC0415

    from lga_model.calibration import Calibration  # noqa: PLC0415
    from lga_model.checkpoint import ModelRecord, save_model  # noqa: PLC0415
    from lga_model.config import FAST, ImageConfig, ModelConfig  # noqa: PLC0415
    from lga_model.images import PREPROCESSING  # noqa: PLC0415
    from lga_model.network import build_network  # noqa: PLC0415
    from workers.compile.build import build_engine, load_source, write_record  # noqa: PLC0415
    from workers.engines import Parity  # noqa: PLC0415
    from workers.registry import Registry  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("model")
    config = ModelConfig(
        backbone="test_resnet",
        classes=("climbing", "cooking", "running"),
        image=ImageConfig(size_px=64),
        output_stride=16,
        action_channels=16,
        localisation_channels=(8, 1),
    )
    torch.manual_seed(0)
    network = build_network(config)
    record = ModelRecord(config=config, recipe=FAST, calibration=Calibration.none(), preprocessing=PREPROCESSING)
    bundle, engine = folder / "bundle", folder / "engine"
    save_model(bundle, network, record)
    (bundle / "metrics.json").write_text("{}")
    (bundle / "training.json").write_text("{}")
    engine.mkdir()
    registry = Registry(str(folder / "registry"))
    version = registry.publish("tiny", bundle)
    proven = Parity(
        images=1,
        top1_agreement=1.0,
        max_probability_difference=0.0,
        max_heatmap_difference=0.0,
        max_pam_difference=0.0,
        device="cpu",
    )
    made = build_engine(load_source(version, registry.fetch(version)), "onnxruntime", "fp32", engine)
    write_record(made.model_copy(update={"parity": proven}), engine)
    registry.add_engine(version, engine)
    return registry.uri


@pytest.fixture(scope="session")
def stanford40() -> Path:
    """The folder of the real photographs; the test is skipped where they are absent."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "stanford40"
    root = Path(os.environ.get("LGA_TEST_STANFORD40", beside))
    if not root.is_dir():
        pytest.skip(f"needs the Stanford40 photographs; none at {root} (LGA_TEST_STANFORD40 names another folder)")
    return root
