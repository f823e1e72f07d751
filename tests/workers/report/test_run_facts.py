"""The figures of a run are those of its rows, and photographs are chosen for what they are called."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest

from workers.errors import StorageError
from workers.report.run_facts import BACKGROUND, BINS, GROUPS, LEAST_SURE, NOBODY, SAMPLE, SUREST, open_run_tags
from workers.storage import open_store
from workers.tags import local_files

from .conftest import CLASSES, HOSTILE, Tagged, write_run


@contextmanager
def tags_of(tmp_path: Path, objects: list[Tagged]):
    output = write_run(tmp_path / "tagged", tmp_path, objects)
    with open_run_tags(local_files(open_store(str(output)), tmp_path / "copies")) as tags:
        yield tags


def test_figures_are_counted_from_the_rows(tmp_path):
    """
    Counts by label and verdict, medians, bins (1.0 in the last), failures by reason with their messages.
    """
    objects = [
        Tagged(key="a", label=0, confidence=0.92, focus=0.25),
        Tagged(key="b", label=0, confidence=0.42, focus=0.75),
        Tagged(key="c", label=2, confidence=1.0, focus=0.5),
        Tagged(key="d", label=2, confidence=0.9, focus=0.1, peak=0.2),
        Tagged(key="e", failure="timeout"),
    ]
    with tags_of(tmp_path, objects) as tags:
        facts = tags.facts()
    first, second = facts.classes

    assert (4, 1, 3) == (facts.ok, facts.failed, facts.known_classes)
    assert ("cooking", 2, 1, 1, 0) == (first.label, first.photographs, first.accept, first.unsure, first.no_person)
    assert (0.67, 0.5) == pytest.approx((first.confidence, first.focus))
    assert (1, 1) == (second.accept, second.no_person)
    assert {8: 1, 18: 2, 19: 1} == {index: amount for index, amount in enumerate(facts.confidence_bins) if amount}
    assert 4 == sum(facts.focus_bins) == sum(map(sum, facts.density))
    assert 1 == facts.density[BINS // 2][BINS - 1]
    assert pytest.approx(0.92) == facts.accepted_from
    assert [("timeout", 1, (("e", f"because of {HOSTILE}"),))] == [
        (each.reason, each.objects, each.examples) for each in facts.failures
    ]


def test_every_photograph_is_what_its_group_says(tmp_path):
    """
    Of each label the surest is the surest, the least sure the least sure, the least focused the least focused.
    """
    objects = [
        Tagged(key=f"{number:03d}", label=number % 3, confidence=0.4 + number / 200, focus=0.9 - number / 200)
        for number in range(99)
    ] + [Tagged(key="nobody", confidence=0.6, peak=0.1, focus=0.05)]
    with tags_of(tmp_path, objects) as tags:
        cards = tags.choose(26)
    chosen = {group: {card.key for card in cards if group in card.groups} for group in GROUPS}

    surest, least_sure = (_names(range(*ends)) for ends in ((96, 99), (0, 3)))

    assert surest <= chosen[SUREST] <= surest | _names(range(93, 96))
    assert surest <= chosen[BACKGROUND] <= surest | _names(range(93, 96))
    assert least_sure <= chosen[LEAST_SURE] <= least_sure | _names(range(3, 6))
    assert {"nobody"} == chosen[NOBODY]
    assert 26 == len(cards) == len({card.key for card in cards})
    assert len(chosen[SAMPLE]) >= 16


def _names(numbers: range) -> set[str]:
    return {f"{number:03d}" for number in numbers}


def test_the_sample_does_not_depend_on_what_the_model_said(tmp_path):
    """
    Other confidences, the same random sample.
    """
    samples = []
    for run, confidence in enumerate((0.4, 0.9)):
        objects = [Tagged(key=f"{number}", confidence=confidence + number / 1000) for number in range(60)]
        with tags_of(tmp_path / str(run), objects) as tags:
            samples.append({card.key for card in tags.choose(20) if SAMPLE in card.groups})

    assert 16 <= len(samples[0])
    assert samples[0] == samples[1]


def test_maps_and_labels_arrive_whole(tmp_path):
    """
    The maps have the shape that the file names, the likeliest labels come first.
    """
    with tags_of(tmp_path, [Tagged(key="a", label=1, confidence=0.7, focus=0.5)]) as tags:
        (card,) = tags.choose(5)
    person, evidence = card.maps

    assert [[255, 0], [0, 0]] == person.cells_HW.tolist()
    assert [[255, 0], [0, 255]] == evidence.cells_HW.tolist()
    assert CLASSES[1] == card.labels[0][0] == card.label


def test_a_file_that_is_no_table_is_told(tmp_path):
    """
    The name of the folder, and no traceback.
    """
    (tmp_path / "shard-000000.parquet").write_bytes(b"PAR1 but not really")

    with pytest.raises(StorageError, match=str(tmp_path)), open_run_tags([tmp_path / "shard-000000.parquet"]) as tags:
        tags.facts()
