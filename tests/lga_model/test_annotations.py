"""A manifest is read whole, and each row that is wrong is named by line, field and reason."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lga_model.annotations import Annotation, ManifestError, read_manifest, write_manifest

GOOD = {"image": "a.jpg", "action": "running", "split": "train", "boxes": [[1, 2, 30, 40]], "width": 100, "height": 50}


def lines(*rows: object) -> bytes:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()


finite = st.floats(0, 1000, allow_nan=False)
names = st.text(min_size=1).filter(lambda text: text.strip() and "\0" not in text)
annotations = st.builds(
    lambda image, action, split, corner, keypoints: Annotation(
        image=image,
        action=action,
        split=split,
        boxes=((corner[0], corner[1], corner[0] + 5.5, corner[1] + 7.25),),
        width=1100,
        height=1200,
        keypoints=keypoints,
    ),
    names,
    names,
    st.sampled_from(["train", "val", "test"]),
    st.tuples(finite, finite),
    st.none() | st.lists(st.tuples(finite, finite)).map(tuple),
)


@given(
    st.lists(annotations, min_size=1, max_size=5, unique_by=lambda row: row.image),
    st.sampled_from(["parquet", "jsonl"]),
)
def test_what_is_written_is_read_back(written, kind):
    """
    Both formats keep every field, and the same annotations give the same bytes.
    """
    data = write_manifest(written, kind)
    manifest = read_manifest(data, "manifest")

    assert tuple(written) == manifest.annotations
    assert () == manifest.problems
    assert data == write_manifest(written, kind)


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"image": ""}, "image", "text"),
        ({"image": None}, "image", "missing"),
        ({"image": "a\0.jpg"}, "image", "zero byte"),
        ({"action": 3}, "action", "text"),
        ({"split": "training"}, "split", "train, val, test"),
        ({"boxes": None}, "boxes", "missing"),
        ({"boxes": "none"}, "boxes", "list"),
        ({"boxes": [[1, 2, 3]]}, "boxes[0]", "4 finite"),
        ({"boxes": [[1, 2, 3, float("nan")]]}, "boxes[0]", "4 finite"),
        ({"boxes": [[1, 2, 3, 10**400]]}, "boxes[0]", "4 finite"),
        ({"boxes": [[1, 2, 3, True]]}, "boxes[0]", "4 finite"),
        ({"width": 0}, "width", "pixels"),
        ({"width": 1.5}, "width", "pixels"),
        ({"height": None}, "height", "missing"),
        ({"keypoints": [[1]]}, "keypoints[0]", "2 finite"),
        ({"nobody": "yes"}, "nobody", "true or false"),
        ({"nobody": True}, "nobody", "has person boxes"),
    ],
)
def test_a_bad_row_is_named(change, field, told):
    """
    The row is left out; the problem says line, field and what was expected. The other rows stay.
    """
    manifest = read_manifest(lines(GOOD, GOOD | change), "m.jsonl")

    assert 1 == len(manifest.annotations)
    assert [(2, field, True)] == [(each.line, each.field, each.row_is_bad) for each in manifest.problems]
    assert told in manifest.problems[0].reason
    assert f"line 2, {field}" in str(manifest.problems[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"split": "test"}, "split: 'a.jpg' is in test, and by line 1 in train"),
        ({"action": "cooking"}, "action: 'a.jpg' is 'cooking', and by line 1 'running'"),
        ({"nobody": True, "boxes": []}, "action: 'a.jpg' is 'nobody', and by line 1 'running'"),
        ({"boxes": []}, None),
    ],
)
def test_rows_of_one_image_agree_on_split_and_action(change, reason):
    """
    What was trained on is not measured on, and nobody guesses which of two actions is right: the later row is bad. One
    that agrees is good.
    """
    manifest = read_manifest(lines(GOOD, GOOD | {"image": "b.jpg"}, GOOD | change), "m.jsonl")

    assert ([] if reason is None else [f"line 3, {reason}"]) == [str(problem) for problem in manifest.bad_rows]
    assert (3 if reason is None else 2) == len(manifest.annotations)


@pytest.mark.parametrize("text", ["{", "[1, 2]", "3", "[" * 100_000])
def test_a_line_that_is_no_object_is_named(text):
    """
    Broken JSON costs one line, not the file.
    """
    manifest = read_manifest(lines(GOOD, text, GOOD), "m.jsonl")

    assert 2 == len(manifest.annotations)
    assert [2] == [problem.line for problem in manifest.bad_rows]


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ([30, 2, 1, 40], ()),
        ([5, 5, 5, 40], ()),
        ([200, 2, 300, 40], ()),
        ([-50, -50, -1, -1], ()),
        ([-5, -5, 30, 500], ((0.0, 0.0, 30.0, 50.0),)),
    ],
)
def test_a_bad_box_costs_the_box(box, kept):
    """
    Inverted, empty and outside boxes are dropped and reported, the row stays; a box over the edge is clipped.
    """
    manifest = read_manifest(lines(GOOD | {"boxes": [box]}), "m.jsonl")

    assert (kept,) == tuple(annotation.boxes for annotation in manifest.annotations)
    assert (0 if kept else 1) == len(manifest.problems)
    assert () == manifest.bad_rows


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_photograph_of_nobody_has_no_action(kind):
    """
    It is no row of a split to learn an action from, and names no class; it is asked for by itself.
    """
    empty = Annotation(image="sky.jpg", action="", split="val", boxes=(), width=9, height=9, nobody=True)
    data = write_manifest([*read_manifest(lines(GOOD | {"split": "val"}), "m").annotations, empty], kind)
    manifest = read_manifest(data, "m")

    assert ("running",) == manifest.classes
    assert ["a.jpg"] == [row.image for row in manifest.split("val")]
    assert (empty,) == manifest.nobody("val")
    assert () == manifest.problems


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no rows"),
        (b"\n\n", "no rows|no line"),
        (b"\xff\xfe\x00\x01", "neither"),
        (b"image,action\na,b\n", "neither"),
        (b"PAR1 and then nothing", "damaged"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(data, told):
    """
    The message names the file and what it is not.
    """
    with pytest.raises(ManifestError, match=told) as caught:
        read_manifest(data, "the-file")

    assert "the-file" in str(caught.value)


def test_a_parquet_file_without_a_column_names_it():
    """
    A table of something else is refused by what it lacks.
    """
    sink = io.BytesIO()
    pq.write_table(pa.table({"image": ["a"], "action": ["b"]}), sink)
    with pytest.raises(ManifestError, match="split, boxes, width, height"):
        read_manifest(sink.getvalue(), "m.parquet")


def test_a_number_of_thousands_of_digits_is_named():
    """
    Python refuses to read such a number; the row is bad, the rest of the file is good.
    """
    manifest = read_manifest(lines(GOOD, '{"width": ' + "9" * 5000 + "}"), "manifest")

    assert 1 == len(manifest.annotations)
    assert [2] == [problem.line for problem in manifest.bad_rows]


def test_half_a_surrogate_pair_is_named():
    """
    A text that cannot be written to any file is refused where it comes in.
    """
    manifest = read_manifest(lines(GOOD, {**GOOD, "image": "\ud800.jpg"}), "manifest")

    assert [(2, "image")] == [(problem.line, problem.field) for problem in manifest.bad_rows]


def test_a_parquet_file_with_text_that_is_no_text_is_refused():
    """
    Bytes that are not UTF-8 in a text column are damage, told by the file's name.
    """
    annotation = Annotation(
        image="abcdef.jpg", action="running", split="train", boxes=((1.0, 2.0, 3.0, 4.0),), width=9, height=9
    )
    table = pq.read_table(io.BytesIO(write_manifest([annotation], "parquet")))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_statistics=False)

    with pytest.raises(ManifestError, match=r"manifest is a damaged Parquet file"):
        read_manifest(sink.getvalue().replace(b"abcdef.jpg", b"abc\xff\xfef.jpg"), "manifest")


def test_other_columns_are_left_alone():
    """
    A team's own columns do no harm.
    """
    assert () == read_manifest(lines(GOOD | {"licence": "ours"}), "m.jsonl").problems


@pytest.mark.parametrize("letter", ["\u2028", "\x85", "\x1c", "\r"])
def test_a_line_ends_at_the_line_feed_alone(letter):
    """
    Other letters that some programs take for the end of a line may stand in a name.
    """
    action = f"run{letter}ning"
    written = Annotation(image="a", action=action, split="val", boxes=(), width=1, height=1)

    assert (written,) == read_manifest(write_manifest([written], "jsonl"), "m.jsonl").annotations


def test_classes_and_splits():
    """
    Classes come in the order of the alphabet, whatever the order of the rows.
    """
    manifest = read_manifest(lines(GOOD, GOOD | {"image": "b.jpg", "action": "cooking", "split": "val"}), "m.jsonl")

    assert ("cooking", "running") == manifest.classes
    assert ["cooking"] == [annotation.action for annotation in manifest.split("val")]
