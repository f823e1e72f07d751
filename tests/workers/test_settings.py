"""Flag, then variable, then YAML, then default; and every mistake is told."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from workers.errors import SettingsError
from workers.settings import (
    COMMANDS,
    CompileSettings,
    ScoreSettings,
    TagsExportSettings,
    TrainSettings,
    read_settings,
)

NEEDED = ["--input", "s3://in", "--output", "s3://out", "--model", "m:1"]


def score(*arguments: str) -> ScoreSettings:
    return read_settings(ScoreSettings, "score", [*NEEDED, *arguments])


def test_defaults_fill_what_is_not_said():
    """
    With only the needed settings the others hold their defaults.
    """
    settings = score()

    assert 2048 == settings.shard_rows
    assert settings.scores


def test_the_order_of_the_sources(tmp_path, monkeypatch):
    """
    A flag beats a variable, a variable beats the section, the section beats the shared part of the YAML file.
    """
    path = tmp_path / "lga.yaml"
    path.write_text(
        "batch-size: 1\nshard_rows: 1\nfetch_concurrency: 1\nengines: 1\nscore:\n"
        "  shard_rows: 2\n  fetch_concurrency: 2\n  engines: 2\n"
    )
    monkeypatch.setenv("LGA_FETCH_CONCURRENCY", "3")
    monkeypatch.setenv("LGA_ENGINES", "3")
    settings = score("--config", str(path), "--engines", "4")

    assert (1, 2, 3, 4) == (settings.batch_size, settings.shard_rows, settings.fetch_concurrency, settings.engines)


def test_each_name_with_a_value_counts_for_itself(tmp_path, monkeypatch):
    """
    A flag replaces the value of its own name alone; the others stay as the variable and the file have them.
    """
    path = tmp_path / "lga.yaml"
    path.write_text("max_reason_rate:\n  denied: 0.1\n  timeout: 0.1\n  missing: 0.1\n")
    monkeypatch.setenv("LGA_MAX_REASON_RATE", "denied=0.2,timeout=0.2")
    settings = score("--config", str(path), "--max-reason-rate", "denied=0.3")

    assert {"denied": 0.3, "timeout": 0.2, "missing": 0.1} == settings.max_reason_rate


def test_a_variable_names_the_yaml_file(tmp_path, monkeypatch):
    """
    LGA_CONFIG does what --config does.
    """
    path = tmp_path / "lga.yaml"
    path.write_text("batch_size: 7")
    monkeypatch.setenv("LGA_CONFIG", str(path))

    assert 7 == score().batch_size


def test_a_switch_can_be_turned_off():
    """
    Booleans have a --no- form; lists take repeated flags.
    """
    settings = score("--no-scores", "--include", "*.jpg", "--include", "*.png")

    assert not settings.scores
    assert ("*.jpg", "*.png") == settings.include


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("suffix", ".jpg", (".jpg",)),
        ("suffix", ".jpg, .png", (".jpg", ".png")),
        ("suffix", '[".jpg", ".png"]', (".jpg", ".png")),
        ("include", "[ab]*.jpg", ("[ab]*.jpg",)),
        ("max_reason_rate", "denied=0.01,timeout=0.5", {"denied": 0.01, "timeout": 0.5}),
        ("max_reason_rate", '{"denied": 0.01}', {"denied": 0.01}),
    ],
)
def test_a_variable_takes_several_values(monkeypatch, variable, value, expected):
    """
    With commas between them, or as JSON.
    """
    monkeypatch.setenv(f"LGA_{variable.upper()}", value)

    assert expected == getattr(score(), variable)


def test_a_variable_with_one_value_that_looks_like_a_number_is_a_list(monkeypatch):
    """
    A compute capability is text.
    """
    monkeypatch.setenv("LGA_CAPABILITIES", "8.6")

    assert ("8.6",) == read_settings(CompileSettings, "compile", ["--model", "m:1"]).capabilities


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--input", "x"], "--model is needed (or LGA_MODEL)"),
        ([*NEEDED, "--shard-rows", "0"], "--shard-rows"),
        ([*NEEDED, "--batch-size", "many"], "--batch-size 'many'"),
        ([*NEEDED, "--max-failure-rate", "1.5"], "--max-failure-rate"),
        ([*NEEDED, "--run", "../../etc"], "--run"),
        ([*NEEDED, "--max-reason-rate", "denied"], "max_reason_rate"),
    ],
)
def test_a_wrong_setting_is_named(arguments, told):
    """
    The message names the flag and the way out.
    """
    with pytest.raises(SettingsError) as caught:
        read_settings(ScoreSettings, "score", arguments)

    assert told in str(caught.value)
    assert "lga score --help" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not YAML"),
        ("- a\n- b", "settings by name"),
        ("shard_rowz: 3", "shard_rowz"),
        ("score: {workers: 2}", "workers is not a setting of `lga score`"),
        ("score: 3", "section"),
        (b"\xff\xfe\x00", "not YAML"),
        ("run: !!timestamp 2026-13-45", "not YAML"),
    ],
)
def test_a_wrong_yaml_file_is_explained(tmp_path, content, told):
    """
    Broken YAML, unknown names and misplaced settings are told with the file or the name.
    """
    path = tmp_path / "lga.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError, match=told):
        score("--config", str(path))


def test_a_missing_yaml_file_is_explained(tmp_path):
    """
    The message names the file.
    """
    with pytest.raises(SettingsError, match=r"absent\.yaml"):
        score("--config", str(tmp_path / "absent.yaml"))


def test_a_yaml_file_may_serve_several_commands(tmp_path):
    """
    Settings that another command has do not disturb this one.
    """
    path = tmp_path / "lga.yaml"
    path.write_text("workers: 2\nregistry: s3://models\ntrain: {epochs: 3}\nmodels promote: {alias: staging}\n")
    settings = score("--config", str(path))
    training = read_settings(TrainSettings, "train", ["--config", str(path), "--manifest", "m", "--name", "n"])

    assert "s3://models" == settings.registry
    assert (2, 3) == (training.workers, training.epochs)


def test_an_empty_text_in_yaml_is_no_setting(tmp_path):
    """
    As in a flag or a variable: it is unset, and hides nothing that all commands share.
    """
    path = tmp_path / "lga.yaml"
    path.write_text(
        'model: shared:1\noutput: s3://out\nray_address: ""\n'
        'score: {model: "", input: s3://in, pushgateway: "", metrics_file: ""}\n'
    )
    settings = read_settings(ScoreSettings, "score", ["--config", str(path)])

    assert ("shared:1", "s3://in") == (settings.model, settings.input)
    assert (None, None, None) == (settings.ray_address, settings.pushgateway, settings.metrics_file)


def test_a_section_is_no_setting_of_its_name(tmp_path):
    """
    `train` is a command, and the number of scenes that others train on: what is below it says which is meant.
    """
    path = tmp_path / "lga.yaml"
    path.write_text("train: {epochs: 3}\n")
    demo = read_settings(COMMANDS["demo"], "demo", ["--config", str(path)])
    path.write_text("train: 64\n")

    assert 512 == demo.train
    assert 64 == read_settings(COMMANDS["demo"], "demo", ["--config", str(path)]).train
    assert read_settings(TrainSettings, "train", ["--config", str(path), "--manifest", "m", "--name", "n"])


@pytest.mark.parametrize("value", ["2026-01-05", "2026-13-45", "20260105", "007"])
def test_text_in_yaml_stays_as_it_is_written(tmp_path, value):
    """
    No date and no number is made of it where the setting takes text.
    """
    path = tmp_path / "lga.yaml"
    path.write_text(f"as_of: {value}\nrun: {value}\nlimit: 3\nmax_failure_rate: .5\nscores: no\nsuffix:\n")
    export = read_settings(TagsExportSettings, "tags export", ["--config", str(path), "--output", "o", "--to", "x.csv"])
    path.write_text(f"run: {value}\nlimit: 3\nmax_failure_rate: .5\nscores: no\n")
    settings = score("--config", str(path))

    assert value == export.as_of
    assert (value, 3, 0.5, False) == (settings.run, settings.limit, settings.max_failure_rate, settings.scores)


def test_settings_cannot_be_changed():
    """
    What a job was started with is what its record says.
    """
    with pytest.raises(ValidationError):
        score().batch_size = 3


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_is_explained_on_a_terminal(command, capsys, monkeypatch):
    """
    The help of each command is complete, fits 80 columns, and every setting has its sentence.
    """
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        read_settings(COMMANDS[command], command, ["--help"])
    text = capsys.readouterr().out

    assert 0 == ended.value.code
    assert 80 >= max(len(line) for line in text.splitlines())
    for name, field in COMMANDS[command].model_fields.items():
        assert field.description, name
        assert f"--{name.replace('_', '-')}" in text or name.upper() in text
