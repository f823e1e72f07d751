from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import pytest

from workers.errors import SettingsError
from workers.logs import configure_logs
from workers.settings import TrainSettings, read_settings
from workers.train.tracking import check_tracking, track

HISTORY = ({"epoch": 1, "map": 0.5, "focus": None, "average_precision": [0.5]}, {"epoch": 2, "map": 0.75, "focus": 0.4})


@pytest.fixture
def bundle(tmp_path):
    for name in ("metrics.json", "training.json"):
        (tmp_path / name).write_text("{}\n")
    return tmp_path


def test_a_run_is_logged_with_its_curves(bundle, monkeypatch):
    """
    Settings, every figure of every epoch, and the version that came out; what could not be measured is left out.
    """
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"file:{bundle / 'store'}"

    assert track(uri, "pose", "nightly", bundle, {"settings": {"seed": 7}, "history": HISTORY, "version": "pose:3"})

    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("pose").experiment_id])

    assert ("7", "pose:3", "FINISHED") == (run.data.params["seed"], run.data.tags["version"], run.info.status)
    assert [0.5, 0.75] == [each.value for each in client.get_metric_history(run.info.run_id, "map")]
    assert [2] == [each.step for each in client.get_metric_history(run.info.run_id, "focus")]


def test_a_server_that_does_not_answer_costs_nothing(bundle, monkeypatch):
    """
    The version is published already; the failure is a warning.
    """
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    assert not track("http://127.0.0.1:9", "pose", "nightly", bundle, {"settings": {}, "history": (), "version": "-"})


def test_the_password_of_a_server_is_not_logged(bundle, monkeypatch, capsys):
    """
    The warning says which server failed, and why, without the user in its address.
    """

    class Failed(Exception):
        pass

    def fail(tracking_uri: str):
        raise Failed(f"API request to {tracking_uri}/api/2.0/mlflow failed")

    mlflow = SimpleNamespace(MlflowClient=fail, exceptions=SimpleNamespace(MlflowException=Failed))
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    configure_logs("console", "info")

    assert not track("https://alice:hunter2@mlflow.example", "pose", "nightly", bundle, {})

    told = capsys.readouterr().err

    assert 2 == told.count("https://mlflow.example")
    assert "hunter2" not in told


def test_the_usual_variable_asks_for_it(monkeypatch):
    """
    MLFLOW_TRACKING_URI, as every tool reads it; without MLflow that is told before the training.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    settings = read_settings(TrainSettings, "train", ["--manifest", "m", "--name", "pose"])

    assert "http://mlflow:5000" == settings.mlflow_tracking_uri

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"lga-tagger\[mlflow\]"):
        check_tracking(settings.mlflow_tracking_uri)
    check_tracking(None)
