"""`lga models` from the command line."""

from __future__ import annotations

import pytest

from workers.__main__ import main
from workers.registry import Registry


@pytest.fixture
def registry(tmp_path, tiny_source, torch_engine, make_bundle) -> Registry:
    """tiny:1 with an engine, tiny:2 without."""
    registry = Registry(str(tmp_path / "registry"))
    registry.add_engine(registry.publish("tiny", tiny_source.bundle), torch_engine)
    registry.publish("tiny", make_bundle(manifest="s3://sets/stanford40.parquet"))
    return registry


@pytest.fixture
def models(registry, capsys, monkeypatch):
    """Run `lga models ...` on a terminal of 80 columns and give exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["models", *arguments, "--registry", registry.uri])
        return code, *capsys.readouterr()

    return run


def test_the_list_shows_versions_aliases_figures_and_engines(registry, models):
    """
    One line for each version.
    """
    registry.promote(registry.resolve("tiny:1"), "production")
    code, out, _ = models("list")
    first, second = (line for line in out.splitlines() if "tiny:" in line)

    assert 0 == code
    assert ["tiny:1", "production", "0.7500", "0.5000", "-", "torch"] == [
        cell.strip() for cell in first.split("│")[1:-1]
    ]
    assert ["tiny:2", "", "0.7500", "0.5000", "-", ""] == [cell.strip() for cell in second.split("│")[1:-1]]


def test_an_empty_registry_says_how_to_fill_it(tmp_path, capsys):
    """
    Nothing to list is no failure.
    """
    assert 0 == main(["models", "list", "--registry", str(tmp_path / "new")])
    assert "lga train" in capsys.readouterr().out


def test_a_version_is_shown_with_lineage_and_engines(registry, models):
    """
    What it is, where from, and the proof of its engine; without engine the command that makes one.
    """
    registry.promote(registry.resolve("tiny:1"), "production")
    _, first, _ = models("show", "--model", "tiny@production")
    _, second, _ = models("show", "--model", "tiny:2")

    for shown in ("test_resnet", "3: climbing, cooking, running", "@production", "torch-fp32-", "1.0000"):
        assert shown in first
    (record,) = registry.engines(registry.resolve("tiny:1"))
    assert record.folder in first
    assert record.fingerprint in first
    for shown in ("s3://sets/stanford40.parquet", "lga compile --model tiny:2"):
        assert shown in second


def test_a_bundle_outside_of_the_registry_can_be_shown(models, make_bundle):
    """
    Nothing points at it.
    """
    code, out, _ = models("show", "--model", str(make_bundle()))

    assert 0 == code
    assert "test_resnet" in out


def test_promotions_and_rollbacks_say_what_was_before(models):
    """
    The operator sees where the alias is now and where it was.
    """
    said = [
        models("promote", "--model", "tiny:1"),
        models("promote", "--model", "tiny:2"),
        models("rollback", "--name", "tiny"),
    ]

    assert [
        (0, "tiny@production is tiny:1\n"),
        (0, "tiny@production is tiny:2 (before: tiny:1)\n"),
        (0, "tiny@production is tiny:1 again (before: tiny:2)\n"),
    ] == [answer[:2] for answer in said]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote", "--model", "tiny:9"], "there is no model tiny:9"),
        (["promote", "--model", "tiny:1", "--alias", "../x"], "--alias"),
        (["rollback", "--name", "tiny"], "there is no tiny@production"),
        (["rollback", "--name", "../tiny"], "cannot name a model"),
        (["show", "--model", "nowhere"], "neither NAME:VERSION"),
    ],
)
def test_mistakes_are_told_with_exit_code_2(models, arguments, message):
    """
    One line for people, no traceback.
    """
    code, _, err = models(*arguments)

    assert 2 == code
    assert message in err
    assert "Traceback" not in err
