"""What Ray is asked for."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pyarrow as pa
import pytest
import ray
from ray.exceptions import RayTaskError

from workers.errors import SettingsError, Throttled
from workers.runs.plan import Plan
from workers.runs.speed import Rates
from workers.score.pipeline import Pipeline, _chunks, _worker_error, cluster_resources, plan_resources
from workers.score.predict import EngineBroken
from workers.storage import FolderStore
from workers.tags import Lineage, TagForm


@pytest.mark.parametrize("cpus", [1, 2, 3, 16, 500])
@pytest.mark.parametrize("engines", [None, 1, 2, 7])
def test_two_attempts_fit_any_cluster(cpus, engines):
    """
    On CPUs alone the engines never take what fetching needs, not even those of two attempts that overlap.
    """
    asked = plan_resources(cpus, gpus=0, nodes=1, engines=engines)

    assert (engines or 1) == asked.engines
    assert 2 * asked.engines * asked.engine_cpus + asked.fetch_cpus <= cpus
    assert asked.threads >= 1
    assert asked.threads * asked.engines <= max(cpus, asked.engines)


@pytest.mark.parametrize("engines", [None, 1, 2, 3, 4, 5])
def test_engines_share_cards_evenly(engines):
    """
    One engine for each GPU; more engines than cards are placed so that all find room.
    """
    asked = plan_resources(32, gpus=2, nodes=1, engines=engines)

    assert (engines or 2) == asked.engines
    assert asked.engines <= 2 * int(1 / asked.engine_gpus)
    assert (0, None) == (asked.engine_cpus, asked.threads)


@pytest.mark.parametrize(("cpus", "gpus", "engines"), [(16, 1, None), (16, 1, 3), (96, 8, None), (7, 2, 3)])
def test_decoding_fits_on_the_cards_beside_the_engines(cpus, gpus, engines):
    """
    All engines and all fetch tasks find a GPU's part at once.
    """
    asked = plan_resources(cpus, gpus, nodes=1, engines=engines, decode_on="gpu")
    engines_of_a_card, fetchers_of_a_card = (math.ceil(number / gpus) for number in (asked.engines, asked.fetchers))

    assert asked.fetch_gpus > 0
    assert engines_of_a_card * asked.engine_gpus + fetchers_of_a_card * asked.fetch_gpus <= 1 + 1e-9


def test_decoding_on_a_gpu_needs_one():
    """
    A cluster without is told before anything is read.
    """
    with pytest.raises(SettingsError, match="no GPU in this cluster"):
        plan_resources(8, gpus=0, nodes=1, engines=None, decode_on="gpu")


def test_engines_on_several_nodes_have_each_its_cores():
    """
    Four engines on four nodes of eight cores: eight threads each.
    """
    assert 8 == plan_resources(32, gpus=0, nodes=4, engines=4).threads


@pytest.mark.parametrize(
    ("cpus", "nodes", "busy", "engines", "threads"),
    [
        pytest.param(2, 1, 2, 1, 2, id="all busy"),
        pytest.param(2, 1, 1, 1, 2, id="too few cores for two"),
        pytest.param(16, 1, 15, 1, 16, id="nearly all busy"),
        pytest.param(16, 1, 5, 3, 5, id="a third busy"),
        pytest.param(16, 1, 0.5, 4, 4, id="not even one"),
        pytest.param(64, 4, 8, 8, 8, id="half of each node"),
    ],
)
def test_engines_keep_the_cores_busy(cpus, nodes, busy, engines, threads):
    """
    One engine had a thread for each core of a node and kept so many of them busy; others get the rest.
    """
    rates = Rates(
        images=8, request_s=0.01, fetch_cpu_s=0.001, decode_cpu_s=0.01, engine_s=0.01, engine_cpu_s=busy / 100
    )

    asked = plan_resources(cpus, gpus=0, nodes=nodes, engines=None, rates=rates)

    assert (engines, threads) == (asked.engines, asked.threads)
    assert 1 == plan_resources(cpus, gpus=0, nodes=nodes, engines=1, rates=rates).engines


def test_every_node_without_a_gpu_has_an_engine():
    """
    Also when nothing could be measured.
    """
    assert 4 == plan_resources(32, gpus=0, nodes=4, engines=None).engines


def test_chunks_cover_every_row_of_the_shards():
    """
    Nothing is left out, nothing comes twice.
    """
    plan = Plan(
        run_id="r", fingerprint="f", parts="p", listed=2500, skipped=0, shard_rows=1000,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )  # fmt: skip
    chunks = [chunk.to_pylist()[0] for chunk in _chunks(plan, [0, 2])]
    rows = [(one["shard"], row) for one in chunks for row in range(one["start"], one["stop"])]

    assert [*((0, row) for row in range(1000)), *((2, row) for row in range(500))] == rows


def test_a_broken_engine_works_in_another_process(ray_local, tmp_path, photograph, make_plan, options, mean_engine):
    """
    Its actor ends the pass with its error, and takes no photograph along; the next pass has a new one.
    """
    source, output = FolderStore(tmp_path / "photos"), FolderStore(tmp_path / "output")
    for number in range(3):
        source.put(f"{number}.png", photograph(51))
    broken, record, infer = tmp_path / "broken", mean_engine.record, mean_engine.infer

    class Sticky:
        """Fails for ever after it failed once, as a process does whose GPU has an error."""

        def __init__(self) -> None:
            self.record, self.failed = record, not broken.exists()
            broken.touch()

        def infer(self, images_BHWC):
            if self.failed:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            return infer(images_BHWC)

    pipeline = Pipeline(
        source=source,
        output=output,
        plan=make_plan(output, source),
        options=options(),
        opener=lambda _threads: Sticky(),
        form=TagForm(classes=("dark", "bright"), heatmap_hw=(2, 2)),
        lineage=Lineage(model="people", version=7, engine="cafe", run_id="r1"),
        resources=cluster_resources(None),
    )

    with pytest.raises(EngineBroken, match="CUDA error: an illegal memory access was encountered; look at"):
        list(pipeline.stream([0]))
    assert ["ok"] * 3 == pa.concat_tables(pipeline.stream([0]))["status"].to_pylist()


def test_what_a_task_told_is_told_again(ray_local):
    """
    An error of ours comes out of Ray as it went in, without Ray's advice about its own settings.
    """

    @ray.remote
    def task() -> None:
        raise Throttled("read\nFailed to apply UDF transform after 1/1 attempts", "s3://b/k", "busy")

    with pytest.raises(RayTaskError) as caught:
        ray.get(task.remote())

    assert "cannot read s3://b/k: busy" == str(_worker_error(caught.value))
    assert isinstance(_worker_error(caught.value), Throttled)
