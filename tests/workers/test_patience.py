from __future__ import annotations

import pytest

from workers import patience
from workers.errors import ConditionFailed, ObjectMissing, Throttled
from workers.patience import PatientStore
from workers.storage import FolderStore


class Absent(FolderStore):
    """A folder that is not there for the first two calls of any kind."""

    calls = 0

    def __getattribute__(self, name):
        if name in {"get", "get_range", "put", "list", "exists", "delete"}:
            self.calls += 1
            if self.calls <= 2:
                raise Throttled(name, self.root, "away")
        return super().__getattribute__(name)


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch):
    monkeypatch.setattr(patience, "_FIRST_WAIT_S", 0.0)


@pytest.fixture
def away(tmp_path) -> PatientStore:
    FolderStore(tmp_path).put("key", b"value")
    return PatientStore(Absent(tmp_path), patience_s=10)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda store: store.get("key").data, b"value"),
        (lambda store: store.get_range("key", 1, 2).data, b"al"),
        (lambda store: [info.key for info in store.list()], ["key"]),
        (lambda store: store.exists("key"), True),
        (lambda store: store.put("key", b"new") and store.get("key").data, b"new"),
        (lambda store: store.delete("key") or store.exists("key"), False),
        (lambda store: store.under("deeper").put("other", b"x") and store.get("deeper/other").data, b"x"),
    ],
)
def test_every_call_is_made_until_the_store_is_back(away, call, expected):
    """
    The caller sees the answer, and nothing of the wait.
    """
    assert expected == call(away)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda store: store.get("absent"), ObjectMissing),
        (lambda store: store.put("key", b"mine", if_absent=True), ConditionFailed),
    ],
)
def test_an_error_that_no_waiting_mends_comes_at_once(away, call, error):
    """
    What is missing stays missing, and who came second stays second.
    """
    with pytest.raises(error):
        call(away)


def test_patience_ends(tmp_path):
    """
    A store that stays away is told as it was.
    """
    with pytest.raises(Throttled, match="away"):
        PatientStore(Absent(tmp_path), patience_s=0).get("key")
