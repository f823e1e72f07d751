from __future__ import annotations

import pytest
from ray.train import ControllerError, WorkerGroupError

from workers.errors import ClusterError, SettingsError
from workers.train.cluster import _told, most_cores


@pytest.mark.parametrize(
    ("nodes", "workers", "expected"),
    [
        ([2], 1, 2),
        ([2], 2, 1),
        ([2], 3, 0),
        ([16, 16], 2, 16),
        ([8, 8, 8], 2, 8),
        ([8, 3], 3, 3),
        ([8, 2], 3, 2),
        ([0.5], 1, 0),
        ([], 1, 0),
    ],
)
def test_workers_get_all_cores_that_they_can_have_at_once(nodes, workers, expected):
    """
    Equal shares; no worker spans two nodes.
    """
    assert expected == most_cores(nodes, workers)


def test_an_error_for_people_comes_out_as_it_went_in():
    """
    Whichever worker said it, and whatever the others died of.
    """
    told = _told(WorkerGroupError("...", {0: RuntimeError("connection closed"), 1: SettingsError("bad.jpg is bad")}))

    assert isinstance(told, SettingsError)
    assert "bad.jpg is bad" == str(told)


@pytest.mark.parametrize(
    "failure",
    [WorkerGroupError("...", {0: ZeroDivisionError("by 0\nsecond line")}), ControllerError(ZeroDivisionError("by 0"))],
)
def test_anything_else_is_one_line_with_a_way_out(failure):
    """
    No traceback, no second line; how to continue.
    """
    told = _told(failure)

    assert isinstance(told, ClusterError)
    assert "ZeroDivisionError: by 0." in str(told)
    assert "--run" in str(told)
    assert "\n" not in str(told)
