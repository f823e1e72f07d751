from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lga_model.config import FAST
from lga_model.losses import NOBODY
from workers.train.sampling import epoch_order

RARE = np.array([0] * 90 + [1] * 9 + [2])
"""Three actions: 90, 9 and 1 images."""


def places(action_N, order):
    return Counter(action_N[order % len(action_N)].tolist())


def test_without_balancing_each_image_is_shown_once():
    """
    In an order that changes with epoch and seed, and only with them.
    """
    orders = [epoch_order(RARE, FAST, seed, epoch) for seed, epoch in ((1, 2), (1, 2), (1, 3), (2, 2))]

    assert list(range(100)) == sorted(orders[0])
    assert orders[0].tolist() == orders[1].tolist()
    assert orders[0].tolist() != orders[2].tolist()
    assert orders[0].tolist() != orders[3].tolist()


@pytest.mark.parametrize(("balance", "expected"), [(1.0, [34, 33, 33]), (0.5, [70, 22, 8])])
def test_rare_actions_are_shown_more_often(balance, expected):
    """
    In proportion to n ** (1 - balance): 9.49 to 3 to 1 for a half; the epoch stays as long.
    """
    order = epoch_order(RARE, replace(FAST, class_balance=balance), 0, 0)

    assert expected == [places(RARE, order)[action] for action in range(3)]


def test_no_image_of_an_action_is_favoured():
    """
    33 places for 9 images are 3 or 4 each; 34 places for 90 images are at most one each.
    """
    shown = Counter((epoch_order(RARE, replace(FAST, class_balance=1.0), 0, 0) % 100).tolist())

    assert {3, 4} == {shown[index] for index in range(90, 99)}
    assert 1 == max(shown[index] for index in range(90))


def test_no_two_places_are_equal():
    """
    The one image of an action takes 33 places: its index, and a hundred more each time that it is shown again.
    """
    order = epoch_order(RARE, replace(FAST, class_balance=1.0), 0, 0)

    assert 100 == len(set(order.tolist()))
    assert [99 + 100 * time for time in range(33)] == sorted(order[order % 100 == 99])


def test_nobody_takes_its_share_of_the_epoch():
    """
    A fifth of the places; with nothing that shows nobody all places are for people.
    """
    recipe = replace(FAST, nobody_share=0.2)
    with_nobody = np.concatenate([RARE, np.full(30, NOBODY)])
    found = places(with_nobody, epoch_order(with_nobody, recipe, 0, 0))

    assert (20, 72, 100) == (found[NOBODY], found[0], found.total())
    assert 0 == places(RARE, epoch_order(RARE, recipe, 0, 0))[NOBODY]
    assert list(range(100)) == sorted(epoch_order(with_nobody, FAST, 0, 0))
