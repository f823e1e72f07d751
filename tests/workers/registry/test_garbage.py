from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from workers.__main__ import main
from workers.errors import ConditionFailed, SettingsError
from workers.registry import Registry
from workers.registry.aliases import Alias, promoted, rolled_back
from workers.registry.garbage import Candidate, Garbage, find_garbage
from workers.storage import open_store

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def moved(*numbers: int, back: int = 0) -> Alias:
    """An alias that was promoted to some versions, and then rolled back."""
    alias = None
    for number in numbers:
        alias = promoted(alias, number)
    for _ in range(back):
        alias = rolled_back(alias)
    return alias


def old(number: int, *, complete: bool = True, days: float = 30) -> Candidate:
    return Candidate(number=number, complete=complete, written_at=NOW - timedelta(days=days), size_bytes=10)


@pytest.mark.parametrize(
    ("candidates", "aliases", "keep", "expected"),
    [
        ([], {}, 0, []),
        ([old(1), old(2), old(3)], {}, 0, [1, 2, 3]),
        ([old(1), old(2), old(3)], {}, 2, [1]),
        ([old(1), old(2), old(3)], {"production": moved(1)}, 0, [2, 3]),
        ([old(1), old(2), old(3)], {"production": moved(1, 2)}, 0, [3]),
        ([old(1), old(2), old(3)], {"production": moved(1, 3, back=1)}, 0, [2, 3]),
        ([old(1), old(2), old(3)], {"production": moved(3), "canary": moved(2)}, 0, [1]),
        ([old(1), old(2, days=1), old(3)], {}, 0, [1, 3]),
        ([old(1), old(2, complete=False), old(3)], {}, 1, [1, 2]),
        ([old(1), old(2, complete=False, days=0.1)], {}, 1, []),
    ],
)
def test_only_what_nobody_needs_may_go(candidates, aliases, keep, expected):
    """
    Not what an alias points at or could be rolled back to, not the newest, not what is young.
    """
    found = find_garbage(candidates, aliases, keep=keep, min_age=timedelta(days=7), now=NOW)

    assert expected == [each.number for each in found]


@pytest.fixture
def registry(store_uri, make_bundle) -> Registry:
    """Three versions, the second in production; a fourth number that was never finished."""
    registry = Registry(store_uri)
    for _ in range(3):
        registry.publish("pose", make_bundle())
    registry.promote(registry.resolve("pose:2"), "production")
    store = open_store(store_uri)
    store.put("pose/versions/0004/training.json", b"{}")
    store.put("pose/versions/0004/model.safetensors", b"half")
    return registry


def test_a_dry_run_says_what_a_run_then_does(registry, capsys):
    """
    Nothing goes before; afterwards the lineage and the numbers stay, and the next version gets a new one.
    """
    flags = ["models", "gc", "--registry", registry.uri, "--keep", "0", "--min-age-days", "0"]

    assert 0 == main([*flags, "--dry-run"])

    told = capsys.readouterr().out

    assert "pose:1" in told
    assert "never finished" in told
    assert [1, 2, 3] == [version.number for version in registry.versions("pose")]
    assert 0 == main(flags)
    assert [2] == [version.number for version in registry.versions("pose")]
    left = sorted(info.key for info in open_store(registry.uri).list("pose/versions/"))

    assert ["0001", "0003", "0004"] == [key.split("/")[2] for key in left if "/0002/" not in key]
    assert all(key.endswith("training.json") for key in left if "/0002/" not in key)
    assert 0 == main(flags)
    assert "every version is needed" in capsys.readouterr().out


def test_a_number_is_never_given_again(registry, make_bundle):
    """
    A tag that names pose:3 means that one for ever.
    """
    for number in (1, 3, 4):
        registry.collect("pose", Garbage(number=number, size_bytes=0, reason="test"))

    assert 5 == registry.publish("pose", make_bundle()).number
    with pytest.raises(SettingsError, match="no model pose:3"):
        registry.resolve("pose:3")


def test_a_promotion_of_what_goes_meanwhile_is_told(registry):
    """
    The version went between the look and the move: its alias would lead nowhere, and whoever moved it hears of it.
    """
    version = registry.resolve("pose:1")
    registry.collect("pose", Garbage(number=1, size_bytes=0, reason="test"))
    with pytest.raises(ConditionFailed, match="deleted at the same moment; move pose@production to another version"):
        registry.promote(version, "production")


def test_a_version_that_is_promoted_meanwhile_stays(registry):
    """
    The alias moved between the look and the deletion: the version is whole again.
    """
    registry.promote(registry.resolve("pose:1"), "production")

    assert not registry.collect("pose", Garbage(number=1, size_bytes=0, reason="test"))
    assert registry.fetch(registry.resolve("pose@production"))
