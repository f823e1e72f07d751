"""Bulk tagging against other ways to do it: same S3 server, same photographs, same weights, same outputs.

Two jobs: decode-bound (1.2-megapixel JPEGs, a light network at 224) and model-bound (ResNet-50 at 448). Each system is
a program of its own and takes its turn in each round; the figures are medians over the rounds. Labels have to agree
with ours on PyTorch for 99.9 % of the photographs, or the speed of that system is void.

    python benchmarks/score.py [decode-bound] [model-bound] [--rounds 3] [--images N] [--only NAME ...]

Columns. images/s: of the whole command, its start and end included. Under way: of the rows after the first batch, by
the time at which each was scored. CPU s: of the command and all its descendants, Ray's own processes too, for 1000
images. Memory: their largest sum, shared pages counted once. First row: from the start of the command.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from contest import DISTINCT, JOBS, PRECISIONS, Job, engines, make_model, photograph
from rich.console import Console
from rich.table import Table

from workers.demo.local_s3 import local_s3
from workers.registry import Registry
from workers.storage import Store, forget_client, open_store

CORES = os.cpu_count() or 1
AGREEMENT = 0.999
RIVALS = Path(__file__).parent / "rivals"
_LOOK_AT_TIMES_S, _LOOK_AT_MEMORY_S = 0.4, 4.0  # Looking takes CPU time from what is looked at.


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run of one system."""

    rate: float
    under_way: float
    cpu_s: float
    memory_mb: float
    first_row_s: float
    efficiency: float
    agreement: float


def systems(job: Job, bundle: Path, registry: str) -> dict[str, list[str]]:
    """The command of each system; SOURCE and OUTPUT stand for bucket and prefix."""
    rival = ["SOURCE", "OUTPUT", str(bundle), str(job.size_px), str(CORES)]
    ours = ["-m", "workers", "score", "--input", "s3://SOURCE", "--output", "s3://OUTPUT", "--registry", registry,
            "--no-progress", "--log-level", "warning"]  # fmt: skip
    found = {
        f"ours, {target} {precision}": [*ours, "--model", f"{job.name}:{version}", "--engine", target]
        for version, precision in enumerate(PRECISIONS, start=1)
        for target in reversed(engines(precision))
    }
    found |= {
        "Ray Data read_images": [str(RIVALS / "ray_read_images.py"), *rival],
        "Ray Data download()": [str(RIVALS / "ray_download.py"), *rival],
        "DataLoader": [str(RIVALS / "dataloader.py"), *rival],
    }
    if importlib.util.find_spec("daft"):
        found["Daft"] = [str(RIVALS / "daft_download.py"), *rival]
    return found


def measure(command: list[str], source: str, output: Store, images: int, wanted: dict[str, int]) -> Outcome:
    """Run a command to its end, watch what it uses, and read what it wrote."""
    words = [word.replace("SOURCE", source).replace("OUTPUT", output.root.removeprefix("s3://")) for word in command]
    with tempfile.TemporaryFile() as said:
        started = time.time()
        process = subprocess.Popen([sys.executable, *words], stdout=said, stderr=said)  # noqa: S603 - our own programs
        cpu_s, memory_mb = _watch(process)
        elapsed_s = time.time() - started
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{words}\nended with {process.returncode}:\n{said.read().decode()[-3000:]}")
    labels, moments, efficiency = _read(output)
    if not wanted:
        wanted.update(labels)
    first = min(moments)
    later = sorted(moment for moment in moments if moment > first)
    return Outcome(
        rate=images / elapsed_s,
        under_way=len(later) / (later[-1] - first) if later else float("nan"),
        cpu_s=cpu_s * 1000 / images,
        memory_mb=memory_mb,
        first_row_s=first - started,
        efficiency=efficiency,
        agreement=sum(wanted[key] == labels.get(key) for key in wanted) / images,
    )


def _watch(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """CPU seconds and the most memory (MB) of a process and its descendants."""
    root, seen, most, looked = psutil.Process(process.pid), dict[tuple[int, float], float](), 0.0, 0.0
    while process.poll() is None:
        heavy = time.monotonic() - looked > _LOOK_AT_MEMORY_S
        total = 0.0
        try:
            family = [root, *root.children(recursive=True)]
        except psutil.Error:
            break
        for one in family:
            try:
                times = one.cpu_times()
                seen[one.pid, one.create_time()] = times.user + times.system
                total += one.memory_full_info().pss if heavy else 0
            except psutil.Error:
                continue  # It has just ended.
        if heavy:
            most, looked = max(most, total), time.monotonic()
        time.sleep(_LOOK_AT_TIMES_S)
    process.wait()
    return sum(seen.values()), most / 1e6


def _read(output: Store) -> tuple[dict[str, int], list[float], float]:
    """Label of each object, when each was scored, and the efficiency where the run reports one."""
    labels: dict[str, int] = {}
    moments: list[float] = []
    efficiency = float("nan")
    for info in output.list():
        data = output.get(info.key).data
        if info.key.endswith("/run.json"):
            speed = json.loads(data)["attempts"][-1]["speed"]
            efficiency = speed["efficiency"] if speed else efficiency
        if not info.key.endswith(".parquet") or info.key.startswith("runs/"):
            continue
        rows = pq.ParquetFile(pa.BufferReader(data)).read().to_pydict()
        paths = rows.get("key") or rows["path"]
        labels |= {Path(path).name: label for path, label in zip(paths, rows["label_index"], strict=True)}
        moments += [at.timestamp() if isinstance(at, datetime) else at for at in rows["scored_at"]]
    return labels, moments, efficiency


def show(job: Job, outcomes: dict[str, list[Outcome]], images: int) -> None:
    """Print the medians."""
    rounds = max(len(found) for found in outcomes.values())
    table = Table(
        title=f"{job.name}: {job.backbone} at {job.size_px}, {images} photographs, medians of {rounds} rounds"
    )
    headings = ("images/s", "under way", "CPU s", "memory MB", "first row s", "efficiency", "labels agree")
    table.add_column("system")
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, found in outcomes.items():
        middle = {field: statistics.median(getattr(one, field) for one in found) for field in asdict(found[0])}
        numbers = [f"{value:.3g}" if value == value else "" for value in middle.values()]  # noqa: PLR0124 - NaN
        void = middle["agreement"] < AGREEMENT
        table.add_row(name + (" (void)" if void else ""), *numbers[:-1], f"{middle['agreement']:.4f}")
    Console(width=130).print(table)


def main() -> None:
    """Measure and print one table for each job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", default=[job.name for job in JOBS])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, help="objects; as many as the job asks for when left out")
    parser.add_argument("--only", action="append", help="a system, by the start of its name")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lga-bench-") as place:
        work = Path(place)
        with local_s3(work / "s3", buckets=("photographs", "tagged")) as server:
            os.environ.update(server.environment() | {"LGA_LOG_LEVEL": "warning"})
            forget_client()
            made = [photograph(number) for number in range(DISTINCT)]
            registry = Registry(str(work / "registry"))
            for job in (job for job in JOBS if job.name in asked.jobs):
                photographs = open_store(f"s3://photographs/{job.name}")
                images = asked.images or job.images
                for number in range(images):
                    photographs.put(f"{number:05d}.jpg", made[number % DISTINCT])
                bundle = make_model(job, made, registry, work)
                run(job, images, bundle, registry.uri, asked)


def run(job: Job, images: int, bundle: Path, registry: str, asked: argparse.Namespace) -> None:
    """All systems of one job, in rounds."""
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    wanted: dict[str, int] = {}
    for number in range(asked.rounds):
        for name, command in systems(job, bundle, registry).items():
            if asked.only and not any(name.startswith(start) for start in asked.only):
                continue
            output = open_store(f"s3://tagged/{job.name}-{number}-{len(outcomes)}-{name.replace(' ', '-')}")
            outcome = measure(command, f"photographs/{job.name}", output, images, wanted)
            outcomes[name].append(outcome)
            print(f"round {number + 1}, {name}: {outcome}", file=sys.stderr, flush=True)
    show(job, outcomes, images)


if __name__ == "__main__":
    main()
