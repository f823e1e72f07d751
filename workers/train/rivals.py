"""What the gate compares: the candidate's outputs on the validation split, and those of the production model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import ray
import torch

from lga_model.calibration import Calibration, expected_calibration_error
from lga_model.checkpoint import CheckpointError, check_preprocessing, load_model
from workers.errors import ClusterError, SettingsError, WorkerError
from workers.logs import get_log
from workers.patience import patiently
from workers.registry import Registry, Version
from workers.settings import TrainSettings
from workers.train.bundle import Best
from workers.train.data import ImageSource, Loader, patient_reader, validation_order
from workers.train.dataset import Sample
from workers.train.gate import Decision, Judged, Rule, decide
from workers.train.preparation import Prepared
from workers.train.validation import Outputs, summarise, validate

_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A model's outputs on those photographs of the validation split whose action it knows."""

    model: str
    classes: tuple[str, ...]
    calibration: Calibration
    outputs: Outputs


def hold_against_production(best: Best, prepared: Prepared, settings: TrainSettings) -> Decision:
    """Measure the production model, where there is one, and let the gate decide.

    Raises:
        WorkerError: If it cannot be found, loaded or run.
    """
    if not settings.gate:
        return Decision(against=None, images=0, checks=(), gain=None)
    patience_s = settings.storage_patience_s
    version = patiently(
        lambda: find_production(Registry(settings.registry), settings.name, settings.gate_alias), patience_s
    )
    production = None
    if version is not None:
        classes = prepared.plan.config.classes
        production = measure(
            settings.registry, version, prepared.splits.val, classes, gpu=settings.gpu, patience_s=patience_s
        )
    candidate = Rival(
        model="candidate",
        classes=prepared.plan.config.classes,
        calibration=best.calibration,
        outputs=best.outputs.people,
    )
    met = None if production is None else meet(candidate, production)
    decision = decide(Rule.of(settings), judge(candidate), met)
    get_log().info(
        "train.gate_decided", against=decision.against, passed=decision.passed, images=decision.images,
        refused_by=[check.name for check in decision.checks if not check.passed],
    )  # fmt: skip
    return decision


def find_production(registry: Registry, name: str, alias: str) -> Version | None:
    """The version that the alias points at; None when there is no such alias, or no such model yet.

    Raises:
        SettingsError: If it points at a version that is not there.
    """
    if alias not in registry.aliases(name):
        return None
    return registry.resolve(f"{name}@{alias}")


def measure(
    registry: str,
    version: Version,
    samples: Sequence[Sample],
    classes: tuple[str, ...],
    *,
    gpu: bool,
    patience_s: float = 0.0,
) -> Rival:
    """Run a published model over the validation split, on the cluster.

    Args:
        registry: URI or path, as every node reaches it.
        version: The model.
        samples: The validation split; unusable images are left out.
        classes: Names of the samples' actions.
        gpu: Whether it may take a GPU.
        patience_s: Seconds that storage may be away.

    Raises:
        SettingsError: If the model cannot be loaded, or knows none of the actions.
        StorageError: If it cannot be fetched.
        ClusterError: If Ray cannot run it.
    """
    task = ray.remote(num_cpus=1, num_gpus=1 if gpu else 0, max_retries=2)(_measure)
    try:
        rival: Rival = ray.get(task.remote(registry, version, samples, classes, patience_s))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", error)
        if isinstance(cause, WorkerError):
            raise cause from None
        raise ClusterError(f"{version} could not be measured for the gate: {cause}; --no-gate leaves it out") from error
    return rival


def _measure(
    registry: str, version: Version, samples: Sequence[Sample], classes: tuple[str, ...], patience_s: float
) -> Rival:
    try:
        network, record = load_model(patiently(lambda: Registry(registry).fetch(version), patience_s))
        check_preprocessing(record)
    except CheckpointError as error:
        raise SettingsError(f"the gate cannot load {version}: {error}; --no-gate leaves it out") from error
    known = record.config.classes
    # The number of a sample stays its number in the whole split: the rival's outputs meet by it.
    numbers = [number for number, sample in enumerate(samples) if classes[sample.action] in known]
    if not numbers:
        raise SettingsError(f"{version} knows none of the actions that are validated; --no-gate publishes without it")
    chosen = [
        dataclasses.replace(samples[number], action=known.index(classes[samples[number].action])) for number in numbers
    ]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loader = Loader(
        chosen,
        ImageSource(record.config.image.size_px, cache_bytes=0, read=patient_reader(patience_s)),
        network.feature_size,
        skip_invalid=True,
        threads=torch.get_num_threads(),
    )
    outputs = validate(
        network.to(device), loader.validation(validation_order(len(chosen), _BATCH, 0, 1)), "fp32", device
    )
    if outputs is None:
        raise SettingsError("no validation image can be used; see train.image_skipped in the log for why")
    return Rival(
        model=str(version),
        classes=known,
        calibration=record.calibration,
        outputs=dataclasses.replace(outputs, index_N=np.array(numbers)[outputs.index_N]),
    )


def judge(rival: Rival) -> Judged:
    """What a model said about all of its photographs."""
    outputs = rival.outputs
    probabilities_NA = rival.calibration.probabilities(outputs.logits_NA)
    scores = summarise(outputs)
    return Judged(
        model=rival.model,
        classes=rival.classes,
        actions=[rival.classes[action] for action in outputs.action_N],
        probabilities_NA=probabilities_NA,
        focus=scores.focus,
        has_heatmap=scores.dead_heatmaps < 1,
        mask_iou=scores.mask_iou,
        calibration_error=expected_calibration_error(probabilities_NA, outputs.action_N),
    )


def meet(candidate: Rival, production: Rival) -> tuple[Judged, Judged]:
    """What each model said about the photographs that both have judged, of actions that both know.

    Raises:
        SettingsError: If there are none.
    """
    known = [candidate.classes.index(name) for name in candidate.classes if name in production.classes]
    common_N = candidate.outputs.index_N[np.isin(candidate.outputs.action_N, known)]
    common_N = np.intersect1d(common_N, production.outputs.index_N)
    if not len(common_N):
        raise SettingsError(
            f"the candidate and {production.model} have judged no validation photograph both; train.image_skipped in "
            "the log says which could not be used; --no-gate publishes without the comparison"
        )
    if len(common_N) < len(candidate.outputs.index_N):
        get_log().info("train.gate_narrowed", images=len(common_N), of=len(candidate.outputs.index_N))
    return judge(_only(candidate, common_N)), judge(_only(production, common_N))


def _only(rival: Rival, index_N: np.ndarray) -> Rival:
    chosen_N = np.isin(rival.outputs.index_N, index_N)
    outputs = Outputs(
        **{field.name: getattr(rival.outputs, field.name)[chosen_N] for field in dataclasses.fields(Outputs)}
    )
    return dataclasses.replace(rival, outputs=outputs)
