"""``lga demo``: the whole loop on this machine, as the commands that a user would type.

Each step is one ``lga`` command, shown before it runs, against a real S3 server that lives as long as the demo. What
it leaves behind (scenes, registry, tags, figures) are plain files under ``--workdir``.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from lga_model.annotations import Annotation
from workers.console import result_console
from workers.demo.local_s3 import local_s3
from workers.errors import SettingsError, WorkerError
from workers.manifest import load_manifest
from workers.settings import DemoSettings
from workers.storage import forget_client, open_store, read_uri

BUCKET = "s3://photographs"
SIZE_PX = 128
LABELS = "select label, count(*) as photographs, round(avg(confidence), 3) as confidence, round(avg(focus), 3) as focus"
FAILURES = "select reason, key, detail from tags where status = 'failed' order by reason"

_LEADING_ELSEWHERE = {
    "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "MLFLOW_TRACKING_URI",
}  # fmt: skip
"""Beside the settings (``LGA_*``): with them boto3 would not use the demo's own keys and server."""

# What every real bucket holds as well.
STRAY_OBJECTS = {
    "scenes/empty.jpg": b"",
    "scenes/notes.txt": b"These are the photographs of Tuesday.\n",
    "scenes/page.jpg": b"<html><body>404 Not Found</body></html>",
}


def demo(settings: DemoSettings) -> int:
    """Prepare, train twice (without and with the mask loss), compile, promote, tag a bucket, ask, report."""
    started = time.monotonic()
    work = _workdir(settings.workdir)
    _forget_other_places()
    with local_s3(work / "s3", buckets=(BUCKET.removeprefix("s3://"),)) as server:
        os.environ.update(server.environment())
        forget_client()
        shell = _Shell(work, settings)
        manifest = work / "scenes" / "manifest.parquet"
        shell.lga(
            "prepare misleading", "--root", manifest.parent, "--train", settings.train, "--val", settings.train // 4,
            "--test", settings.test, "--seed", settings.seed,
        )  # fmt: skip
        for name, weight in (("without-mask", 0), ("with-mask", 1)):
            _train_and_measure(shell, name, weight, manifest)
        shell.lga("compile", "--model", "with-mask:1", "--target", "onnxruntime")
        shell.lga("models promote", "--model", "with-mask:1")
        photographs = load_manifest(str(manifest)).split("test")
        _upload(photographs)
        _score_and_ask(shell, manifest)
        _report(shell, manifest)
    _summarise(work, time.monotonic() - started)
    return 0


def _forget_other_places() -> None:
    """Take from this process, and so from its children, the variables that would lead them elsewhere than the demo."""
    for name in list(os.environ):
        if name in _LEADING_ELSEWHERE or name.startswith("LGA_"):
            del os.environ[name]


def _workdir(path: Path) -> Path:
    path = path.absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise SettingsError(f"{path} is not empty; remove it (or `make clean`), or choose another --workdir")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot make {path}: {error.strerror}; choose another --workdir") from error
    return path


class _Shell:
    """Types ``lga`` commands, and shows them."""

    def __init__(self, work: Path, settings: DemoSettings) -> None:
        self.work, self.settings = work, settings
        self.registry = work / "registry"

    def lga(self, command: str, *arguments: object) -> None:
        """Run one command to its end; its output is the user's to see."""
        words = [*command.split(), *(str(argument) for argument in arguments)]
        print(f"\n$ lga {shlex.join(words)}", flush=True)
        quiet = {"LGA_LOG_LEVEL": "warning", "LGA_REGISTRY": str(self.registry)}
        process = subprocess.Popen([sys.executable, "-m", "workers", *words], env=os.environ | quiet)  # noqa: S603
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if code:
            error = WorkerError(f"the demo stopped: `lga {command}` ended with exit code {code}")
            error.exit_code = code
            raise error


def _train_and_measure(shell: _Shell, name: str, mask_weight: int, manifest: Path) -> None:
    settings = shell.settings
    shell.lga(
        "train", "--manifest", manifest, "--name", name, "--output", shell.work / "training",
        "--backbone", "tf_efficientnet_lite0", "--weights", "package", "--size-px", SIZE_PX, "--output-stride", 16,
        "--epochs", settings.epochs, "--mask-weight", mask_weight,
        "--seed", settings.seed, *_bars(settings),
    )  # fmt: skip
    shell.lga(
        "evaluate", "--model", f"{name}:1", "--manifest", manifest, "--json-output", shell.work / f"{name}.json",
        *_bars(settings),
    )  # fmt: skip


def _bars(settings: DemoSettings) -> list[str]:
    return [] if settings.progress is None else ["--progress" if settings.progress else "--no-progress"]


def _upload(photographs: tuple[Annotation, ...]) -> None:
    bucket = open_store(BUCKET)
    for photograph in photographs:
        bucket.put(f"scenes/{Path(photograph.image).name}", read_uri(photograph.image))
    first = read_uri(photographs[0].image)
    for key, data in {**STRAY_OBJECTS, "scenes/cut-off.jpg": first[: len(first) // 2]}.items():
        bucket.put(key, data)
    print(f"\nuploaded {len(photographs)} photographs and {len(STRAY_OBJECTS) + 1} stray objects to {BUCKET}")


def _score_and_ask(shell: _Shell, manifest: Path) -> None:
    tagging = ["--input", f"{BUCKET}/scenes", "--output", shell.work / "tagged", "--model", "with-mask@production"]
    shell.lga("score", *tagging, "--shard-rows", 128, *_bars(shell.settings))
    # Of this run: the next one has only the strays, which failed, to try again.
    shell.lga("report", "--output", shell.work / "tagged", "--html", shell.work / "run.html")
    print("\nAgain: no photograph is scored twice.")
    shell.lga("score", *tagging, *_bars(shell.settings))
    shell.lga("runs list", "--output", shell.work / "tagged")
    shell.lga("tags query", "--output", shell.work / "tagged", f"{LABELS} from tags where status = 'ok' group by label")
    shell.lga("tags query", "--output", shell.work / "tagged", FAILURES)
    shell.lga(
        "tags evaluate", "--output", shell.work / "tagged", "--manifest", manifest,
        "--json-output", shell.work / "tags.json",
    )  # fmt: skip


def _report(shell: _Shell, manifest: Path) -> None:
    shell.lga(
        "report", "--compare", "without-mask:1", "with-mask:1", "--manifest", manifest,
        "--evaluation", shell.work / "without-mask.json", shell.work / "with-mask.json",
        "--html", shell.work / "models.html",
    )  # fmt: skip


def _summarise(work: Path, elapsed_s: float) -> None:
    without, with_mask, tags = (_figures(work / f"{name}.json") for name in ("without-mask", "with-mask", "tags"))
    run = max((work / "tagged" / "runs").glob("*/run.json"), key=_images_per_s)
    table = Table(title="On scenes whose surroundings mislead", title_justify="left")
    for column in ("", "without mask loss", "with mask loss"):
        table.add_column(column, justify="left" if not column else "right")
    for title, figure in (("mAP", "mean_average_precision"), ("top-1", "top1"), ("focus in the true box", "focus")):
        table.add_row(title, f"{without[figure]:.3f}", f"{with_mask[figure]:.3f}")
    table.add_row("mAP from the written tags", "", f"{tags['mean_average_precision']:.3f}")
    table.add_row("tagging, images/s", "", f"{_images_per_s(run):.1f}")
    print()
    result_console().print(table)
    print(f"{elapsed_s / 60:.1f} minutes. Look at:")
    for title, place in (
        ("scenes and manifest", work / "scenes"),
        ("models and engines", work / "registry"),
        ("tags (Parquet) and runs", work / "tagged"),
        ("the run, to look at", work / "run.html"),
        ("both models, to look at", work / "models.html"),
    ):
        print(f"  {title:<26}{place}")


def _figures(path: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(path.read_text())
    return figures


def _images_per_s(run: Path) -> float:
    return max((float(attempt["images_per_s"]) for attempt in _figures(run)["attempts"]), default=0.0)
