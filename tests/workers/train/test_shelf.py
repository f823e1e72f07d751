from __future__ import annotations

import hashlib
import json

import pytest

from workers.errors import StorageError, Throttled
from workers.patience import PatientStore
from workers.storage import FolderStore, open_store
from workers.train.checkpoints import FORMAT, CheckpointUnreadable
from workers.train.shelf import Checkpoint, Shelf, to_drop


def checkpoint(step: int, score: float | None = None) -> Checkpoint:
    return Checkpoint(name=f"{step:08d}-aa", step=step, map=score)


def files(content: bytes = b"weights", score: float | None = None, **changes) -> dict[str, bytes]:
    """A checkpoint of one file, validated when there is a score."""
    state = {
        "format": FORMAT,
        "epoch": 1,
        "position": 0 if score is not None else 3,
        "history": [{"map": score}],
        "work": {},
        "scaler": {},
        "digests": {"weights.safetensors": hashlib.sha256(content).hexdigest()},
    }
    return {"weights.safetensors": content, "state.json": json.dumps(state | changes).encode()}


def shelf(uri, **changes) -> Shelf:
    return Shelf(open_store(str(uri)), **({"keep_best": 1} | changes))


@pytest.mark.parametrize(
    ("scores", "keep_best", "expected"),
    [
        ([None], 1, []),
        ([None, None, None, None], 1, [1, 2]),
        ([0.9, None, None, None], 1, [2]),
        ([0.9, 0.5, None, None], 1, [2]),
        ([0.5, 0.9, 0.7, 0.6, 0.1, 0.2], 2, [1, 4]),
        ([0.5, 0.5, None, None], 1, [2]),
        ([0.1, 0.2, 0.3], 1, [1]),
    ],
)
def test_the_newest_two_and_the_best_are_kept(scores, keep_best, expected):
    """
    Whatever their order; of equally good ones the earlier.
    """
    known = [checkpoint(step, score) for step, score in enumerate(scores, 1)]

    assert expected == sorted(each.step for each in to_drop(known, keep_best))


def test_a_checkpoint_comes_back_whole(store_uri):
    """
    What was saved is loaded by any other process; the best is the validated one, the newest need not be.
    """
    first = shelf(store_uri)
    first.save(10, files(b"good", score=0.9))
    first.save(13, files(b"newer"))
    other = shelf(store_uri)
    newest, loaded = other.load_newest()

    assert (13, b"newer") == (newest.step, loaded["weights.safetensors"])
    assert 10 == other.best().step


def test_what_is_not_needed_is_dropped(store_uri):
    """
    Of a long training few checkpoints lie there, and no file of the others.
    """
    store = shelf(store_uri)
    for step in range(1, 7):
        store.save(step, files(score=0.9 if step == 2 else 0.1))
    keys = {entry.key.split("/")[1][:8] for entry in open_store(store_uri).list("checkpoints/")}

    assert {"00000002", "00000005", "00000006"} == keys


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path):
    """
    Without its state it is none; with a damaged file the one before it is taken.
    """
    shelf(tmp_path).save(1, files(b"old"))
    damaged, unfinished = shelf(tmp_path).save(2, files(b"new")), shelf(tmp_path).save(3, files(b"newest"))
    (tmp_path / "checkpoints" / damaged.name / "weights.safetensors").write_bytes(b"ne")
    (tmp_path / "checkpoints" / unfinished.name / "state.json").unlink()
    newest, loaded = shelf(tmp_path).load_newest()

    assert (1, b"old") == (newest.step, loaded["weights.safetensors"])


def test_one_of_a_newer_release_is_not_passed_over(tmp_path):
    """
    Training on from an older one would lose what the newer release has learned.
    """
    shelf(tmp_path).save(1, files())
    saved = shelf(tmp_path).save(2, files())
    (tmp_path / "checkpoints" / saved.name / "state.json").write_bytes(files(format=99)["state.json"])
    with pytest.raises(CheckpointUnreadable, match="format 99"):
        shelf(tmp_path).load_newest()


def test_two_attempts_never_write_into_one_folder(tmp_path):
    """
    Both save the same step, and each checkpoint is whole.
    """
    one, other = shelf(tmp_path), shelf(tmp_path)
    one.save(5, files(b"one"))
    other.save(5, files(b"other"))
    third = shelf(tmp_path)

    assert {b"one", b"other"} == {third.load(each.name)["weights.safetensors"] for each in third.checkpoints()}


class Failing(FolderStore):
    """A folder whose first writes fail as a busy store does."""

    failures = 2

    def put(self, key, data, **conditions):
        if self.failures:
            self.failures -= 1
            raise Throttled("write", self.uri(key), "busy")
        return super().put(key, data, **conditions)


def test_storage_that_fails_for_a_while_is_asked_again(tmp_path):
    """
    With patience the checkpoint is saved; without, the error says what failed, and nothing half is taken for whole.
    """
    with pytest.raises(Throttled, match="busy"):
        Shelf(Failing(tmp_path), keep_best=1).save(1, files())

    assert [] == shelf(tmp_path).checkpoints()

    Shelf(PatientStore(Failing(tmp_path), patience_s=30), keep_best=1).save(1, files())

    assert [1] == [each.step for each in shelf(tmp_path).checkpoints()]


def test_a_full_disk_is_a_message_and_costs_no_checkpoint(tmp_path):
    """
    The operating system refuses the bytes: the error names file and cause, the checkpoint before is still the newest.
    """
    resource = pytest.importorskip("resource")
    store = shelf(tmp_path)
    store.save(1, files(b"small"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, before[1]))
    try:
        with pytest.raises(StorageError, match=r"weights\.safetensors: .*disk full"):
            store.save(2, files(b"x" * (1 << 20)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    newest, loaded = shelf(tmp_path).load_newest()

    assert (1, b"small") == (newest.step, loaded["weights.safetensors"])
