"""Which objects a run is about."""

from __future__ import annotations

import os

import pytest

from workers.errors import AccessDenied, ObjectMissing
from workers.score.inventory import Selection, list_objects, open_source
from workers.storage import FolderStore, forget_client, open_store


def keys(uri: str, output, **selection) -> list[str]:
    tables = list_objects(open_source(uri), Selection(**selection), output)
    return sorted(key for table in tables for key in table["key"].to_pylist())


@pytest.fixture
def output(tmp_path) -> FolderStore:
    return FolderStore(tmp_path / "output")


def test_a_bucket_tells_full_keys(s3, output):
    """
    The key of a row names the object in its bucket, whatever prefix was asked for; a prefix is a folder.
    """
    bucket = s3.bucket()
    for key in ("2024/a.jpg", "2024/deep/b.jpg", "2024-old/c.jpg"):
        open_store(bucket).put(key, b"x")

    assert ["2024/a.jpg", "2024/deep/b.jpg"] == keys(f"{bucket}/2024", output)
    assert keys(f"{bucket}/2024", output) == keys(f"{bucket}/2024/", output)
    assert 3 == len(keys(bucket, output))
    assert open_source(bucket).namespace == open_source(f"{bucket}/2024").namespace == bucket


def test_a_folder_tells_paths_within_it(tmp_path, output):
    """
    The key of a row is relative to the folder.
    """
    store = FolderStore(tmp_path / "photos")
    store.put("x/a.jpg", b"x")

    assert ["x/a.jpg"] == keys(str(tmp_path / "photos"), output)


def test_folder_markers_are_no_objects(s3, output):
    """
    An empty object whose key ends in a slash is what consoles make for a folder; an empty photograph is an object.
    """
    bucket = s3.bucket()
    store = open_store(bucket)
    store.put("photos/", b"")
    store.put("photos/empty.jpg", b"")

    assert ["photos/empty.jpg"] == keys(bucket, output)


def test_patterns_see_the_key_below_the_prefix(tmp_path, output):
    """
    Included by any pattern and excluded by none; a star crosses slashes, case counts.
    """
    store = FolderStore(tmp_path / "photos")
    for key in ("a.jpg", "b.JPG", "x/c.jpg", "x/d.png", "thumbs/e.jpg"):
        store.put(key, b"x")
    uri = str(tmp_path / "photos")

    assert ["a.jpg", "thumbs/e.jpg", "x/c.jpg"] == keys(uri, output, include=("*.jpg",))
    assert ["a.jpg", "x/c.jpg", "x/d.png"] == keys(uri, output, include=("*.jpg", "*.png"), exclude=("thumbs/*",))


def test_the_limit_counts_what_is_wanted(tmp_path, output):
    """
    Objects that are left out do not use it up.
    """
    store = FolderStore(tmp_path / "photos")
    for key in ("a.txt", "b.jpg", "c.txt", "d.jpg", "e.jpg"):
        store.put(key, b"x")

    assert ["b.jpg", "d.jpg"] == keys(str(tmp_path / "photos"), output, include=("*.jpg",), limit=2)


@pytest.mark.parametrize(
    ("source", "below"),
    [
        pytest.param("", "tagged/", id="inside of the source"),
        pytest.param("", "", id="the same place, the root"),
        pytest.param("a [1]/", "a [1]/", id="the same place, a folder"),
        pytest.param("a [1]/b/", "a [1]/", id="above the source"),
        pytest.param("a [1]/", "elsewhere/", id="beside the source"),
    ],
)
def test_what_was_written_is_not_read(store_uri, source, below):
    """
    Wherever the output lies, it does not feed itself; and photographs that lie there are photographs like others.
    """
    store = open_store(store_uri)
    ours = ["tags/run=r/shard-000000.parquet", "runs/r/plan.json", "runs/r/plan/1a-000000.parquet", "runs/lease-1.json"]
    photographs = ["a [1]/b/1.jpg", "a [1]/runs/2.jpg", "a [1]/tags/3.jpg", "tagged-too/4.jpg", "tagged/runs/5.jpg"]
    for key in (*(below + key for key in ours), *photographs):
        store.put(key, b"x")
    wanted = [key for key in photographs if key.startswith(source)]
    if isinstance(store, FolderStore):
        wanted = [key.removeprefix(source) for key in wanted]

    assert wanted == keys(f"{store_uri}/{source}", open_store(f"{store_uri}/{below}"))


def test_a_name_that_is_no_text_is_told_with_escapes(tmp_path, output):
    """
    A file name that is no UTF-8 gets a row like any other.
    """
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")

    assert ["caf\\udce9.jpg"] == keys(str(tmp_path / "photos"), output)


def test_a_missing_place_says_so(s3, tmp_path, output):
    """
    No such bucket, no such folder: an error that names it; an empty prefix is simply empty.
    """
    with pytest.raises(ObjectMissing, match="no such bucket"):
        keys(f"{s3.bucket()}-nobody", output)
    with pytest.raises(ObjectMissing, match="no such folder"):
        keys(str(tmp_path / "nothing"), output)

    assert [] == keys(f"{s3.bucket()}/nothing", output)


def test_wrong_credentials_say_so(s3, output, monkeypatch):
    """
    Refused credentials are an error of their own kind.
    """
    bucket = s3.bucket()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    forget_client()
    try:
        with pytest.raises(AccessDenied, match="credentials"):
            keys(bucket, output)
    finally:
        monkeypatch.undo()
        forget_client()
