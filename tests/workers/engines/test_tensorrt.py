"""Plans are built for real, without a GPU, by TensorRT for RTX; what cannot be built is told."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from workers.__main__ import main
from workers.engines import EngineError, Gpu, tensorrt
from workers.engines.gpu import gpu_misfit
from workers.engines.ingredients import GpuBuild
from workers.engines.tensorrt import profiles
from workers.registry import Registry

rtx = pytest.importorskip("workers.engines.tensorrt_rtx")
pytest.importorskip("tensorrt_rtx_bindings", reason="needs the extra [tensorrt-rtx]")


@pytest.mark.parametrize(
    ("precision", "capabilities", "weights"),
    [("fp32", ("8.6",), "FLOAT"), ("fp16", ("8.6", "8.9", "12.0"), "FLOAT16"), ("bf16", ("8.9",), "BFLOAT16")],
    ids=["fp32", "fp16", "bf16"],
)
def test_a_plan_is_built_for_gpus_that_are_not_here(tiny_ingredients, precision, capabilities, weights):
    """
    In fp32, fp16 and bf16; the record will say which GPUs the plan is bound to.
    """
    built = rtx.build(tiny_ingredients.varied(precision=precision, gpu=GpuBuild(capabilities=capabilities, batch=4)))

    assert len(built.data) > 100_000
    assert Gpu(name=None, compute_capabilities=capabilities, batch=4) == built.gpu
    onnx.checker.check_model(onnx.load_from_string(built.onnx))
    assert {weights} == weight_types(built.onnx)


def test_a_plan_in_eight_bits_is_built_of_the_quantised_graph(tiny_ingredients):
    """
    The pairs that onnxruntime's quantiser writes are what the parser takes: no zero point, weights of eight bits.
    """
    images = np.random.default_rng(1).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    gpu = GpuBuild(capabilities=("8.9",), batch=4)
    built = rtx.build(tiny_ingredients.varied(precision="int8", calibration=lambda: [images], gpu=gpu))
    model = onnx.load_from_string(built.onnx)
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    zero_points = [stored[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]

    assert len(built.data) > 100_000
    assert len(zero_points) > 10
    assert {"int8"} == {str(point.dtype) for point in zero_points}
    assert not any(point.any() for point in zero_points)


def test_the_way_in_which_an_engine_runs_is_part_of_it(tiny_ingredients):
    """
    Contexts and CUDA graphs stand in the record, so that what was proven is what runs; each way is its own engine.
    """
    plain = GpuBuild(capabilities=("8.9",), batch=4)
    built = rtx.build(tiny_ingredients.varied(gpu=replace(plain, contexts=2, cuda_graphs=True)))

    assert Gpu(name=None, compute_capabilities=("8.9",), batch=4, contexts=2, cuda_graphs=True) == built.gpu
    assert Gpu(name=None, compute_capabilities=("8.9",), batch=4) == rtx.build(tiny_ingredients.varied(gpu=plain)).gpu


def weight_types(data: bytes) -> set[str]:
    model = onnx.load_from_string(data)
    convolutions = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    types = onnx.TensorProto.DataType
    return {types.Name(each.data_type) for each in model.graph.initializer if each.name in convolutions}


def test_a_gpu_that_the_builder_does_not_know_is_named(tiny_ingredients):
    """
    The message says for which it builds.
    """
    with pytest.raises(EngineError, match=r"builds for SM75, .*SM89.*, not SM10"):
        rtx.build(tiny_ingredients.varied(gpu=GpuBuild(capabilities=("1.0",))))


def test_every_parser_error_is_told(tiny_ingredients):
    """
    A graph that is none is not parsed, and the parser's words are in the message.
    """
    ingredients = tiny_ingredients.varied(gpu=GpuBuild(capabilities=("8.6",)))
    ingredients.__dict__["onnx"] = b"no graph"
    with pytest.raises(EngineError, match=r"cannot parse the model: .*[Pp]ars"):
        rtx.build(ingredients)


def test_the_full_product_needs_the_gpu_itself(tiny_ingredients):
    """
    It cannot build for GPUs that are elsewhere, and says so before anything is exported.
    """
    with pytest.raises(EngineError, match="builds for the GPU of this machine alone"):
        tensorrt.build(tiny_ingredients.varied(gpu=GpuBuild(capabilities=("9.0",))))


@pytest.mark.parametrize(
    ("bound_to", "fits"),
    [
        (Gpu(name="H100", compute_capabilities=("9.0",)), True),
        (Gpu(name="A100", compute_capabilities=("9.0",)), False),
        (Gpu(name=None, compute_capabilities=("8.6", "9.0")), True),
        (Gpu(name=None, compute_capabilities=("8.6",)), False),
        (Gpu(name=None, compute_capabilities=("8.0",), and_newer=True), True),
        (Gpu(name=None, compute_capabilities=("12.0",), and_newer=True), False),
    ],
    ids=["same", "other model", "one of several", "other capability", "newer", "older"],
)
def test_a_plan_fits_the_gpus_it_is_bound_to(monkeypatch, bound_to, fits):
    """
    Capabilities are compared as numbers: 12.0 is newer than 9.0. Without a GPU nothing fits.
    """
    monkeypatch.setattr("workers.engines.gpu.present_gpu", lambda: ("H100", "9.0"))
    assert fits == (gpu_misfit(bound_to) is None)

    monkeypatch.setattr("workers.engines.gpu.present_gpu", lambda: None)
    assert "has no GPU" in gpu_misfit(bound_to)


def test_every_number_of_images_has_a_profile():
    """
    The production batch has its own; all others share the tail's.
    """
    assert [(32, 32, 32), (1, 8, 32)] == profiles(32)
    assert [(1, 1, 1)] == profiles(1)


def test_a_plan_that_cannot_be_proven_here_is_built_but_not_published(make_bundle, tmp_path, capsys):
    """
    `--build-only` tells that the model can be built for those GPUs, and writes nothing.
    """
    bundle = make_bundle()
    flags = ["--target", "tensorrt-rtx", "--capabilities", "8.6", "--build-only"]
    code = main(["compile", "--registry", str(tmp_path / "r"), "--model", str(bundle), *flags])

    assert 0 == code
    assert "neither proven nor published" in capsys.readouterr().out
    assert not (bundle / "engines").exists()


class Config:
    """Stands in for a builder's configuration, which only a GPU has: what it measured follows what it was given."""

    def create_timing_cache(self, stored):
        return None if stored == b"damaged" else SimpleNamespace(serialize=lambda: stored + b"+")

    def set_timing_cache(self, cache, *, ignore_mismatch):
        assert cache is not None
        assert not ignore_mismatch


def test_timings_of_a_gpu_are_kept_in_the_registry(monkeypatch, tmp_path):
    """
    Each build goes on from what the last one on such a GPU kept; damaged timings are measured anew.
    """
    monkeypatch.setattr(tensorrt, "present_gpu", lambda: ("NVIDIA H100", "9.0"))
    product = tensorrt.Product("TensorRT", "a_module")
    product.__dict__["trt"] = SimpleNamespace(__version__="11.0")
    timings = Registry(str(tmp_path)).timings
    for _ in range(2):
        with product._timed(Config(), timings):
            pass

    assert b"++" == (tmp_path / "timings" / "tensorrt-11.0-nvidia-h100.bin").read_bytes()
    timings.keep("tensorrt-11.0-NVIDIA H100", b"damaged")
    with product._timed(Config(), timings):
        pass
    assert b"+" == timings.read("tensorrt-11.0-NVIDIA H100")
    assert b"" == timings.read("tensorrt-11.0-NVIDIA A100")
    assert [] == Registry(str(tmp_path)).names()
