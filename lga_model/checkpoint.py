"""A model on disk: ``model.safetensors`` and ``model.json``. Versioned, digested; nothing is ever unpickled.

A checkpoint is untrusted input. What this release does not know it refuses, with the file, the field and the way out.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from lga_model.calibration import Calibration
from lga_model.config import ModelConfig, Recipe
from lga_model.images import PREPROCESSING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from lga_model.network import LGANet

WEIGHTS_FILE = "model.safetensors"
RECORD_FILE = "model.json"
FORMAT = 1
"""Version of the layout of ``model.json``. A new optional field keeps it; a change of meaning raises it."""

_DIGEST = "weights_sha256"


class CheckpointError(ValueError):
    """A checkpoint is damaged, incomplete, or from another release."""


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """Everything about a model but its weights."""

    config: ModelConfig
    recipe: Recipe
    calibration: Calibration
    preprocessing: str
    """Name of the preprocessing that the model was trained with: scoring must use the same."""
    format: int = FORMAT


_RECORD = TypeAdapter(ModelRecord)


def save_model(directory: Path, network: LGANet, record: ModelRecord) -> None:
    """Write weights and record into ``directory``, which is made when needed.

    The record goes last and names the digest of the weights: a reader trusts only what it names, so a write cut
    short anywhere leaves no checkpoint, the old one, or one that is refused; never a wrong one.

    Raises:
        CheckpointError: If the record does not describe the network.
    """
    from safetensors.torch import save  # noqa: PLC0415 -- read_record needs no torch

    if network.config != record.config:
        raise CheckpointError(f"the record for {directory} describes another network than the one to save")
    directory.mkdir(parents=True, exist_ok=True)
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()})
    document = {**_RECORD.dump_python(record, mode="json"), _DIGEST: hashlib.sha256(weights).hexdigest()}
    _write_whole(directory / WEIGHTS_FILE, weights)
    _write_whole(directory / RECORD_FILE, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def read_record(directory: Path) -> ModelRecord:
    """Read what a model is, without its weights and without torch.

    Raises:
        CheckpointError: If the record is missing, damaged, or from another release.
    """
    record, _ = _read_record(directory / RECORD_FILE)
    return record


def load_model(directory: Path) -> tuple[LGANet, ModelRecord]:
    """Build the network of a checkpoint, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: If anything is missing, damaged, from another release, or does not fit together.
    """
    from safetensors import SafetensorError  # noqa: PLC0415 -- read_record needs no torch
    from safetensors.torch import load  # noqa: PLC0415

    from lga_model.backbones import BackboneError  # noqa: PLC0415
    from lga_model.network import build_network  # noqa: PLC0415

    record, digest = _read_record(directory / RECORD_FILE)
    path = directory / WEIGHTS_FILE
    weights = _read(path)
    # The digest goes before the parser, and over the very bytes that are parsed.
    if hashlib.sha256(weights).hexdigest() != digest:
        raise CheckpointError(f"{path} is not the file that {RECORD_FILE} names (sha256 differs): copy both again")
    try:
        tensors = load(weights)
        network = build_network(record.config)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error
    except BackboneError as error:
        raise CheckpointError(f"{directory / RECORD_FILE}: config.backbone: {error}") from error
    _check_tensors(path, tensors, network.state_dict())
    network.load_state_dict(tensors)
    return network.eval(), record


def check_preprocessing(record: ModelRecord) -> None:
    """Refuse a model whose photographs this release would prepare in another way than it learnt from.

    Raises:
        CheckpointError: If it would.
    """
    if record.preprocessing != PREPROCESSING:
        raise CheckpointError(
            f"it learnt from photographs prepared as {record.preprocessing!r}, and this release prepares them as "
            f"{PREPROCESSING!r}: use the release that trained it"
        )


def _read_record(path: Path) -> tuple[ModelRecord, str]:
    """Read the record and the digest of its weights."""
    try:
        document = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}): copy the checkpoint again") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} holds no model record: copy the checkpoint again")
    version = document.get("format")
    if version != FORMAT:
        raise CheckpointError(
            f"{path}: format: this release reads {FORMAT}, not {version!r}: use the one that wrote it"
        )
    digest = document.pop(_DIGEST, None)
    if not isinstance(digest, str):
        raise CheckpointError(f"{path}: {_DIGEST}: missing: copy the checkpoint again")
    try:
        record = _RECORD.validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise CheckpointError(f"{path}: {field}: {reason}: use the release that wrote it") from error
    if unknown := _first_unknown(document, _RECORD.dump_python(record, mode="json")):
        raise CheckpointError(f"{path}: {unknown}: unknown to this release: use the one that wrote it")
    return record, digest


def _first_unknown(document: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> str | None:
    """Find a field that was read but means nothing to the record."""
    for key, value in document.items():
        if key not in known:
            return prefix + key
        if isinstance(value, dict) and (unknown := _first_unknown(value, known[key], f"{prefix}{key}.")):
            return unknown
    return None


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not exactly those of the network."""
    for name in sorted(tensors.keys() ^ expected.keys()):
        fault = "is missing" if name in expected else "is unknown"
        raise CheckpointError(f"{path}: tensor {name!r} {fault}: the weights are another model's or another release's")
    for name, tensor in tensors.items():
        ours = expected[name]
        if (tensor.shape, tensor.dtype) != (ours.shape, ours.dtype):
            raise CheckpointError(
                f"{path}: tensor {name!r} is {tensor.dtype} {list(tensor.shape)}, but the record describes "
                f"{ours.dtype} {list(ours.shape)}",
            )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}: is this the directory of a model?") from error


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that is either not there, or whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
