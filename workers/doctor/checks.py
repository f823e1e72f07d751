"""Checks of the machine: each tries the thing itself and says what came of it."""

from __future__ import annotations

import importlib.metadata
import platform
import uuid
from dataclasses import dataclass

from workers.engines import FASTEST_FIRST, backend
from workers.engines.gpu import present_gpu
from workers.errors import ConditionFailed, Stopped, WorkerError
from workers.registry import Registry
from workers.runtime import ray_session
from workers.settings.shared import Target
from workers.storage import open_store

PACKAGES = ("torch", "torchvision", "timm", "ray", "onnxruntime", "onnx", "pyarrow", "boto3", "simplejpeg")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the table."""

    part: str
    works: bool | None
    """True, False, or None for something that is not there."""
    detail: str
    needed: bool = True
    """Whether the machine is ill without it."""


def check_packages() -> list[Finding]:
    """The interpreter and the packages that everything stands on."""
    findings = [Finding(part="Python", works=True, detail=f"{platform.python_version()} on {platform.platform()}")]
    for name in PACKAGES:
        try:
            findings.append(Finding(part=name, works=True, detail=importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(part=name, works=False, detail="not installed; run: make setup"))
    return findings


def check_gpu() -> Finding:
    """The NVIDIA GPUs that torch sees; a machine may well have none."""
    try:
        import torch  # noqa: PLC0415 - seconds, and only this check needs it
    except (ImportError, OSError) as error:
        return Finding(part="GPU", works=False, detail=_cannot_be_loaded("torch", error))
    if not torch.cuda.is_available():
        return Finding(part="GPU", works=None, detail="none; engines run on the CPU", needed=False)
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Finding(part="GPU", works=True, detail=", ".join(names))


def check_ray() -> Finding:
    """A local Ray starts, runs a task, and stops."""
    try:
        import ray  # noqa: PLC0415
    except (ImportError, OSError) as error:
        return Finding(part="Ray", works=False, detail=_cannot_be_loaded("ray", error))
    try:
        with ray_session(None, cpus=1):
            answer = ray.get(ray.remote(num_cpus=1)(_six_times_seven).remote(), timeout=60)
            cores = ray.cluster_resources()["CPU"]  # type: ignore[no-untyped-call]
    except Stopped:
        raise
    except (WorkerError, ray.exceptions.RayError, TimeoutError) as error:
        return Finding(part="Ray", works=False, detail=str(error))
    return Finding(part="Ray", works=answer == _six_times_seven(), detail=f"started with {cores:g} CPU, ran a task")


def _six_times_seven() -> int:
    return 6 * 7


def _cannot_be_loaded(package: str, error: Exception) -> str:
    return f"{package} cannot be loaded ({error}); run: make setup"


def check_engines(wanted: str | None) -> list[Finding]:
    """Each engine target's runtime, asked itself; the one that was asked for is needed."""
    return [_check_engine(target, needed=wanted == target) for target in FASTEST_FIRST]


def _check_engine(target: Target, *, needed: bool) -> Finding:
    part = f"engine {target}"
    try:
        runtime = backend(target)
        detail = f"{runtime.version()}, computes in {', '.join(runtime.precisions())}"
        without_gpu = target.startswith("tensorrt") and present_gpu() is None
    except (ImportError, OSError) as error:
        detail = f"not installed ({error}); the extra [{target}] brings it"
        return Finding(part=part, works=None, detail=detail, needed=needed)
    if without_gpu:
        return Finding(part=part, works=None, detail=f"{detail}; no GPU here to run on", needed=needed)
    return Finding(part=part, works=True, detail=detail, needed=needed)


def check_registry(uri: str) -> Finding:
    """Look into a registry; nothing is written to it."""
    part = f"registry {uri}"
    try:
        names = Registry(uri).names()
    except Stopped:
        raise
    except WorkerError as error:
        return Finding(part=part, works=False, detail=str(error))
    return Finding(part=part, works=True, detail=f"models: {', '.join(names) or 'none yet; `lga train` publishes one'}")


def check_store(uri: str) -> Finding:
    """Write, read back, write conditionally, list and delete one small object."""
    key = f"lga-doctor-{uuid.uuid4().hex}"
    part = f"store {uri}"
    try:
        store = open_store(uri)
        store.put(key, b"hello", if_absent=True)
        try:
            same = store.get(key).data == b"hello" and any(info.key == key for info in store.list(key))
            refused = _second_write_is_refused(uri, key)
        finally:
            store.delete(key)
    except Stopped:
        raise
    except WorkerError as error:
        return Finding(part=part, works=False, detail=str(error))
    if not same:
        return Finding(part=part, works=False, detail="what was written is not what is read back or listed")
    if not refused:
        return Finding(part=part, works=False, detail="no conditional writes (If-None-Match); exactly-once needs them")
    return Finding(part=part, works=True, detail="written, read back, listed, conditional write refused, deleted")


def _second_write_is_refused(uri: str, key: str) -> bool:
    try:
        open_store(uri).put(key, b"again", if_absent=True)
    except ConditionFailed:
        return True
    return False
