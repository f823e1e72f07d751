"""What a candidate would change: the sample, the comparison, the page."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from workers.runs.plan import LISTED
from workers.score.inventory import open_source
from workers.score.shadow.compare import COLUMNS, compare
from workers.score.shadow.job import _tags
from workers.score.shadow.page import page
from workers.score.shadow.sample import draw
from workers.storage import FolderStore
from workers.tags import ShardName, TagForm, tag_schema, write_shard

FORM = TagForm(classes=("run", "swim"), heatmap_hw=(1, 2))


def listing(**folders: int) -> pa.Table:
    keys = [f"p/{folder}/{number}.jpg" for folder, count in folders.items() for number in range(count)]
    rows = [{"key": key, "etag": "e", "size_bytes": None, "last_modified": None} for key in keys]
    return pa.Table.from_pylist(rows, LISTED)


def tags(rows: list[tuple]) -> pa.Table:
    """Rows (key, label, confidence, heatmap); None as label is a failure."""
    schema = tag_schema(FORM)
    data = [
        {
            "key": key,
            "status": "ok" if label else "failed",
            "label": label,
            "confidence": confidence,
            "focus": confidence,
            "heatmap": heatmap,
        }
        for key, label, confidence, heatmap in rows
    ]
    return pa.Table.from_pylist(data, schema).select(COLUMNS)


def test_every_folder_has_its_share_of_the_sample():
    """
    A small one is seen, a large one counts more; the weights add up to the listing; the order does not matter.
    """
    table = listing(large=900, middle=90, small=2)
    sample = draw(iter([table]), "p/", 100)
    chosen = list(sample.stratum_of.values())
    backwards = draw(iter([table.slice(row, 1) for row in reversed(range(table.num_rows))]), "p/", 100)

    assert {"large": 900, "middle": 90, "small": 2} == sample.listed
    assert 2 == chosen.count("small")
    assert chosen.count("large") > chosen.count("middle") > 2
    assert 992 == pytest.approx(sum(sample.weight_of.values()))
    assert sample.stratum_of == backwards.stratum_of
    assert [0] * len(chosen) == sample.objects["size_bytes"].to_pylist()


def test_a_sample_of_little_is_all_of_it():
    """
    Fewer objects than asked for; and none at all.
    """
    assert 3 == draw(iter([listing(a=2, b=1)]), "p/", 100).objects.num_rows
    assert 0 == draw(iter([]), "p/", 100).objects.num_rows


def test_an_object_that_is_named_twice_is_chosen_once():
    """
    Lists may do so, with equal facts or others: it has one row, and the weight of one.
    """
    once = listing(a=20, b=5)
    changed = once.set_column(1, "etag", pa.array(["later"] * once.num_rows))
    sample = draw(iter([once, once, changed]), "p/", 100)
    few = draw(iter([once, once, changed]), "p/", 10)

    assert sorted(once["key"].to_pylist()) == sorted(sample.objects["key"].to_pylist())
    assert {"e"} == set(sample.objects["etag"].to_pylist())
    assert {"a": 20, "b": 5} == sample.listed
    assert few.objects.num_rows == len(few.stratum_of)


def compared():
    production = tags(
        [
            ("a", "run", 0.9, [255, 0]),
            ("b", "run", 0.8, [255, 0]),
            ("c", "swim", 0.7, [0, 0]),
            ("d", "swim", 0.6, [0, 0]),
            ("e", None, None, None),
        ]
    )
    candidate = tags(
        [
            ("a", "run", 0.8, [255, 0]),
            ("b", "swim", 0.8, [255, 255]),
            ("c", "swim", 0.6, [0, 0]),
            ("d", None, None, None),
            ("e", "run", 0.5, [0, 0]),
        ]
    )
    weights = {"a": 1.0, "b": 8.0, "c": 1.0, "d": 1.0, "e": 1.0}
    return compare(production, candidate, weights, dict.fromkeys("abcde", "x") | {"c": "y"})


def test_flips_and_shifts_are_counted():
    """
    A case that can be worked out by hand; the share of flips is weighted by what each photograph stands for.
    """
    found = compared()

    assert (3, 1, 1, 1) == (found.compared, found.flips, found.only_production, found.only_candidate)
    assert 0.8 == pytest.approx(found.flip_share)
    assert {"run": {"run": 1, "swim": 1}, "swim": {"swim": 1}} == found.matrix
    assert -0.2 / 3 == pytest.approx(found.confidence_shift, abs=1e-6)
    assert 1 / 6 == pytest.approx(found.heatmap_difference)
    assert 0.75 == pytest.approx(found.heatmap_overlap)
    assert {"x": (2, 1), "y": (1, 0)} == found.by_folder


def test_nothing_in_common_is_no_error():
    """
    Two models that tag no photograph both have nothing to compare.
    """
    found = compare(tags([("a", None, None, None)]), tags([("a", "run", 0.5, [0, 0])]), {"a": 1.0}, {"a": ""})

    assert (0, None, None) == (found.compared, found.flip_share, found.heatmap_difference)


def test_tags_of_another_input_are_left_alone(tmp_path):
    """
    Of the sampled folder the latest row of the engine counts; an equal key of another folder is another photograph.
    """
    rows = [("mine", "old", "cafe"), ("mine", "run", "cafe"), ("mine", "other", "beef"), ("elsewhere", "swim", "cafe")]
    for day, (folder, label, engine) in enumerate(rows):
        schema = tag_schema(FORM, {"namespace": str(tmp_path / folder)})
        row = {"key": "1.jpg", "label": label, "engine": engine}
        row |= {"scored_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)}
        table = pa.Table.from_pylist([row], schema)
        write_shard(FolderStore(tmp_path / "output"), ShardName(run_id=f"r{day}", index=0), table)
    source = open_source(str(tmp_path / "mine"))
    found = _tags(FolderStore(tmp_path / "output"), source, "cafe", pa.chunked_array([["1.jpg"]]))

    assert ["run"] == found["label"].to_pylist()


def test_the_page_escapes_what_comes_from_outside():
    """
    Labels, folders and the input are text, not markup; the page takes nothing from elsewhere.
    """
    comparison = asdict(compared()) | {"matrix": {"<b>run</b>": {"<i>swim": 3}}, "by_folder": {"<script>": (3, 3)}}
    model = {"model": "people", "version": 7, "engine": "cafe", "target": "torch", "precision": "fp32"}
    facts = {"input": "s3://b/<p>", "production": model, "candidate": model, "sampled": 5, "listed": 12}
    text = page(json.loads(json.dumps(facts | {"comparison": comparison, "retag": None})))

    assert "<script" not in text
    assert "&lt;b&gt;run&lt;/b&gt;" in text
    assert "s3://b/&lt;p&gt;" in text
    assert "http:" not in text.replace("http-equiv", "")
    assert 'class="flip5"' in text
