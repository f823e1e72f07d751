"""Lists of keys that exist already: S3 Inventory, Parquet, CSV, text."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workers.errors import SettingsError
from workers.score.inventory import Selection, list_objects, open_source
from workers.storage import FolderStore, Store, open_store

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def listed(source: str, inventory: str, **selection) -> list[tuple]:
    tables = list_objects(open_source(source), Selection(**selection), FolderStore("elsewhere"), inventory)
    rows = [tuple(row.values()) for table in tables for row in table.to_pylist()]
    return sorted(rows, key=lambda row: row[0])


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def put_inventory(store: Store, kind: str, schema: str, *files: bytes) -> None:
    """What S3 delivers: data files, and a manifest that names them by their keys in the bucket."""
    ending = ".csv.gz" if kind == "CSV" else ".parquet"
    names = [f"daily/photos/data/{number}{ending}" for number in range(len(files))]
    for name, data in zip(names, files, strict=True):
        store.put(name, data)
    manifest = {
        "sourceBucket": "photos",
        "destinationBucket": "arn:aws:s3:::lists",
        "version": "2016-11-30",
        "creationTimestamp": "1767355200000",
        "fileFormat": kind,
        "fileSchema": schema,
        "files": [
            {"key": name, "size": len(data), "MD5checksum": "x"} for name, data in zip(names, files, strict=True)
        ],
    }
    store.put("daily/photos/2026-01-02T01-00Z/manifest.json", json.dumps(manifest).encode())


def test_an_s3_inventory_in_csv(store_uri):
    """
    Keys are URL-encoded; old versions, delete markers and folder markers are left out; all files count.
    """
    schema = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag"
    row = '"photos","{}","v","{}","{}","{}","2026-01-02T12:00:00.000Z","{}"'
    first = [
        row.format("2024/caf%C3%A9+1%2B1.jpg", "true", "false", "10", "aa"),
        row.format("2024/old.jpg", "false", "false", "11", "bb"),
        row.format("2024/gone.jpg", "true", "true", "", ""),
        row.format("2024/", "true", "false", "0", "cc"),
    ]
    second = [
        row.format("2023/b.jpg", "true", "false", "12", "dd"),
        row.format("2024/c.jpg", "true", "false", "0", "ee"),
    ]
    files = [gzip.compress(("\n".join(lines) + "\n").encode()) for lines in (first, second)]
    put_inventory(open_store(store_uri), "CSV", schema, *files)
    manifest = f"{store_uri}/daily/photos/2026-01-02T01-00Z/manifest.json"

    assert [("2024/c.jpg", "ee", 0, NOON), ("2024/café 1+1.jpg", "aa", 10, NOON)] == listed(
        "s3://photos/2024", manifest
    )
    assert 3 == len(listed("s3://photos", manifest))
    with pytest.raises(SettingsError, match="lists the bucket photos, and --input is s3://others"):
        listed("s3://others", manifest)


def test_an_s3_inventory_in_parquet(store_uri):
    """
    Its columns have other names, its keys are as they are.
    """
    table = pa.table(
        {
            "bucket": ["photos", "photos"],
            "key": ["a b%20.jpg", "x/c.jpg"],
            "size": pa.array([5, 6], pa.int64()),
            "last_modified_date": pa.array([NOON, NOON], pa.timestamp("ms", tz="UTC")),
            "e_tag": ["aa", "bb"],
            "is_latest": [True, True],
            "is_delete_marker": [False, None],
        }
    )
    put_inventory(
        open_store(store_uri), "Parquet", "message s3.inventory {}", parquet(table.slice(0, 1)), parquet(table)
    )
    manifest = f"{store_uri}/daily/photos/2026-01-02T01-00Z/manifest.json"

    assert [("a b%20.jpg", "aa", 5, NOON)] * 2 + [("x/c.jpg", "bb", 6, NOON)] == listed("s3://photos", manifest)


def test_lists_of_keys(store_uri):
    """
    Parquet, CSV and text, also compressed; what a list does not tell is unknown, and a number may be a name.
    """
    store = open_store(store_uri)
    store.put("l.parquet", parquet(pa.table({"key": ["a.jpg"], "etag": ['"aa"'], "size_bytes": [7], "more": [1]})))
    store.put("l.csv", b"Size,Key\n7,0001\n,b.jpg\n")
    store.put("l.csv.gz", gzip.compress('\ufeffkey,LastModified\n"a, b.jpg",2026-01-02T12:00:00+00:00\n'.encode()))
    store.put("l.txt", b's3://photos/x/a.jpg\n\n"quoted", b.jpg\n')

    assert [("a.jpg", "aa", 7, None)] == listed("s3://photos", f"{store_uri}/l.parquet")
    assert [("0001", "", 7, None), ("b.jpg", "", None, None)] == listed("s3://photos", f"{store_uri}/l.csv")
    assert [("a, b.jpg", "", None, NOON)] == listed("s3://photos", f"{store_uri}/l.csv.gz")
    assert [('"quoted", b.jpg', "", None, None), ("x/a.jpg", "", None, None)] == listed(
        "s3://photos", f"{store_uri}/l.txt"
    )


@pytest.mark.parametrize(("kind", "schema"), [("Parquet", ""), ("CSV", "Bucket, Key")])
def test_a_broken_file_of_an_s3_inventory_is_named(tmp_path, kind, schema):
    """
    As other lists are.
    """
    put_inventory(open_store(str(tmp_path)), kind, schema, b"neither Parquet nor gzip")
    with pytest.raises(SettingsError, match=r"--inventory .*daily/photos/data/0\.\S+ cannot be read"):
        listed("s3://photos", str(tmp_path / "daily/photos/2026-01-02T01-00Z/manifest.json"))


def test_the_column_key_is_preferred(tmp_path):
    """
    Of a list with several columns that could be meant, wherever they stand.
    """
    (tmp_path / "l.csv").write_text("uri,Key,path,x,x\ns3://photos/a.jpg,b.jpg,/mnt/c.jpg,1,2\n")
    (tmp_path / "l.parquet").write_bytes(parquet(pa.table({"path": ["/mnt/c.jpg"], "uri": ["s3://photos/a.jpg"]})))

    assert ["b.jpg"] == [row[0] for row in listed("s3://photos", str(tmp_path / "l.csv"))]
    assert ["a.jpg"] == [row[0] for row in listed("s3://photos", str(tmp_path / "l.parquet"))]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.txt", b""),
        ("l.txt", b"\n\n"),
        ("l.txt.gz", gzip.compress(b"")),
        ("l.csv", b""),
        ("l.csv", b"key"),
        ("l.csv", b"\xef\xbb\xbfkey,etag\n"),
        ("l.csv.gz", gzip.compress(b"")),
        ("l.parquet", parquet(pa.table({"key": pa.array([], pa.string())}))),
    ],
)
def test_an_empty_list_is_no_objects(tmp_path, name, content):
    """
    A night on which nothing is new ends like any other.
    """
    (tmp_path / name).write_bytes(content)

    assert [] == listed("s3://photos", str(tmp_path / name))


def test_an_error_without_text_is_told_by_its_name(tmp_path, monkeypatch):
    """
    Some have none.
    """
    (tmp_path / "l.parquet").write_bytes(b"PAR1")

    def breaks(*_args, **_more):
        raise EOFError

    monkeypatch.setattr("workers.score.inventory.key_list.pq.ParquetFile", breaks)
    with pytest.raises(SettingsError, match="cannot be read: EOFError"):
        listed("s3://photos", str(tmp_path / "l.parquet"))


def test_a_list_is_filtered_as_a_listing_is(tmp_path):
    """
    Patterns, suffixes, sizes, limit and sample; an object of unknown size is never too small.
    """
    lines = [f"{number:03d}.JPG,{number}" for number in range(100)]
    (tmp_path / "l.csv").write_text("key,size\n" + "\n".join([*lines, "note.txt,50", "unknown.jpg,"]) + "\n")
    uri = str(tmp_path / "l.csv")
    sample = [row[0] for row in listed("s3://photos", uri, sample=0.3)]

    assert 50 == len(listed("s3://photos", uri, suffixes=(".jpg",), min_bytes=51))
    assert ["note.txt"] == [row[0] for row in listed("s3://photos", uri, include=("n*", "u*"), exclude=("*.jpg",))]
    assert 7 == len(listed("s3://photos", uri, limit=7))
    assert 15 < len(sample) < 45
    assert sample == [row[0] for row in listed("s3://photos", uri, sample=0.3)]
    assert set(sample) < {row[0] for row in listed("s3://photos", uri, sample=0.6)}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.json", b"{}", "only manifest.json of S3 Inventory"),
        ("l.parquet", b"PAR1 but no more", "cannot be read"),
        ("l.csv", b"name,size\na,1\n", "no column `key`"),
        ("l.csv", b"key,size\na,many\n", "many"),
        ("l.csv.gz", b"not gzip", "cannot be read"),
        ("l.txt", b"s3://other/a.jpg\n", "s3://other/a.jpg, which is not in s3://photos"),
        ("manifest.json", b"{}", "no manifest of S3 Inventory"),
        ("manifest.json", b'{"sourceBucket": "photos", "fileFormat": "ORC", "files": []}', "CSV or Parquet"),
        (
            "manifest.json",
            b'{"sourceBucket": "photos", "fileFormat": "CSV", "files": [{"key": "x.csv.gz"}]}',
            "neither beside it nor above it",
        ),
    ],
)
def test_a_list_that_cannot_be_used_says_why(tmp_path, name, content, message):
    """
    Another format, a broken file, no keys, another bucket: an error that names the list.
    """
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match="--inventory") as told:
        listed("s3://photos", str(tmp_path / name))

    assert message in str(told.value)


@pytest.mark.parametrize("key", ["../secret.jpg", "/etc/passwd", "x/../../y.jpg", "s3://b/c.jpg"])
def test_a_list_cannot_leave_the_folder(tmp_path, key):
    """
    Keys of a list are not trusted: a path out of the input's folder is refused.
    """
    (tmp_path / "l.txt").write_text(f"good.jpg\n{key}\n")
    with pytest.raises(SettingsError, match="which is not in"):
        listed(str(tmp_path / "photos"), str(tmp_path / "l.txt"))


def test_a_folder_takes_paths_within_it(tmp_path):
    """
    Relative, or absolute below the folder.
    """
    (tmp_path / "l.txt").write_text(f"a.jpg\n{tmp_path}/photos/x/b.jpg\n")

    assert ["a.jpg", "x/b.jpg"] == [row[0] for row in listed(str(tmp_path / "photos"), str(tmp_path / "l.txt"))]
