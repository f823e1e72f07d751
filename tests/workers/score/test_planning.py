"""The plan of a run."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from workers.errors import ConditionFailed, SettingsError, StorageError
from workers.runs.plan import LISTED, plan_key, read_part, read_plan
from workers.score.inventory import Selection, list_objects, open_source
from workers.score.planning import PlanRequest, find_or_make_plan, foresee
from workers.storage import FolderStore, open_store
from workers.tags import ShardName, TagForm, tag_schema, write_shard

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def request(run_id: str = "r2", **changed) -> PlanRequest:
    return PlanRequest(
        **{"run_id": run_id, "fingerprint": "f", "engine": "cafe", "shard_rows": 3, "now": NOW} | changed
    )


def make(output, uri: str, asked: PlanRequest):
    source = open_source(uri)
    return find_or_make_plan(output, source, lambda: list_objects(source, Selection(), output), asked)


def planned(output, plan) -> list[list[str]]:
    return [read_part(output, plan, shard)["key"].to_pylist() for shard in range(plan.num_shards)]


def put_rows(output, uri: str, rows: list[dict], run_id: str = "r1", index: int = 0) -> None:
    metadata = {"namespace": open_source(uri).namespace, "engine": rows[0]["engine"]}
    schema = tag_schema(TagForm(classes=("a",), heatmap_hw=(1, 1)), metadata)
    write_shard(output, ShardName(run_id=run_id, index=index), pa.Table.from_pylist(rows, schema))


@pytest.fixture
def photos(tmp_path) -> str:
    for number in range(8):
        FolderStore(tmp_path / "photos").put(f"{number}.jpg", b"x" * number)
    return str(tmp_path / "photos")


def etags(uri: str) -> dict[str, str]:
    return {info.key: info.etag for info in open_source(uri).store.list()}


def test_the_listing_is_cut_into_shards(store_uri, photos):
    """
    Every object is in exactly one shard; all are full but the last; the same listing in any order makes the same.
    """
    output = open_store(store_uri)
    plan = make(output, photos, request())
    source = open_source(photos)
    (table,) = list_objects(source, Selection(), output)
    backwards = [table.slice(row, 1) for row in reversed(range(8))]
    again = find_or_make_plan(output, source, lambda: iter(backwards), request("r3"))

    assert planned(output, again) == planned(output, plan)
    assert {f"{number}.jpg" for number in range(8)} == {key for keys in planned(output, plan) for key in keys}
    assert [3, 3, 2] == [plan.rows_of(shard) for shard in range(3)]
    assert (8, 0, 8) == (plan.listed, plan.skipped, plan.rows)


def test_a_plan_stays_as_it_is(store_uri, photos):
    """
    Objects that come and go, and other shard sizes, do not change the plan of a run that was begun.
    """
    output = open_store(store_uri)
    plan = make(output, photos, request())
    FolderStore(tmp := open_source(photos).store.path).put("new.jpg", b"x")
    (tmp / "0.jpg").unlink()

    assert plan == make(output, photos, request(shard_rows=100))


def test_unchanged_objects_are_skipped(store_uri, photos):
    """
    Only an ``ok`` row with the same key, ETag and engine counts as done.
    """
    output = open_store(store_uri)
    etag = etags(photos)
    done = {"key": "0.jpg", "etag": etag["0.jpg"], "status": "ok", "engine": "cafe"}
    put_rows(output, photos, [done, done | {"key": "1.jpg", "etag": etag["1.jpg"], "status": "failed"}])
    put_rows(output, photos, [done | {"key": "2.jpg", "etag": "older"}], index=1)
    put_rows(output, photos, [done | {"key": "3.jpg", "etag": etag["3.jpg"], "engine": "beef"}], run_id="r3")
    put_rows(output, photos, [done | {"key": "4.jpg", "etag": etag["4.jpg"]}, done], run_id="r0")
    plan = make(output, photos, request())

    assert (8, 2) == (plan.listed, plan.skipped)
    assert {f"{number}.jpg" for number in (1, 2, 3, 5, 6, 7)} == {key for keys in planned(output, plan) for key in keys}


def test_what_failed_for_good_can_be_left_out(store_uri, photos):
    """
    With ``skip_quarantined`` an unchanged object that is no image is not tried again; one that was throttled is, and
    one that was too large for that run.
    """
    output, etag = open_store(store_uri), etags(photos)
    failed = {"status": "failed", "engine": "cafe"}
    put_rows(
        output,
        photos,
        [
            failed | {"key": "0.jpg", "etag": etag["0.jpg"], "reason": "not_an_image"},
            failed | {"key": "1.jpg", "etag": etag["1.jpg"], "reason": "throttled"},
            failed | {"key": "2.jpg", "etag": "older", "reason": "not_an_image"},
            failed | {"key": "3.jpg", "etag": etag["3.jpg"], "reason": "too_large"},
        ],
    )

    assert 0 == make(output, photos, request()).skipped
    assert 1 == make(output, photos, request("r3", skip_quarantined=True)).skipped


def test_the_latest_row_of_an_object_has_to_be_of_these_bytes(store_uri, photos):
    """
    Overwritten, scored, and put back: its latest row is of the bytes between, or says that they could not be scored,
    so it is scored again. One that was changed for good, and one that failed at first, are not.
    """
    output, etag = open_store(store_uri), etags(photos)

    def row(number: int, night: int, status: str = "ok", bytes_of: str | None = None) -> dict:
        key, at = f"{number}.jpg", NOW.replace(day=night)
        return {"key": key, "etag": bytes_of or etag[key], "status": status, "engine": "cafe", "scored_at": at}

    put_rows(output, photos, [row(0, 1), row(1, 1), row(2, 1, bytes_of="older"), row(3, 1, "failed"), row(4, 1)], "r0")
    put_rows(output, photos, [row(0, 2, bytes_of="other"), row(1, 2, "failed", "other"), row(2, 2), row(3, 2)], "r1")
    plan = make(output, photos, request())

    assert 3 == plan.skipped
    assert {"0.jpg", "1.jpg"} == {key for keys in planned(output, plan) for key in keys if key < "5"}


def test_an_object_that_is_listed_twice_is_one_object(store_uri, photos):
    """
    A list of keys may repeat itself; the plan does not.
    """
    output, source = open_store(store_uri), open_source(photos)
    (table,) = list_objects(source, Selection(), output)
    plan = find_or_make_plan(output, source, lambda: iter([table, table.slice(2, 3)]), request())

    assert (8, 8) == (plan.listed, plan.rows)
    assert 8 == len({key for keys in planned(output, plan) for key in keys})


def test_foreseeing_writes_nothing(tmp_path, photos):
    """
    A dry run counts what a plan would hold, and leaves no trace.
    """
    output, source = FolderStore(tmp_path / "output"), open_source(photos)
    put_rows(
        output,
        photos,
        [{"key": "7.jpg", "etag": etags(photos)["7.jpg"], "status": "ok", "engine": "cafe"}],
        run_id="r1",
    )
    before = sorted((tmp_path / "output").rglob("*"))
    pending = foresee(output, source, list_objects(source, Selection(), output), request())

    assert (8, 28, 7, 21) == (pending.listed, pending.listed_bytes, pending.objects, pending.size_bytes)
    assert before == sorted((tmp_path / "output").rglob("*"))


def test_equal_keys_elsewhere_are_other_objects(store_uri, photos, tmp_path):
    """
    A row of another folder or bucket with the same key and ETag skips nothing.
    """
    output = open_store(store_uri)
    done = {"key": "0.jpg", "etag": etags(photos)["0.jpg"], "status": "ok", "engine": "cafe"}
    put_rows(output, str(tmp_path / "elsewhere"), [done])

    assert 0 == make(output, photos, request()).skipped


def test_nothing_to_score_is_a_plan_too(store_uri, tmp_path):
    """
    An empty input has no shards.
    """
    (tmp_path / "empty").mkdir()
    plan = make(open_store(store_uri), str(tmp_path / "empty"), request())

    assert (0, 0, 0) == (plan.listed, plan.rows, plan.num_shards)


def test_the_first_plan_wins(store_uri, photos):
    """
    An attempt that planned at the same time adopts it, and takes its own parts away.
    """
    output = open_store(store_uri)
    source = open_source(photos)

    def slow_listing():
        yield from list_objects(source, Selection(), output)
        # Meanwhile another attempt plans, on a listing of its own.
        nonlocal first
        first = find_or_make_plan(output, source, lambda: list_objects(source, Selection(limit=4), output), request())

    first = None
    second = find_or_make_plan(output, source, slow_listing, request())

    assert first == second == read_plan(output, "r2")
    assert 4 == second.listed
    assert {second.part_key(0), second.part_key(1)} == {info.key for info in output.list("runs/r2/plan/")}


class DeafStore(FolderStore):
    """The answer to the first writing of a plan is lost: the client asks again, and hears that it is there."""

    arrives = True

    def put(self, key, data, **conditions):
        if key.endswith("plan.json") and "asked" not in self.__dict__:
            self.asked = True
            if self.arrives:
                super().put(key, data, **conditions)
            raise ConditionFailed("write", key, "it is there")
        return super().put(key, data, **conditions)


@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "refused for nobody's sake"])
def test_a_plan_whose_answer_was_lost_is_kept(tmp_path, photos, arrives):
    """
    The plan that is there may be our own: its parts stay. None at all may be there, when the store refused two at once.
    """
    output = DeafStore(tmp_path / "output")
    output.arrives = arrives
    plan = make(output, photos, request())

    assert plan == read_plan(output, "r2")
    assert [3, 3, 2] == [len(keys) for keys in planned(output, plan)]


def test_nothing_is_unchanged_without_etags(tmp_path, photos):
    """
    A list of keys alone does not tell whether the bytes are still those that were scored.
    """
    output, source = open_store(str(tmp_path / "output")), open_source(photos)
    (table,) = list_objects(source, Selection(), output)
    table = table.set_column(1, LISTED.field("etag"), pa.array([""] * table.num_rows))
    put_rows(output, photos, [{"key": "0.jpg", "etag": "", "status": "ok", "engine": "cafe"}])

    assert 0 == find_or_make_plan(output, source, lambda: iter([table]), request()).skipped


def test_a_run_of_another_work_is_refused(store_uri, photos):
    """
    ``--run`` with other settings than those of the run is an error that says so.
    """
    output = open_store(store_uri)
    make(output, photos, request())

    with pytest.raises(SettingsError, match="another input, selection or engine"):
        make(output, photos, request(fingerprint="g"))


def test_a_broken_listing_writes_nothing(tmp_path):
    """
    A folder that is not there leaves no plan behind.
    """
    output = FolderStore(tmp_path / "output")
    with pytest.raises(StorageError):
        make(output, str(tmp_path / "nothing"), request())

    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"format": 2}'])
def test_a_strange_plan_is_refused(tmp_path, data):
    """
    A plan that this release cannot read is an error that names it.
    """
    output = FolderStore(tmp_path)
    output.put(plan_key("r1"), data)

    with pytest.raises(StorageError, match=r"runs/r1/plan\.json"):
        read_plan(output, "r1")
