"""The tag table: columns, numbers, shards."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lga_model.calibration import Calibration
from workers.engines import EngineOutput
from workers.errors import StorageError
from workers.storage import FolderStore, open_store
from workers.tags import (
    Lineage,
    ShardName,
    TagForm,
    attach_shards,
    failed,
    latest_rows_view,
    list_shards,
    local_files,
    object_schema,
    read_shard,
    read_shards,
    rows,
    tag_schema,
    write_shard,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
FORM = TagForm(classes=("climbing", "cooking", "running"), heatmap_hw=(2, 2))
LINEAGE = Lineage(model="people", version=7, engine="cafe", run_id="r1")
CALIBRATION = Calibration(
    temperature=1.0,
    conformal_threshold=0.8,
    coverage=0.9,
    accept_confidence=0.65,
    precision=0.95,
    person_peak_min=0.3,
)


def objects(*statuses: str) -> pa.Table:
    count = len(statuses)
    is_ok = [status == "ok" for status in statuses]
    return pa.table(
        {
            "key": [f"photos/{number}.jpg" for number in range(count)],
            "etag": [f"e{number}" for number in range(count)],
            "size_bytes": [100 + number for number in range(count)],
            "last_modified": [NOW] * count,
            "status": list(statuses),
            "reason": [None if ok else "missing" for ok in is_ok],
            "detail": [None if ok else "gone" for ok in is_ok],
            "width": [640 if ok else None for ok in is_ok],
            "height": [480 if ok else None for ok in is_ok],
        },
        object_schema(),
    )


def output(probabilities, heatmap=None, pam=None) -> EngineOutput:
    count = len(probabilities)
    return EngineOutput(
        np.array(probabilities, dtype=np.float32),
        None if heatmap is None else np.array(heatmap, dtype=np.float32).reshape(count, 2, 2),
        np.array(pam if pam is not None else np.zeros((count, 4)), dtype=np.float32).reshape(count, 2, 2),
    )


def one_row(probabilities, heatmap=None, pam=None, calibration=CALIBRATION) -> dict:
    said = output([probabilities], None if heatmap is None else [heatmap], None if pam is None else [pam])
    return rows(objects("ok"), said, FORM, calibration, LINEAGE, NOW).to_pylist()[0]


def test_the_columns_are_those_of_the_contract():
    """
    Names, order and types are what other programs were told.
    """
    expected = """
        key string; etag string; size_bytes int64; last_modified timestamp[us, tz=UTC]; status string; reason string;
        detail string; width int32; height int32; label string; label_index int16; confidence float; margin float;
        entropy float; top_labels list<item: string>; top_scores list<item: float>;
        scores fixed_size_list<item: halffloat>[3]; label_set list<item: string>; verdict string;
        heatmap fixed_size_list<item: uint8>[4]; pam fixed_size_list<item: uint8>[4]; person_peak float;
        person_area float; focus float; model string; version int32; engine string; run_id string;
        scored_at timestamp[us, tz=UTC]
    """
    schema = tag_schema(FORM, {"input": "s3://b/p"})

    assert " ".join(expected.split()) == "; ".join(f"{field.name} {field.type}" for field in schema)
    assert list(FORM.classes) == json.loads(schema.metadata[b"classes"])
    assert (b"2", b"2", b"s3://b/p") == tuple(schema.metadata[key] for key in (b"heatmap_h", b"heatmap_w", b"input"))


def test_without_scores_the_column_is_left_out():
    """
    ``--no-scores`` leaves out that column and no other.
    """
    form = TagForm(classes=FORM.classes, heatmap_hw=FORM.heatmap_hw, scores=False)
    table = rows(objects("ok"), output([[0.7, 0.2, 0.1]]), form, CALIBRATION, LINEAGE, NOW)

    assert [name for name in tag_schema(FORM).names if name != "scores"] == table.schema.names


def test_the_numbers_of_an_action():
    """
    Label, confidence, margin, entropy in nats, best classes, all scores: as computed by hand.
    """
    row = one_row([0.2, 0.7, 0.1])

    assert ("cooking", 1) == (row["label"], row["label_index"])
    assert pytest.approx((0.7, 0.5), abs=1e-6) == (row["confidence"], row["margin"])
    assert pytest.approx(-sum(p * math.log(p) for p in (0.2, 0.7, 0.1)), abs=1e-6) == row["entropy"]
    assert ["cooking", "climbing", "running"] == row["top_labels"]
    assert pytest.approx([0.7, 0.2, 0.1], abs=1e-6) == row["top_scores"]
    assert [float(np.float16(p)) for p in (0.2, 0.7, 0.1)] == row["scores"]


def test_certainty_has_no_entropy():
    """
    A probability of zero adds nothing, and is no NaN.
    """
    row = one_row([0.0, 1.0, 0.0])

    assert (0.0, 1.0, 1.0) == (row["entropy"], row["margin"], row["confidence"])


def test_five_of_many_classes_are_the_best():
    """
    The list of the best holds five, the likeliest first; equal ones in the order of the classes.
    """
    form = TagForm(classes=tuple("abcdefg"), heatmap_hw=(2, 2))
    said = output([[0.05, 0.3, 0.1, 0.3, 0.1, 0.1, 0.05]])
    row = rows(objects("ok"), said, form, CALIBRATION, LINEAGE, NOW).to_pylist()[0]

    assert ["b", "d", "c", "e", "f"] == row["top_labels"]


def test_the_label_set_holds_the_calibrated_classes_likeliest_first():
    """
    A class is in the set when 1 - probability is at most the conformal threshold (0.8).
    """
    row = one_row([0.25, 0.65, 0.1])

    assert ["cooking", "climbing"] == row["label_set"]


def test_verdicts_follow_the_calibration():
    """
    Confident is accepted, not confident is unsure, and without a person neither counts.
    """
    said = output([[0.9, 0.1, 0.0], [0.5, 0.4, 0.1], [0.9, 0.1, 0.0]], heatmap=[[1] * 4, [1] * 4, [0.2] * 4])
    table = rows(objects("ok", "ok", "ok"), said, FORM, CALIBRATION, LINEAGE, NOW)

    assert ["accept", "unsure", "no_person"] == table["verdict"].to_pylist()


def test_the_numbers_of_a_person():
    """
    Bytes of both maps, peak, area and focus: as computed by hand.
    """
    row = one_row([0.7, 0.2, 0.1], heatmap=[1.0, 0.6, 0.5, 0.0], pam=[3.0, 1.0, -2.0, 0.0])

    assert [255, 153, 128, 0] == row["heatmap"]
    assert [255, 85, 0, 0] == row["pam"]
    assert (1.0, 0.5) == (row["person_peak"], row["person_area"])
    assert pytest.approx((3 * 1.0 + 1 * 0.6) / 4, abs=1e-6) == row["focus"]


def test_no_positive_evidence_has_no_focus():
    """
    A PAM without a positive cell gives zeros and a null, not a division by zero.
    """
    row = one_row([0.7, 0.2, 0.1], heatmap=[1.0] * 4, pam=[-1.0, -2.0, 0.0, -3.0])

    assert ([0, 0, 0, 0], None) == (row["pam"], row["focus"])


def test_a_model_without_localisation_leaves_the_person_empty():
    """
    No heatmap: its columns are null, the rest is there.
    """
    row = one_row([0.7, 0.2, 0.1], pam=[1.0, 0.0, 0.0, 0.0])

    assert [None] * 4 == [row[name] for name in ("heatmap", "person_peak", "person_area", "focus")]
    assert ([255, 0, 0, 0], "climbing") == (row["pam"], row["label"])


def test_failed_rows_stay_in_their_place():
    """
    A failed object between two good ones has its reason and no answer; the good ones have their own answers.
    """
    said = output([[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]])
    table = rows(objects("ok", "failed", "ok"), said, FORM, CALIBRATION, LINEAGE, NOW)

    assert ["climbing", None, "running"] == table["label"].to_pylist()
    assert [None, "missing", None] == table["reason"].to_pylist()
    assert [None] == list({row[name] for row in table.to_pylist()[1:2] for name in ("confidence", "scores", "pam")})
    assert [("people", 7, "cafe", "r1", NOW)] * 3 == [
        (row["model"], row["version"], row["engine"], row["run_id"], row["scored_at"]) for row in table.to_pylist()
    ]


def test_a_batch_of_failures_alone_needs_no_engine():
    """
    Without an output every row is failed and typed as ever.
    """
    table = rows(objects("failed", "failed"), None, FORM, CALIBRATION, LINEAGE, NOW)

    assert tag_schema(FORM) == table.schema
    assert ["missing", "missing"] == table["reason"].to_pylist()


def test_marking_some_objects_as_failed():
    """
    They get status, reason and a detail of at most 500 characters; the others stay as they were.
    """
    table = failed(objects("ok", "failed", "ok"), np.array([False, False, True]), "engine_error", ["x" * 900])

    assert ["ok", "failed", "failed"] == table["status"].to_pylist()
    assert [None, "missing", "engine_error"] == table["reason"].to_pylist()
    assert [None, "gone", "x" * 500] == table["detail"].to_pylist()


def shard_table(run_id: str, keys: list[str], scored_at=NOW, **columns) -> pa.Table:
    count = len(keys)
    data = {"key": keys, "scored_at": [scored_at] * count, "run_id": [run_id] * count} | columns
    schema = tag_schema(FORM)
    return pa.table(
        [
            pa.array(data[n], schema.field(n).type) if n in data else pa.nulls(count, schema.field(n).type)
            for n in schema.names
        ],
        schema,
    )


def test_a_shard_is_written_once(store_uri):
    """
    The second writer is told so, and changes nothing.
    """
    store = open_store(store_uri)
    name = ShardName(run_id="r1", index=42)
    first = write_shard(store, name, shard_table("r1", ["a"]))
    second = write_shard(store, name, shard_table("r1", ["b", "c"]))

    assert store.get("tags/run=r1/shard-000042.parquet").data.__len__() == first
    assert second is None
    assert ["a"] == read_shard(store, name, ["key"])["key"].to_pylist()
    assert [name] == list(list_shards(store))


def test_what_is_no_shard_is_not_listed(tmp_path):
    """
    Files that other programs left are not read; other runs are told apart.
    """
    store = FolderStore(tmp_path)
    for run in ("r1", "r10"):
        write_shard(store, ShardName(run_id=run, index=0), shard_table(run, ["a"]))
    store.put("tags/run=r1/_SUCCESS", b"")
    store.put("tags/run=r1/shard-x.parquet", b"")

    assert [ShardName(run_id="r1", index=0)] == list(list_shards(store, "r1"))
    assert {"r1", "r10"} == {name.run_id for name in list_shards(store)}
    assert [] == list(list_shards(FolderStore(tmp_path / "nothing")))


def test_many_shards_come_in_order(tmp_path):
    """
    Reading ahead does not change the order, and only the wanted columns come.
    """
    store = FolderStore(tmp_path)
    names = [ShardName(run_id="r", index=index) for index in range(30)]
    for name in names:
        write_shard(store, name, shard_table("r", [f"k{name.index}"]))
    found = list(read_shards(store, names, ["key"]))

    assert [(name, [f"k{name.index}"]) for name in names] == [(name, table["key"].to_pylist()) for name, table in found]
    assert ["key"] == found[0][1].schema.names


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1"])
def test_a_broken_shard_is_named(tmp_path, data):
    """
    What is no Parquet file gives an error that names it.
    """
    store = FolderStore(tmp_path)
    store.put("tags/run=r/shard-000000.parquet", data)

    with pytest.raises(StorageError, match=r"shard-000000\.parquet: it is not a table of ours"):
        read_shard(store, ShardName(run_id="r", index=0))


@pytest.mark.parametrize(
    ("columns", "error"),
    [(["nothing"], None), (None, pa.ArrowException()), (None, OSError("")), (None, KeyError("\n"))],
)
def test_what_is_no_table_of_ours_is_named(tmp_path, monkeypatch, columns, error):
    """
    A column that is not there, and libraries that say nothing when they fail.
    """
    store, name = FolderStore(tmp_path), ShardName(run_id="r", index=0)
    write_shard(store, name, shard_table("r", ["a"]))
    if error is not None:
        monkeypatch.setattr(pq.ParquetFile, "read", Mock(side_effect=error))

    with pytest.raises(StorageError, match=r"shard-000000\.parquet: it is not a table of ours"):
        read_shard(store, name, columns)


def put(store: FolderStore, run_id: str, keys: list[str], scored_at=NOW, namespace: str | None = None) -> None:
    table = shard_table(run_id, keys, scored_at)
    more = {} if namespace is None else {"namespace": namespace}
    write_shard(store, ShardName(run_id=run_id, index=0), table.replace_schema_metadata(table.schema.metadata | more))


def latest(files: list[Path]) -> list[tuple[str, str]]:
    with duckdb.connect() as database:
        attach_shards(database, files, "every")
        database.execute(latest_rows_view("every", "latest"))
        assert "namespace" not in database.sql("from latest").columns
        return database.execute("select key, run_id from latest order by all").fetchall()


def test_the_latest_row_of_an_object_wins(tmp_path):
    """
    By the time of scoring; of two rows of the same moment the later run's. Runs that do not say what they scored too.
    """
    store = FolderStore(tmp_path)
    put(store, "r1", ["a", "b"])
    put(store, "r2", ["a"], NOW + timedelta(seconds=1))
    put(store, "r3", ["a"], NOW - timedelta(seconds=1))
    put(store, "r0", ["b"])

    assert [("a", "r2"), ("b", "r1")] == latest(local_files(store, tmp_path))


def test_equal_keys_of_two_inputs_are_two_objects(tmp_path):
    """
    Each bucket and each folder has its own latest row of a key.
    """
    store = FolderStore(tmp_path)
    put(store, "r1", ["a", "b"], namespace="s3://cats")
    put(store, "r2", ["a"], NOW + timedelta(days=1), namespace="s3://dogs")
    put(store, "r3", ["a"], NOW + timedelta(days=2), namespace="s3://cats")
    put(store, "r4", ["a"], NOW + timedelta(days=3))

    assert [("a", "r2"), ("a", "r3"), ("a", "r4"), ("b", "r1")] == latest(local_files(store, tmp_path))


@pytest.mark.parametrize("name", ["o [12]", "o*", "o?1", "o [", "o [!2]", "[]", "o]"])
def test_a_folder_is_no_pattern(tmp_path, name):
    """
    Its neighbours are not read in its place, nor with it, whatever its name.
    """
    put(FolderStore(tmp_path / "o 1"), "neighbour", ["a"])
    store = FolderStore(tmp_path / name)
    put(store, "mine", ["a"], namespace="s3://b")

    assert [("a", "mine")] == latest(local_files(store, tmp_path))


def test_a_copy_that_finds_no_room_is_told(s3, tmp_path):
    """
    What could not be written, and what to do.
    """
    output = open_store(s3.bucket())
    write_shard(output, ShardName(run_id="r", index=0), shard_table("r", ["a"]))
    (tmp_path / "full").touch()

    with pytest.raises(StorageError, match=r"cannot write .*shard-000000\.parquet: .* set TMPDIR"):
        local_files(output, tmp_path / "full")
