"""A training as files, to be continued or published: tensors as safetensors, the rest as JSON. Nothing is unpickled.

    weights.safetensors     the weights that are learned
    average.safetensors     their moving average, when the recipe has one
    optimiser.safetensors   Adam's memory
    validation.safetensors  what the network said about the validation split, at the end of an epoch: calibrates it
    state.json              how far the training is, and the digest of each file; goes last

There is no state of any random generator and of no schedule: what a step draws and how fast it learns follow from the
seed and its number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load, save
from torch import Tensor
from torch.optim import Optimizer

from workers.errors import WorkerError
from workers.train.loop import Training
from workers.train.monitor import Work
from workers.train.validation import Outputs

FORMAT = 2
STATE_FILE = "state.json"
_WEIGHTS, _AVERAGE = "weights.safetensors", "average.safetensors"
_OPTIMISER, _VALIDATION = "optimiser.safetensors", "validation.safetensors"

Files = Mapping[str, bytes]
"""A checkpoint, by name of the file."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training came."""

    epoch: int
    """Finished epochs."""
    position: int
    """Finished steps of the epoch after them; 0 at the end of an epoch."""
    history: tuple[dict[str, Any], ...]
    """Figures of each finished epoch, as plain JSON."""
    work: Work
    """Sums over the steps of the unfinished epoch."""
    scaler: dict[str, Any]
    """Loss scale of fp16; empty for other precisions."""
    digests: dict[str, str]
    """sha256 of each other file."""

    @property
    def map(self) -> float | None:
        """Validation mAP of these weights; None in the middle of an epoch."""
        return None if self.position or not self.history else float(self.history[-1]["map"] or 0.0)


class CheckpointUnreadable(WorkerError):
    """A checkpoint of a run is damaged or from another release."""


def pack(training: Training, history: tuple[dict[str, Any], ...], work: Work, outputs: Outputs | None) -> Files:
    """Everything that is needed to continue the training, and with ``outputs`` to publish what it has learned."""
    files = {
        _WEIGHTS: save(_plain(training.network.state_dict())),
        _OPTIMISER: save(_optimiser_tensors(training.optimiser)),
    }
    if training.average is not None:
        files[_AVERAGE] = save(_plain(training.average.module.state_dict()))
    if outputs is not None:
        files[_VALIDATION] = save_arrays({field.name: getattr(outputs, field.name) for field in fields(Outputs)})
    state = {
        "format": FORMAT,
        "epoch": training.epoch,
        "position": training.position,
        "history": history,
        "work": asdict(work),
        "scaler": training.scaler.state_dict(),
        "digests": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    return files | {STATE_FILE: (json.dumps(state, indent=2) + "\n").encode()}


def restore(files: Files, training: Training) -> Progress:
    """Continue where a checkpoint stopped.

    Raises:
        CheckpointUnreadable: If it is damaged, or of another model.
    """
    progress = read_progress(files[STATE_FILE])
    try:
        training.network.load_state_dict(load(files[_WEIGHTS]))
        if training.average is not None:
            training.average.module.load_state_dict(load(files[_AVERAGE]))
            # Zero would make the next update copy the weights over the average.
            training.average.n_averaged.fill_(progress.epoch * training.steps_per_epoch + progress.position)
        _load_optimiser(training.optimiser, load(files[_OPTIMISER]))
        if progress.scaler:
            training.scaler.load_state_dict(progress.scaler)
    except (RuntimeError, KeyError, ValueError, SafetensorError) as error:
        raise _unreadable(error) from error
    training.epoch, training.position = progress.epoch, progress.position
    return progress


def read_progress(state: bytes) -> Progress:
    """Read how far a checkpoint is, from its ``state.json``. Errors as ``restore``."""
    try:
        document = json.loads(state)
        if document["format"] != FORMAT:
            raise CheckpointUnreadable(
                f"the checkpoint has format {document['format']}; this release reads {FORMAT}. "
                "Continue with the release that wrote it, or start a new run without --run"
            )
        return Progress(
            epoch=int(document["epoch"]),
            position=int(document["position"]),
            history=tuple(document["history"]),
            work=Work(**document["work"]),
            scaler=dict(document["scaler"]),
            digests=dict(document["digests"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(error) from error


def read_published_weights(files: Files) -> dict[str, Tensor]:
    """Read the weights to publish: the moving average when there is one. Errors as ``restore``."""
    try:
        return load(files[_AVERAGE] if _AVERAGE in files else files[_WEIGHTS])
    except (KeyError, SafetensorError) as error:
        raise _unreadable(error) from error


def read_outputs(files: Files) -> Outputs:
    """Read what the network said about the validation split. Errors as ``restore``."""
    try:
        return Outputs(**load_arrays(files[_VALIDATION]))
    except (KeyError, TypeError, SafetensorError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> CheckpointUnreadable:
    return CheckpointUnreadable(f"cannot read the checkpoint: {error}; start a new run without --run")


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _optimiser_tensors(optimiser: Optimizer) -> dict[str, Tensor]:
    state: dict[int, dict[str, Tensor]] = optimiser.state_dict()["state"]
    return _plain({f"{index}.{name}": tensor for index, kept in state.items() for name, tensor in kept.items()})


def _load_optimiser(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for number, parameter in enumerate(parameters):
        for name, tensor in state.get(number, {}).items():
            # As the optimiser itself would have made it: in the order of memory of a channels_last weight.
            if tensor.shape == parameter.shape:
                state[number][name] = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
