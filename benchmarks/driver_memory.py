"""Peak memory of the driver of `lga score`, planning and committing included, for 10^4 and for 10^5 objects.

Whole runs against a local S3 server, with photographs of 32 pixels and a network of a few kernels, so that 10^5 of them
take minutes. The driver is the process of the command itself; Ray's own processes do not know how many objects there
are.

    python benchmarks/driver_memory.py [--objects 10000 100000]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from contest import CLASSES, DISTINCT, Job, make_model
from rich.console import Console
from rich.table import Table

from workers.demo.local_s3 import local_s3
from workers.registry import Registry
from workers.storage import forget_client, open_store

_JOB = Job(name="tiny", backbone="test_resnet", size_px=32, channels=8, images=0)


def photograph(number: int) -> bytes:
    """A JPEG of one tint and some noise."""
    hue = np.array([[[number % CLASSES * 180 // CLASSES, 200, 190]]], np.uint8)
    tint = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR).astype(np.float64)
    noise = np.random.default_rng(number).normal(0, 20, (32, 32, 3))
    return cv2.imencode(".jpg", np.clip(tint + noise, 0, 255).astype(np.uint8))[1].tobytes()


@dataclass
class Peak:
    """Most memory of one process, without its children's, in MB."""

    resident: float = 0.0
    own: float = 0.0
    """Without files and shared memory: pages of Ray's object store that the driver looked at count as resident."""

    def see(self, status: str) -> None:
        """Take in /proc/PID/status. ``own`` is sampled: the kernel keeps the highest mark of the whole only."""
        found = {name: int(kb) / 1024 for name, kb in re.findall(r"(VmHWM|RssAnon):\s+(\d+) kB", status)}
        self.resident = max(self.resident, found.get("VmHWM", 0.0))
        self.own = max(self.own, found.get("RssAnon", 0.0))


def peak_of(command: list[str]) -> tuple[Peak, float]:
    """Run a command: its peak memory, and the seconds it took."""
    begun, peak = time.monotonic(), Peak()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, *command], stdout=said, stderr=said)  # noqa: S603 - our own program
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            peak.see(status.read_text())
            time.sleep(0.2)
        if process.returncode:
            said.seek(0)
            raise SystemExit(said.read().decode()[-3000:])
    return peak, time.monotonic() - begun


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[10_000, 100_000])
    wanted = parser.parse_args().objects
    table = Table(title="driver of `lga score`")
    for heading in ("objects", "peak MB", "of its own, MB", "seconds"):
        table.add_column(heading, justify="right")
    with (
        tempfile.TemporaryDirectory(prefix="lga-bench-") as place,
        local_s3(Path(place) / "s3", buckets=("photographs", "tagged")) as server,
    ):
        os.environ.update(server.environment() | {"LGA_LOG_LEVEL": "warning"})
        forget_client()
        made = [photograph(number) for number in range(DISTINCT)]
        registry = Registry(str(Path(place) / "registry"))
        make_model(_JOB, made, registry, Path(place), ("fp32",))
        for objects in wanted:
            store = open_store(f"s3://photographs/{objects}")
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda n, at=store: at.put(f"{n:06d}.jpg", made[n % len(made)]), range(objects)))
            peak, seconds = peak_of(
                ["-m", "workers", "score", "--input", store.root, "--output", f"s3://tagged/{objects}", "--registry",
                 registry.uri, "--model", "tiny:1", "--engine", "onnxruntime", "--no-progress"]
            )  # fmt: skip
            table.add_row(str(objects), f"{peak.resident:.0f}", f"{peak.own:.0f}", f"{seconds:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
