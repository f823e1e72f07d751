"""Engines on an NVIDIA GPU: built, opened and compared there. Skipped where there is none."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
import torch

from lga_model.calibration import Calibration
from lga_model.checkpoint import ModelRecord, save_model
from lga_model.config import FAST, ImageConfig, ModelConfig
from lga_model.images import PREPROCESSING
from lga_model.network import build_network
from workers.compile.build import assemble_engine, load_source
from workers.engines import backend, open_engine
from workers.engines.ingredients import GpuBuild
from workers.engines.torch import run_graph
from workers.registry import Version

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A small network with random weights, on the CPU."""
    torch.manual_seed(0)
    config = ModelConfig(
        backbone="test_resnet", classes=("a", "b", "c"), image=ImageConfig(size_px=64), output_stride=16
    )
    bundle = tmp_path_factory.mktemp("bundle")
    record = ModelRecord(config=config, recipe=FAST, calibration=Calibration.none(), preprocessing=PREPROCESSING)
    save_model(bundle, build_network(config), record)
    return load_source(Version(name="gpu", number=0, uri=str(bundle)), bundle)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx", "torch"])
def test_an_engine_on_the_gpu_says_what_the_model_says(source, tmp_path, target, precision):
    """
    Whole batches, the tail, and more than a batch; every number was written.
    """
    try:
        able = backend(target).precisions()
    except ImportError as error:
        pytest.skip(f"{target} is not installed: {error}")
    if precision not in able:
        pytest.skip(f"{target} does not do {precision}")
    check(source, tmp_path, target, precision, GpuBuild(batch=4))


@pytest.mark.parametrize(("contexts", "cuda_graphs"), [(1, True), (2, False), (2, True)])
@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_graphs_and_contexts_change_no_number(source, tmp_path, target, contexts, cuda_graphs):
    """
    Batches on their way at once, and batches replayed as one graph, again and again, say what the model says of each.
    """
    try:
        backend(target).version()
    except ImportError as error:
        pytest.skip(f"{target} is not installed: {error}")
    check(source, tmp_path, target, "fp32", GpuBuild(batch=4, contexts=contexts, cuda_graphs=cuda_graphs))


def check(source, folder, target, precision, gpu):
    assemble_engine(source, target, source.ingredients(precision, gpu=gpu), folder)
    images = np.random.default_rng(0).integers(0, 256, (27, 64, 64, 3), dtype=np.uint8)
    with closing(open_engine(folder)) as engine:
        for count in (4, 1, 27, 4):
            output, expected = engine.infer(images[-count:]), run_graph(source.graph, images[-count:])
            for ours, theirs in zip(output, expected, strict=True):
                np.testing.assert_allclose(ours, theirs, atol={"fp32": 1e-3, "fp16": 2e-2, "bf16": 0.1}[precision])
