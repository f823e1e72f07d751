"""Many prefixes at once: nothing twice, nothing left out, and an end when somebody stops reading."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest

from workers.errors import Throttled
from workers.score.inventory import ListingNotes, Selection, list_objects, listing, open_source
from workers.score.inventory.listing import side_by_side, split
from workers.storage import FolderStore, ObjectInfo, S3Store, open_store


def level_of(tree: dict):
    """The ``level`` of a store that holds a tree: folders are dicts, objects None."""

    def level(folder: str):
        inside = tree
        for part in folder.split("/")[:-1]:
            inside = inside[part]
        for name, child in inside.items():
            yield (
                f"{folder}{name}/"
                if isinstance(child, dict)
                else ObjectInfo(key=folder + name, etag="", size_bytes=1, last_modified=None)
            )

    return level


def test_folders_are_opened_until_there_are_enough():
    """
    Objects on the way are kept; a narrow top does not hinder.
    """
    tree = {"readme": None, "photos": {f"{year}": {f"{month}": {} for month in range(12)} for year in range(10)}}
    prefixes, objects = split(level_of(tree), "")

    assert ["readme"] == [info.key for info in objects]
    assert len(prefixes) >= 64
    assert all(prefix.startswith("photos/") for prefix in prefixes)
    assert len(prefixes) == len(set(prefixes))


def test_a_wide_folder_is_listed_as_it_is():
    """
    A request for each of very many small folders would cost more than it brings.
    """
    tree = {"wide": {f"{number}": {} for number in range(5000)}, "narrow": {}}
    prefixes, objects = split(level_of(tree), "")

    assert {"wide/"} == set(prefixes)
    assert [] == objects


def test_a_bucket_is_listed_whole(s3, tmp_path):
    """
    Objects at every depth, each once, whether prefixes are asked at once or one after the other.
    """
    bucket = s3.bucket()
    store = open_store(bucket)
    keys = {"top.jpg", "a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg", "a-b/4.jpg", "d/é ü.jpg"}
    for key in keys:
        store.put(key, b"x")
    found = [
        key
        for table in list_objects(open_source(bucket), Selection(), FolderStore(tmp_path))
        for key in table["key"].to_pylist()
    ]

    assert sorted(keys) == sorted(found)


def test_a_listing_that_broke_off_goes_on_where_it_was(s3, tmp_path, monkeypatch):
    """
    The lots that were kept are not asked for again; nothing is lost or twice; at the end no note is left.
    """
    monkeypatch.setattr(listing, "_FIRST_ROWS", 10)
    monkeypatch.setattr(listing, "_ROWS", 10)
    monkeypatch.setattr(listing, "_WIDE", 10)
    bucket, output = s3.bucket(), FolderStore(tmp_path)
    for number in range(60):
        open_store(bucket).put(f"a/{number:03d}.jpg", b"x")
    asked_after = []
    whole = S3Store.list

    def breaks_off(store, prefix="", *, after=""):
        asked_after.append(after)
        for info in whole(store, prefix, after=after):
            if len(asked_after) == 1 and info.key == "a/045.jpg":
                raise Throttled("list", bucket, "503")
            yield info

    monkeypatch.setattr(S3Store, "list", breaks_off)
    notes = ListingNotes(output, "run", lot=20)

    def found() -> list[str]:
        tables = list_objects(open_source(bucket), Selection(), output, notes=notes)
        return [key for table in tables for key in table["key"].to_pylist()]

    with pytest.raises(Throttled):
        found()
    assert [f"a/{number:03d}.jpg" for number in range(60)] == sorted(found())
    assert ["", "a/039.jpg"] == asked_after
    notes.forget()
    assert [] == list(output.list("runs/run/listing/"))


class Sorted:
    """A store of so many keys, by their numbers."""

    def __init__(self, count: int) -> None:
        self.keys = [f"{number:04d}" for number in range(count)]

    def list(self, _prefix: str, after: str = ""):
        for key in self.keys:
            if key > after:
                yield ObjectInfo(key=key, etag="", size_bytes=1, last_modified=None)


def test_attempts_that_list_at_once_leave_no_key_out(tmp_path, monkeypatch):
    """
    One that was thought dead wakes up and writes a lot again, cut elsewhere. A third reads all keys, each once.
    """
    monkeypatch.setattr(listing, "_FIRST_ROWS", 2)
    monkeypatch.setattr(listing, "_ROWS", 10)
    store, notes = Sorted(200), ListingNotes(FolderStore(tmp_path), "run", lot=30)

    def some(tables, rows: int) -> None:
        while rows > 0:
            rows -= next(tables).num_rows

    first = listing._list_prefix(store, "p", notes)
    some(first, 52)  # One lot is written, and half of the second read.
    second = listing._list_prefix(store, "p", notes)
    some(second, 132)
    some(first, 30)
    first.close()
    second.close()
    found = [key for table in listing._list_prefix(store, "p", notes) for key in table["key"].to_pylist()]

    assert store.keys == found


def test_notes_that_do_not_follow_on_each_other_are_not_read(tmp_path):
    """
    A lot that was left behind by another attempt, after these were removed, continues something else.
    """
    notes = ListingNotes(FolderStore(tmp_path), "run", lot=10)
    keys = next(listing.as_tables(Sorted(30).list("p")))
    list(notes.keeping("p", 0, "", iter([keys.slice(0, 10)])))
    list(notes.keeping("p", 1, "0019", iter([keys.slice(20, 10)])))

    assert [keys.slice(0, 10)] == list(notes.kept("p"))


def test_tables_of_many_units_come_all():
    """
    Whatever the number of threads.
    """
    tables = side_by_side(list(range(50)), lambda unit: (pa.table({"n": [unit]}) for _ in range(3)), 4)

    assert sorted(list(range(50)) * 3) == sorted(number for table in tables for number in table["n"].to_pylist())
    assert [] == list(side_by_side([], lambda _unit: iter(()), 4))


def test_an_error_of_one_unit_reaches_the_reader():
    """
    As it was raised.
    """

    def read(unit: int):
        yield pa.table({"n": [unit]})
        if unit == 7:
            raise Throttled("list", "s3://b", "busy")

    with pytest.raises(Throttled, match="busy"):
        list(side_by_side(list(range(20)), read, 4))


def test_a_reader_who_stops_stops_the_threads():
    """
    None of them stays behind with a table that nobody takes.
    """
    before = set(threading.enumerate())
    tables = side_by_side(list(range(4)), lambda unit: (pa.table({"n": [unit]}) for _ in range(1000)), 4)
    next(tables)
    mine = set(threading.enumerate()) - before
    tables.close()
    for thread in mine:
        thread.join(timeout=10)

    assert mine
    assert not any(thread.is_alive() for thread in mine)
