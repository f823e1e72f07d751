"""CPU seconds for each image, and images/s: every engine that this machine can run, side by side in one process.

    python benchmarks/engines.py [--model BUNDLE] [--images FOLDER] [BACKBONE:SIZE_PX ...]

The networks are lite0 at 224 pixels, ResNet-50 and Inception-ResNet-v2 at 448; without internet their weights are
random, which costs the same time. ``--model`` measures a trained model instead. Every engine is first compared with the
model on the very images, then the engines take turns, and the figure is the median over the rounds. Ratios of CPU
seconds hold on a busy machine as well; images/s do not.

The last column is the share of what a CPU second of these cores does in a product of two large matrices in the same
precision: how much faster an engine could be.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from lga_model.calibration import Calibration
from lga_model.checkpoint import ModelRecord, save_model
from lga_model.config import FAST, ImageConfig, ModelConfig
from lga_model.images import PREPROCESSING, decode_image
from lga_model.network import build_network
from workers.compile.build import Source, assemble_engine, load_source
from workers.engines import FASTEST_FIRST, Engine, Target, backend, open_engine
from workers.engines.gpu import present_gpu
from workers.engines.ingredients import GpuBuild
from workers.engines.torch import run_graph
from workers.registry import Version

NETWORKS = ("tf_efficientnet_lite0:224", "resnet50:448", "inception_resnet_v2:448")
ROUNDS = 5
BATCH = 8
THREADS = 2
CALIBRATION_IMAGES = 32
REFERENCE = "torch fp32"
COLUMNS = "engine", "top-1 agreement", "probability", "CPU s/image", "images/s", "ratio of CPU s", "of the ceiling"
CEILING_SIDE, CEILING_TRIES = 2048, 5
CEILING_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}


def random_model(backbone: str, size_px: int, folder: Path) -> Path:
    """A bundle of 40 classes with random weights."""
    torch.manual_seed(0)
    classes = tuple(f"action {number}" for number in range(40))
    config = ModelConfig(backbone=backbone, classes=classes, image=ImageConfig(size_px=size_px))
    record = ModelRecord(config=config, recipe=FAST, calibration=Calibration.none(), preprocessing=PREPROCESSING)
    save_model(folder, build_network(config), record)
    return folder


def photographs(folder: Path | None, size_px: int, count: int) -> np.ndarray:
    """JPEG files of a folder, evenly chosen, or noise in two scales; uint8 ``[count, size_px, size_px, 3]``."""
    if folder is not None:
        paths = sorted(folder.glob("*.jpg"))
        chosen = [paths[index * len(paths) // count] for index in range(count)]
        return np.stack([decode_image(path.read_bytes(), size_px).pixels_HWC for path in chosen])
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)
    return np.stack([cv2.resize(each, (size_px, size_px)) for each in coarse])


def built_engines(source: Source, images_BHWC: np.ndarray, place: Path) -> Iterator[tuple[str, Path]]:
    """One engine for each target and precision that can be built and run here."""
    calibration = [images_BHWC[start : start + BATCH] for start in range(0, len(images_BHWC), BATCH)]
    fp32 = source.ingredients("fp32", lambda: calibration)
    for target in reversed(FASTEST_FIRST):
        if target.startswith("tensorrt") and present_gpu() is None:
            continue
        try:
            precisions = [each for each in backend(target).precisions() if each != "fp8"]  # It wants another program.
        except ImportError:
            continue
        for precision, (way, gpu) in itertools.product(precisions, ways(target).items()):
            folder = place / f"{target}-{precision}{way}"
            folder.mkdir()
            assemble_engine(source, target, fp32.varied(precision=precision, gpu=gpu), folder)
            yield f"{target} {precision}{way}", folder


def ways(target: Target) -> dict[str, GpuBuild]:
    """How an engine may run: on GPUs also as a recorded graph, and half a batch beside the other half."""
    plain = GpuBuild(batch=BATCH)
    if not target.startswith("tensorrt"):
        return {"": plain}
    two = replace(plain, batch=BATCH // 2, contexts=2)
    return {
        "": plain,
        " graph": replace(plain, cuda_graphs=True),
        " two": two,
        " two graphs": replace(two, cuda_graphs=True),
    }


def measure(engine: Engine, images_BHWC: np.ndarray) -> tuple[float, float]:
    """CPU and wall seconds for each image."""
    cpu, wall = time.process_time(), time.perf_counter()
    for start in range(0, len(images_BHWC), BATCH):
        engine.infer(images_BHWC[start : start + BATCH])
    return (time.process_time() - cpu) / len(images_BHWC), (time.perf_counter() - wall) / len(images_BHWC)


def operations(source: Source, images_BHWC: NDArray[np.uint8]) -> int:
    """Multiplications and additions in the convolutions and matrix products of a forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        source.graph(torch.tensor(images_BHWC))
    return int(counter.get_total_flops())


def ceiling(precision: str) -> float:
    """Operations in a CPU second of the product of two square matrices: of some, the fastest."""
    values = torch.ones(CEILING_SIDE, CEILING_SIDE, dtype=CEILING_DTYPES[precision])
    multiply = torch._int_mm if precision == "int8" else torch.mm  # noqa: SLF001 - the one product of bytes there is
    cpu_s = []
    for _ in range(CEILING_TRIES):
        begun = time.process_time()
        multiply(values, values)
        cpu_s.append(time.process_time() - begun)
    return 2 * CEILING_SIDE**3 / min(cpu_s)


def compare(name: str, source: Source, images_BHWC: np.ndarray, rounds: int) -> Table:
    """Measure all engines of one model."""
    table = Table(title=f"{name}, batch {BATCH}, {THREADS} threads, {rounds} rounds")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    timed = images_BHWC[:BATCH]
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        engines = {}
        for label, folder in built_engines(source, images_BHWC[-CALIBRATION_IMAGES:], Path(place)):
            engines[label] = stack.enter_context(closing(open_engine(folder, THREADS)))
        expected = run_graph(source.graph, timed).probabilities_BA
        seconds: dict[str, list[tuple[float, float]]] = {label: [] for label in engines}
        ceilings: dict[str, list[float]] = {precision: [] for precision in CEILING_DTYPES}
        torch.set_num_threads(THREADS)
        differences = {}
        for label, engine in engines.items():
            said = engine.infer(timed).probabilities_BA
            differences[label] = (said.argmax(1) == expected.argmax(1)).mean(), np.abs(said - expected).max()
        for _ in range(rounds):
            for precision, found in ceilings.items():
                found.append(ceiling(precision))
            for label, engine in engines.items():
                seconds[label].append(measure(engine, timed))
        reference = statistics.median(cpu for cpu, _ in seconds[REFERENCE])
        gigas = {precision: statistics.median(found) / 1e9 for precision, found in ceilings.items()}
        work = operations(source, timed[:1])
        told = ", ".join(f"{precision} {giga:.0f}" for precision, giga in gigas.items())
        table.caption = f"{work / 1e9:.1f} GFLOP an image; of a matrix product in a CPU second: {told}"
        for label, pairs in seconds.items():
            cpu, wall = (statistics.median(values) for values in zip(*pairs, strict=True))
            agreement, largest = differences[label]
            giga = gigas.get(label.split()[1])
            share = "" if giga is None or engines[label].device == "cuda" else f"{work / cpu / 1e9 / giga:.2f}"
            figures = (f"{agreement:.3f}", f"{largest:.1e}", f"{cpu:.4f}", f"{1 / wall:.1f}", f"{reference / cpu:.2f}")
            table.add_row(label, *figures, share)
    return table


def main() -> None:
    """Measure and print one table for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS, metavar="BACKBONE:SIZE_PX")
    parser.add_argument("--model", type=Path, help="bundle of a trained model, instead of random networks")
    parser.add_argument("--images", type=Path, help="folder of JPEG files; without it noise")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    for network in [str(arguments.model)] if arguments.model else arguments.networks:
        with tempfile.TemporaryDirectory() as folder:
            bundle = arguments.model
            if bundle is None:
                backbone, _, size_px = network.partition(":")
                bundle = random_model(backbone, int(size_px), Path(folder))
            source = load_source(Version(name="benchmark", number=0, uri=str(bundle)), bundle)
            images = photographs(arguments.images, source.record.config.image.size_px, BATCH + CALIBRATION_IMAGES)
            Console(width=130).print(compare(network, source, images, arguments.rounds))


if __name__ == "__main__":
    main()
