"""One holder at a time, whatever happens to the holder."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from workers.registry.lease import held_lease
from workers.storage import open_store


def test_one_holds_it_and_the_others_wait(store_uri):
    """
    Three that want it at once get it one after the other, and nothing is left behind.
    """
    store, inside, most = open_store(store_uri), [], []

    def work(number: int) -> None:
        with held_lease(store, "building/x", stale_s=30):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))

    assert [1, 1, 1] == most
    assert [] == list(store.list())


def test_a_dead_holders_lease_is_taken_over(store_uri):
    """
    What nobody renews belongs to nobody.
    """
    store = open_store(store_uri)
    store.put("building/x", b"someone who died")
    with held_lease(store, "building/x", stale_s=0.5):
        assert store.get("building/x").data != b"someone who died"

    assert not store.exists("building/x")


def test_a_living_holder_keeps_it(store_uri):
    """
    A holder that takes longer than the lease lasts renews it: nobody else gets in meanwhile.
    """
    store, first_is_in, order = open_store(store_uri), threading.Event(), []

    def late() -> None:
        first_is_in.wait()
        with held_lease(store, "building/x", stale_s=8):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with held_lease(store, "building/x", stale_s=8):
            begun = store.get("building/x").data
            waiting = pool.submit(late)
            first_is_in.set()
            while store.get("building/x").data == begun:  # Until it was renewed.
                threading.Event().wait(0.1)
            order.append("first")
        waiting.result()

    assert ["first", "second"] == order
