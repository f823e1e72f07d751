"""What the tests disturb, and what they look at afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import psutil
from dirty_corpus import MAX_BYTES, MAX_PIXELS
from faulty_proxy import FaultyProxy

from workers.demo.local_s3 import LocalS3, local_s3
from workers.storage import make_bucket, open_store
from workers.tags import list_shards, read_shards

SHARD_ROWS = 15
OF_THE_RUN = ("run_id", "scored_at", "last_modified")
"""Columns in which two runs over the same objects differ."""


@dataclass
class Server:
    """An S3 server that can be killed and started again, behind one address that stays."""

    folder: Path
    proxy: FaultyProxy
    running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    now: LocalS3 | None = None

    def start(self) -> None:
        key = self.now.secret_key if self.now else None
        self.now = self.running.enter_context(local_s3(self.folder, secret_key=key))
        self.proxy.upstream = self.now.endpoint

    def kill(self, away_s: float) -> None:
        """SIGKILL; it is back after a while."""
        os.kill(self.now.pid, signal.SIGKILL)
        time.sleep(away_s)
        self.start()


def photograph(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", cv2.resize(coarse, (96, 72)))[1].tobytes()


@dataclass
class Scoring:
    """Starts ``lga score`` as a user would, each with a Ray of its own."""

    registry: str
    log: Path
    outputs: int = 0
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def output(self) -> str:
        """A fresh, empty output."""
        self.outputs += 1
        make_bucket(f"s3://tagged-{self.outputs}")
        return f"s3://tagged-{self.outputs}"

    def start(self, output: str, **environment: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-m", "workers", "score", "--input", "s3://photographs", "--output", output,
            "--registry", self.registry, "--model", "tiny:1", "--shard-rows", str(SHARD_ROWS), "--batch-size", "8",
            "--max-object-bytes", str(MAX_BYTES), "--max-image-pixels", str(MAX_PIXELS), "--no-progress",
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.started.append(subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log))
        return self.started[-1]

    def finish(self, output: str, tries: int = 6) -> None:
        """The same command again until it is done, as Kubernetes would."""
        codes = []
        while 0 not in codes:
            assert len(codes) < tries, f"ended with {codes}:\n{self.log.read_text()[-3000:]}"
            codes.append(self.start(output).wait(timeout=600))


def written_rows(output: str) -> list[dict]:
    """All rows under an output by key, without what names the run."""
    store = open_store(output)
    rows = [row for _, table in read_shards(store, list_shards(store)) for row in table.to_pylist()]
    kept = [{name: value for name, value in row.items() if name not in OF_THE_RUN} for row in rows]
    return sorted(kept, key=lambda row: row["key"])


def account(output: str) -> dict[str, int]:
    """The account of the one run under an output; the run is finished."""
    store = open_store(output)
    (record,) = [json.loads(store.get(info.key).data) for info in store.list("runs/") if info.key.endswith("/run.json")]
    assert "finished" == record["state"]
    return record["account"]


def children(process: subprocess.Popen[bytes], *words: str) -> list[psutil.Process]:
    """Descendants of a process whose command holds one of the words."""
    with contextlib.suppress(psutil.Error):
        found = psutil.Process(process.pid).children(recursive=True)
        return [one for one in found if any(word in line_of(one) for word in words)]
    return []


def line_of(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """End what a killed driver left behind: a killed container takes its Ray with it."""
    left = children(process, "")
    for one in [*left, psutil.Process(process.pid)] if process.poll() is None else left:
        with contextlib.suppress(psutil.Error):
            one.kill()
    process.wait()
