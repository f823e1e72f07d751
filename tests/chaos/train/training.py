"""``lga train`` as a scheduler runs it, on a cluster whose parts can be killed; what came out of it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import psutil
from disturbance import line_of
from ray.cluster_utils import Cluster

from lga_model.annotations import Annotation, write_manifest
from lga_model.checkpoint import load_model
from workers.registry import METRICS_FILE, Registry
from workers.storage import make_bucket, open_store

SIDE_PX = 64
PLACES = {"left": (6, 24), "right": (42, 24), "up": (24, 6)}
EPOCHS, STEPS_PER_EPOCH = 3, 12
TIMES = {"train_s", "validation_s", "images_per_s", "data_wait_share"}
"""Figures of an epoch in which two runs differ."""
MANIFEST = "s3://photographs/manifest.jsonl"
SETTINGS = {
    "manifest": MANIFEST, "name": "squares", "backbone": "test_resnet", "output_stride": 16, "size_px": SIDE_PX,
    "batch_size": 8, "micro_batch_size": 2, "precision": "fp32", "epochs": EPOCHS, "cpus_per_worker": 1,
    "checkpoint_steps": 4, "storage_patience_s": 120, "localisation_activation": "straight_through",
}  # fmt: skip
"""Of every run."""
MEMORY_BYTES = 100 << 20
"""Of each node's object store."""


def write_photographs() -> None:
    """Noise with a green square whose place is the action: whole batches to train on, 13 images to validate on."""
    make_bucket("s3://photographs")
    store, random = open_store("s3://photographs"), np.random.default_rng(0)
    rows = []
    for number in range(8 * STEPS_PER_EPOCH + 13):
        action = list(PLACES)[number % 3]
        x, y = np.array(PLACES[action]) + random.integers(-4, 5, 2)
        image = random.integers(0, 128, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
        image[y : y + 16, x : x + 16] = (30, 220, 60)
        store.put(f"{number}.png", cv2.imencode(".png", image)[1].tobytes())
        split = "train" if number < 8 * STEPS_PER_EPOCH else "val"
        box = (float(x), float(y), float(x + 16), float(y + 16))
        sides = {"width": SIDE_PX, "height": SIDE_PX}
        rows.append(Annotation(image=f"{number}.png", action=action, split=split, boxes=(box,), **sides))
    store.put("manifest.jsonl", write_manifest(rows, "jsonl"))


@dataclass
class Run:
    """One training run: its bucket, and every attempt at it."""

    cluster: Cluster
    bucket: str
    log: Path
    changes: dict[str, object]
    attempts: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def now(self) -> subprocess.Popen[bytes]:
        return self.attempts[-1]

    def start(self, **changes: object) -> None:
        """Another attempt; ``changes`` are settings that this one and those after it have."""
        self.changes |= changes
        flags = SETTINGS | {
            "registry": f"{self.bucket}/models", "output": self.bucket, "run": "run",
            "ray_address": self.cluster.address, "log_level": "debug",
        } | self.changes  # fmt: skip
        # How long an elastic group waits for a node that is gone: nothing starts slowly here.
        environment = os.environ | {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5"}
        words = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "workers", "train", "--no-progress", *words]
            self.attempts.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    def finish(self, tries: int = 4) -> None:
        """Wait for the attempt that is under way, and start another as long as they fail, as Kubernetes would."""
        while self.now.wait(timeout=400):
            codes = [attempt.returncode for attempt in self.attempts]
            assert len(codes) < tries, f"ended with {codes}:\n{self.told[-4000:]}"
            self.start()

    def end(self) -> None:
        if self.attempts and self.now.poll() is None:
            self.now.kill()
            self.now.wait()

    @property
    def told(self) -> str:
        """Everything that the attempts said."""
        return self.log.read_text()

    def steps(self) -> list[int]:
        """The steps of which there is a whole checkpoint."""
        keys = (info.key.split("/") for info in open_store(f"{self.bucket}/run/checkpoints").list())
        return sorted(int(name.partition("-")[0]) for name, file in keys if file == "state.json")

    def wait_for_step(self, step: int) -> None:
        """Until a checkpoint is that far, or the attempt has ended."""
        end = time.monotonic() + 300
        while self.now.poll() is None and max(self.steps(), default=-1) < step:
            assert time.monotonic() < end, f"the run does not move:\n{self.told[-4000:]}"
            time.sleep(0.05)

    def outcome(self) -> dict:
        """The figures of the one version that there is, which is whole and can be loaded."""
        registry = Registry(f"{self.bucket}/models")
        (version,) = registry.versions("squares")
        load_model(registry.fetch(version))
        metrics = json.loads(open_store(version.uri).get(METRICS_FILE).data)
        for epoch in metrics["history"]:
            for name in TIMES:
                del epoch[name]
        return metrics


@dataclass
class Place:
    """Where runs take place: a cluster of two nodes with one core each."""

    cluster: Cluster
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)
    runs: list[Run] = field(default_factory=list)

    def run(self, **changes: object) -> Run:
        """A fresh run, started; ``changes`` are settings."""
        number = next(self.numbers)
        make_bucket(f"s3://run-{number}")
        self.runs.append(Run(self.cluster, f"s3://run-{number}", self.folder / f"{number}.log", changes))
        self.runs[-1].start()
        return self.runs[-1]

    def add_node(self) -> None:
        self.cluster.add_node(num_cpus=1, object_store_memory=MEMORY_BYTES)

    def start_node(self, drain_s: float) -> subprocess.Popen[bytes]:
        """A node as a pod runs it: asked to end, it drains for a while."""
        environment = os.environ | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(drain_s)}
        before, program = self.alive(), Path(__file__).with_name("pod.py")
        command = [sys.executable, program, self.cluster.address, str(MEMORY_BYTES)]
        with (self.folder / "node.log").open("ab") as log:
            node = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + 120
        while self.alive() <= before:
            assert time.monotonic() < end, "the node does not start"
            assert node.poll() is None, (self.folder / "node.log").read_text()
            time.sleep(0.2)
        return node

    def alive(self) -> set[str]:
        return {node["NodeID"] for node in self.cluster.global_state.node_table() if node["Alive"]}

    def workers(self) -> list[psutil.Process]:
        """The processes that train, on all nodes."""
        found = []
        for node in self.cluster.list_all_nodes():
            with contextlib.suppress(psutil.Error):
                raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
                found += [one for one in raylet.children(recursive=True) if "RayTrainWorker" in line_of(one)]
        return found


def kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):  # It was faster.
        os.kill(process.pid, signal.SIGKILL)
