"""One attempt at a time, by what is observed and not by what clocks say."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from workers.errors import AlreadyRunning, ConditionFailed, Superseded
from workers.lease import Lease, LeaseOptions, leased
from workers.storage import FolderStore, Store, open_store

KEY = "runs/lease-1a2b3c4d.json"


@dataclass
class Time:
    """A clock that moves by sleeping; ``meanwhile`` happens at each sleep."""

    now: float = 1000.0
    meanwhile: list = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.meanwhile:
            self.meanwhile.pop(0)()

    def options(self, **changed) -> LeaseOptions:
        return LeaseOptions(clock=lambda: self.now, sleep=self.sleep, **{"lease_s": 60.0} | changed)


def content(output: Store) -> Lease:
    return Lease.model_validate_json(output.get(KEY).data)


def abandon(output: Store) -> Lease:
    """Leave a lease as a holder does that was killed."""
    with leased(output, KEY, LeaseOptions()):
        left = output.get(KEY)
    output.put(KEY, left.data)
    return content(output)


def renew(output: Store):
    """What a living holder does now and then, elsewhere."""

    def change() -> None:
        lease = content(output)
        output.put(KEY, lease.model_copy(update={"renewals": lease.renewals + 1}).model_dump_json().encode())

    return change


def test_a_released_lease_is_free_at_once(store_uri):
    """
    The next holder does not wait, and has a higher fence.
    """
    output, time = open_store(store_uri), Time()
    with leased(output, KEY, time.options()) as first:
        assert "held" == content(output).state
    with leased(output, KEY, time.options()) as second:
        pass

    assert (1, 2) == (first.fence, second.fence)
    assert "released" == content(output).state
    assert 1000.0 == time.now


def test_a_lease_whose_holder_died_expires_by_being_unchanged(store_uri):
    """
    After its own life time without a renewal, on the watcher's clock, it is taken; not before.
    """
    output, time = open_store(store_uri), Time()
    dead = abandon(output)
    with leased(output, KEY, time.options(lease_s=5.0)) as held:
        assert dead.fence + 1 == held.fence

    assert dead.lease_s <= time.now - 1000.0 <= dead.lease_s * 1.2


def test_each_renewal_starts_the_waiting_anew(store_uri):
    """
    Only a lease that stays unchanged for all of its life is dead.
    """
    output, time = open_store(store_uri), Time()
    abandon(output)
    time.meanwhile = [lambda: None, lambda: None, renew(output), lambda: None, renew(output)]
    with leased(output, KEY, time.options()):
        pass

    assert 5 * 6.0 + 60.0 <= time.now - 1000.0 <= 5 * 6.0 + 66.0


def test_exit_leaves_a_living_holder_alone_and_takes_from_a_dead_one(store_uri):
    """
    ``exit`` looks until it knows: a renewal means alive, silence means dead.
    """
    output, time = open_store(store_uri), Time()
    abandon(output)
    time.meanwhile = [lambda: None, renew(output)]
    before = content(output).fence
    with pytest.raises(AlreadyRunning, match="another attempt"), leased(output, KEY, time.options(if_running="exit")):
        pytest.fail("it was alive")
    assert before == content(output).fence

    with leased(output, KEY, time.options(if_running="exit")) as held:
        assert before + 1 == held.fence


def test_a_lease_that_was_taken_over_is_known_to_be_lost(store_uri):
    """
    The old holder learns it at its next renewal, and does not release what is no longer its own.
    """
    output = open_store(store_uri)
    with leased(output, KEY, Time().options()) as old:
        old.check()
        with leased(output, KEY, Time().options(if_running="take-over")) as new:
            assert old.fence + 1 == new.fence
            old.renew()
            with pytest.raises(Superseded, match="taken this run over"):
                old.check()
            new.check()
            old.release()
            assert ("held", new.fence) == (content(output).state, content(output).fence)


def test_a_lost_answer_is_not_a_lost_lease(tmp_path):
    """
    A renewal that arrived, but whose answer did not, fails its condition when it is repeated; the holder stays.
    """
    output = open_store(str(tmp_path))
    with leased(output, KEY, Time().options()) as held:
        renew(output)()
        held.renew()
        held.check()
        held.renew()

    assert "released" == content(output).state


class Unheard(FolderStore):
    """A folder whose first write arrives, but its answer does not; the client repeats it and is refused."""

    answers = False

    def put(self, key, data, **conditions):
        token = super().put(key, data, **conditions)
        if not self.answers:
            self.answers = True
            raise ConditionFailed("write", self.uri(key), "somebody else wrote it first")
        return token


def test_a_lease_that_was_taken_without_an_answer_is_held(tmp_path):
    """
    Nobody waits for a holder that is oneself.
    """
    time = Time()
    with leased(Unheard(tmp_path), KEY, time.options()) as held:
        held.renew()
        held.check()

    assert (1, 1000.0) == (held.fence, time.now)


def test_a_holder_gives_signs_of_life(store_uri):
    """
    Without being asked to: whoever watches sees the lease change.
    """
    output = open_store(store_uri)
    with leased(output, KEY, LeaseOptions(lease_s=1.0)):
        while content(output).renewals == 0:
            threading.Event().wait(0.05)


def test_a_store_that_is_away_ends_nothing(tmp_path):
    """
    A renewal that cannot be written is tried again; the work goes on.
    """
    output = open_store(str(tmp_path))
    with leased(output, KEY, Time().options()) as held:
        (tmp_path / "runs").rename(tmp_path / "away")
        (tmp_path / "runs").write_text("not a folder")
        held.renew()
        held.check()
        (tmp_path / "runs").unlink()
        (tmp_path / "away").rename(tmp_path / "runs")
        held.renew()
        held.check()

    assert "released" == content(output).state


def test_of_many_that_start_together_one_works_at_a_time(store_uri):
    """
    All get their turn, no two at once, each with a fence of its own.
    """
    output = open_store(store_uri)
    inside, most, fences = threading.Semaphore(1), [], []

    def attempt(_number: int) -> None:
        with leased(output, KEY, LeaseOptions(lease_s=3.0)) as held:
            most.append(inside.acquire(blocking=False))
            fences.append(held.fence)
            inside.release()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(attempt, range(4)))

    assert [True] * 4 == most
    assert [1, 2, 3, 4] == sorted(fences)


def test_a_lease_that_nobody_can_read_is_replaced(tmp_path):
    """
    A damaged object is no holder.
    """
    output = open_store(str(tmp_path))
    output.put(KEY, b"{")
    with leased(output, KEY, Time().options()) as held:
        assert 1 == held.fence
