"""A training on disk, to be continued or published: tensors as safetensors, the rest as JSON. Nothing is unpickled.

    weights.safetensors     the weights that are learned
    average.safetensors     their moving average, when the recipe has one
    optimiser.safetensors   Adam's memory
    validation.safetensors  what the network said about the validation split: enough to calibrate it
    state.json              finished epochs, history; goes last

There is no state of any random generator: what an epoch draws follows from the seed and its number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from workers.errors import WorkerError
from workers.train.loop import Training
from workers.train.validation import Outputs

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training came."""

    epoch: int
    """Finished epochs."""
    history: tuple[dict[str, Any], ...]
    """Figures of each finished epoch, as plain JSON."""
    scaler: dict[str, Any]
    """Loss scale of fp16; empty for other precisions."""


class CheckpointUnreadable(WorkerError):
    """A checkpoint of a run is damaged or from another release."""


def save_checkpoint(folder: Path, training: Training, outputs: Outputs, history: tuple[dict[str, Any], ...]) -> None:
    """Write everything that is needed to continue the training or to publish what it has learned."""
    save_file(_plain(training.network.state_dict()), folder / "weights.safetensors")
    if training.average is not None:
        save_file(_plain(training.average.module.state_dict()), folder / "average.safetensors")
    save_file(_optimiser_tensors(training.optimiser), folder / "optimiser.safetensors")
    arrays = {field.name: getattr(outputs, field.name) for field in fields(Outputs)}
    save_arrays(arrays, folder / "validation.safetensors")
    state = {"format": FORMAT, "epoch": training.epoch, "history": history, "scaler": training.scaler.state_dict()}
    (folder / "state.json").write_text(json.dumps(state, indent=2) + "\n")


def restore(folder: Path, training: Training) -> Progress:
    """Continue where a checkpoint stopped.

    Raises:
        CheckpointUnreadable: If it is damaged, or of another model.
    """
    progress = read_progress(folder)
    try:
        training.network.load_state_dict(load_file(folder / "weights.safetensors"))
        if training.average is not None:
            training.average.module.load_state_dict(load_file(folder / "average.safetensors"))
            # Zero would make the next update copy the weights over the average.
            training.average.n_averaged.fill_(progress.epoch * training.steps_per_epoch)
        _load_optimiser(training.optimiser, load_file(folder / "optimiser.safetensors"))
        if progress.scaler:
            training.scaler.load_state_dict(progress.scaler)
    except (OSError, RuntimeError, KeyError, ValueError, SafetensorError) as error:
        raise _unreadable(folder, error) from error
    training.epoch = progress.epoch
    return progress


def read_progress(folder: Path) -> Progress:
    """Read how far a checkpoint is. Errors as ``restore``."""
    try:
        state = json.loads((folder / "state.json").read_text())
        if state["format"] != FORMAT:
            raise CheckpointUnreadable(f"the checkpoint has format {state['format']}; this release reads {FORMAT}")
        return Progress(epoch=int(state["epoch"]), history=tuple(state["history"]), scaler=dict(state["scaler"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(folder, error) from error


def read_published_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights to publish: the moving average when there is one. Errors as ``restore``."""
    average = folder / "average.safetensors"
    try:
        return load_file(average if average.exists() else folder / "weights.safetensors")
    except (OSError, SafetensorError) as error:
        raise _unreadable(folder, error) from error


def read_outputs(folder: Path) -> Outputs:
    """Read what the network said about the validation split. Errors as ``restore``."""
    try:
        return Outputs(**load_arrays(folder / "validation.safetensors"))
    except (OSError, TypeError, SafetensorError) as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> CheckpointUnreadable:
    return CheckpointUnreadable(f"cannot read the checkpoint {folder}: {error}; start a new run without --run")


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
