"""A finished run in MLflow, where ``MLFLOW_TRACKING_URI`` names a server. Beside the registry, never in its place."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.errors import SettingsError
from workers.logs import get_log


def check_tracking(uri: str | None) -> None:
    """See before the training whether MLflow is installed, when it is asked for.

    Raises:
        SettingsError: If it is not.
    """
    if uri is not None and importlib.util.find_spec("mlflow") is None:
        raise SettingsError(
            "MLFLOW_TRACKING_URI is set, but MLflow is not installed: install lga-tagger[mlflow], or unset it"
        )


def track(uri: str | None, model: str, run: str, bundle: Path, facts: Mapping[str, Any]) -> bool:
    """Log a run: settings, every figure of every epoch, and the two JSON files of the version.

    The version is published already: whatever MLflow answers is logged, and costs nothing.

    Args:
        uri: Of the server or store; None logs nothing.
        model: Name of the experiment.
        run: Name of the run.
        bundle: Folder with ``metrics.json`` and ``training.json``.
        facts: ``settings``, ``history`` and ``version``.

    Returns:
        Whether it was logged.
    """
    if uri is None:
        return False
    mlflow = importlib.import_module("mlflow")
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(model)
        number = client.create_experiment(model) if experiment is None else experiment.experiment_id
        logged = client.create_run(number, run_name=run, tags={"version": str(facts["version"])})
        for name, value in facts["settings"].items():
            client.log_param(logged.info.run_id, name, value)
        for step, name, value in _figures(facts["history"]):
            client.log_metric(logged.info.run_id, name, value, step=step)
        for file in ("metrics.json", "training.json"):
            client.log_artifact(logged.info.run_id, str(bundle / file))
        client.set_terminated(logged.info.run_id)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        get_log().warning("train.tracking_failed", uri=_without_user(uri), reason=_without_user(reason))
        return False
    return True


def _without_user(text: str) -> str:
    """Text without the names and passwords of the addresses in it."""
    return re.sub(r"://[^/@\s]+@", "://", text)


def _figures(history: Sequence[Mapping[str, Any]]) -> list[tuple[int, str, float]]:
    """Epoch, name and value of every figure that is a number."""
    return [
        (int(epoch["epoch"]), name, float(value))
        for epoch in history
        for name, value in epoch.items()
        if isinstance(value, (int, float)) and name != "epoch"
    ]
