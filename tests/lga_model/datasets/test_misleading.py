"""The misleading scenes: the same everywhere, balanced, boxed to the pixel, true in training and false in the test."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import simplejpeg

from lga_model.annotations import SPLITS, read_manifest, write_manifest
from lga_model.datasets import misleading
from lga_model.datasets.misleading import (
    ACTIONS,
    CONTEXTS,
    MisleadingConfig,
    Scene,
    generate_misleading,
    render_empty_scene,
    render_scene,
)
from lga_model.datasets.scene_figure import random_figure

SMALL = MisleadingConfig(size_px=64, train=16, val=8, test=8)


def digest(config: MisleadingConfig) -> str:
    scenes = [render_scene(config, split, index) for split in SPLITS for index in range(4)]
    seen = b"".join(scene.pixels_HWC.tobytes() + repr((scene.boxes, scene.context)).encode() for scene in scenes)
    return hashlib.sha256(seen + render_empty_scene(config, 0).tobytes()).hexdigest()


def contexts(config: MisleadingConfig, split: str, count: int) -> list[tuple[str, str]]:
    """The action and the context of many scenes, without painting them."""
    pairs = []
    for index in range(count):
        rng = misleading._stream(config, SPLITS.index(split), index)
        action = ACTIONS[index % len(ACTIONS)]
        pairs.append((action, misleading._context(rng, config, split, action)))
    return pairs


def assert_share(expected: float, hits: int, count: int) -> None:
    """Four standard deviations: with a fixed seed it holds or it does not, and a wrong share is far outside."""
    spread = 4 * math.sqrt(expected * (1 - expected) / count) if 0 < expected < 1 else 0.0

    assert abs(hits / count - expected) <= spread


def test_another_process_renders_the_same_pictures():
    """
    A scene depends on its configuration, split and index, not on the process or on Python's hash seed.
    """
    program = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('scenes', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(module.digest(module.SMALL))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert digest(SMALL) == run.stdout.strip()


def test_every_scene_is_another():
    """
    Seed, split and index each change the picture.
    """
    scenes = [
        render_scene(SMALL, "train", 0),
        render_scene(SMALL, "train", 8),
        render_scene(SMALL, "val", 0),
        render_scene(SMALL, "test", 0),
        render_scene(replace(SMALL, seed=1), "train", 0),
    ]

    assert len(scenes) == len({scene.pixels_HWC.tobytes() for scene in scenes})


def test_a_scene_does_not_depend_on_the_size_of_its_split():
    """
    A larger data set begins with the pictures of the smaller one.
    """
    more = replace(SMALL, train=1000)

    assert np.array_equal(render_scene(SMALL, "train", 5).pixels_HWC, render_scene(more, "train", 5).pixels_HWC)


@pytest.mark.parametrize("index", range(24))
def test_the_box_is_where_the_person_is(index):
    """
    Taking the person away changes pixels within the box, up to each of its edges, and none beyond a blended rim.
    """
    config = MisleadingConfig()
    scene = render_scene(config, "train", index)
    without = misleading._render(config, "train", index, person=False)
    changed = np.any(scene.pixels_HWC != without.pixels_HWC, axis=-1)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)

    assert scene.boxes == without.boxes
    assert scene.boxes[0] == pytest.approx(found, abs=1.25)


@pytest.mark.parametrize("split", SPLITS)
def test_a_person_is_whole_and_neither_tiny_nor_huge(split):
    """
    Each person lies inside the frame and is 35 to 65 % of its height.
    """
    for index in range(48):
        ((x0, y0, x1, y1),) = render_scene(SMALL, split, index).boxes

        assert min(x0, y0) > 0
        assert max(x1, y1) < 64
        assert 0.35 * 64 <= y1 - y0 <= 0.65 * 64


def test_people_stand_anywhere_and_face_both_ways():
    """
    Neither the place nor the direction of a person tells the action.
    """
    for action in range(len(ACTIONS)):
        boxes = np.array([render_scene(SMALL, "train", action + 8 * each).boxes[0] for each in range(24)])
        centres = (boxes[:, 0] + boxes[:, 2]) / 2

        assert centres.min() < 0.45 * 64
        assert centres.max() > 0.55 * 64
    trunks = [random_figure(np.random.default_rng(seed), "pointing").box for seed in range(24)]
    to_the_right = sum(x0 + x1 > 0 for x0, _, x1, _ in trunks)

    assert 4 < to_the_right < 20


def test_actions_are_balanced():
    """
    Every action appears equally often in every split of a multiple of eight.
    """
    for split in SPLITS:
        count = SMALL.scenes(split)
        actions = Counter(render_scene(SMALL, split, index).action for index in range(count))

        assert dict.fromkeys(ACTIONS, count // 8) == actions


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("split", SPLITS)
def test_the_context_tells_the_truth_in_training_and_lies_in_the_test(split, strength):
    """
    An action has its own context with probability strength + (1 - strength) / 8 in training and validation; in the test
    only by the chance of the rest, (1 - strength) / 8.
    """
    pairs = contexts(MisleadingConfig(strength=strength), split, 4000)
    own = sum(action == context for action, context in pairs)
    by_chance = (1 - strength) / 8

    assert_share(by_chance if split == "test" else strength + by_chance, own, len(pairs))


def test_a_lie_has_no_favourite():
    """
    In the test, the contexts of all other actions are equally likely: the background says nothing but what it is not.
    """
    lies = Counter(pair for pair in contexts(MisleadingConfig(strength=1.0), "test", 8 * 1400))

    assert {(action, other) for action in ACTIONS for other in ACTIONS if other != action} == lies.keys()
    for hits in lies.values():
        assert_share(1 / 7, hits, 1400)


def test_who_learns_the_background_fails():
    """
    The nearest mean thumbnail, too coarse to show a person, guesses most actions in validation and none in the test; in
    both it names the context.
    """
    config = replace(SMALL, strength=1.0)
    means = {
        action: np.mean([thumbnail(render_scene(config, "train", number + 8 * each)) for each in range(12)], axis=0)
        for number, action in enumerate(ACTIONS)
    }
    actions, named = Counter(), Counter()
    for split in ("val", "test"):
        for index in range(48):
            scene = render_scene(config, split, index)
            distances = {action: np.abs(mean - thumbnail(scene)).sum() for action, mean in means.items()}
            guess = min(ACTIONS, key=distances.__getitem__)
            actions[split] += guess == scene.action
            named[split] += guess == scene.context

    assert actions["val"] >= 40
    assert actions["test"] <= 4
    assert min(named["val"], named["test"]) >= 40


def thumbnail(scene: Scene) -> np.ndarray:
    """The mean colours of 4 x 4 patches of a picture of 64 x 64 pixels."""
    return scene.pixels_HWC.reshape(4, 16, 4, 16, 3).mean(axis=(1, 3))


def test_every_action_has_surroundings_of_its_own():
    """
    Eight actions, eight places, eight things.
    """
    assert set(ACTIONS) == CONTEXTS.keys()
    assert 8 == len(ACTIONS)
    assert 8 == len({each.background for each in CONTEXTS.values()})
    assert 8 == len({each.thing for each in CONTEXTS.values()})


@pytest.mark.parametrize("size_px", [32, 160, 333])
def test_pictures_have_the_size_asked_for(size_px):
    """
    Any size gives RGB bytes of that size; the scene is the same, seen larger.
    """
    config = MisleadingConfig(size_px=size_px)
    scene, empty = render_scene(config, "val", 3), render_empty_scene(config, 3)
    unit = render_scene(MisleadingConfig(size_px=100), "val", 3).boxes[0]

    assert (size_px, size_px, 3) == scene.pixels_HWC.shape == empty.shape
    assert np.uint8 == scene.pixels_HWC.dtype == empty.dtype
    assert np.array(scene.boxes[0]) / size_px == pytest.approx(np.array(unit) / 100)


def test_an_empty_scene_has_nobody(monkeypatch):
    """
    No figure is drawn in an empty scene, and each index gives another picture.
    """
    drawn = []
    monkeypatch.setattr(misleading.Figure, "draw", lambda figure, _pen: drawn.append(figure))
    pictures = [render_empty_scene(SMALL, index) for index in range(8)]

    assert [] == drawn
    assert all(not np.array_equal(one, other) for one, other in pairwise(pictures))


def test_annotations_match_the_files(tmp_path):
    """
    Each annotation names a JPEG that decodes to nearly the rendered scene, with its action, size and box.
    """
    annotations = list(generate_misleading(tmp_path, SMALL))

    assert [
        (split, f"images/{split}/{split}-{index:06d}.jpg") for split in SPLITS for index in range(SMALL.scenes(split))
    ] == [(annotation.split, annotation.image) for annotation in annotations]
    for number, annotation in enumerate(annotations[:16]):
        scene = render_scene(SMALL, "train", number)
        pixels = simplejpeg.decode_jpeg((tmp_path / annotation.image).read_bytes())

        assert (scene.action, scene.boxes) == (annotation.action, annotation.boxes)
        assert (annotation.height, annotation.width, 3) == pixels.shape
        assert np.abs(pixels.astype(float) - scene.pixels_HWC).mean() < 8


def test_a_manifest_of_them_has_no_problems(tmp_path):
    """
    What is generated can be written and read as a training manifest, whole.
    """
    annotations = tuple(generate_misleading(tmp_path, SMALL))
    manifest = read_manifest(write_manifest(annotations, "parquet"), "manifest.parquet")

    assert annotations == manifest.annotations
    assert () == manifest.problems
    assert ACTIONS == manifest.classes


def test_an_empty_split_makes_no_pictures(tmp_path):
    """
    A split of size 0 is left out.
    """
    splits = {annotation.split for annotation in generate_misleading(tmp_path, replace(SMALL, val=0))}

    assert {"train", "test"} == splits


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strength": 1.5}, "strength is a probability"),
        ({"strength": float("nan")}, "strength is a probability"),
        ({"size_px": 8}, "32 to 4096"),
        ({"train": -1}, "cannot be negative"),
        ({"seed": -1}, "cannot be negative"),
    ],
)
def test_an_impossible_configuration_is_refused(wrong, message):
    """
    The message says what is wrong before anything is rendered.
    """
    with pytest.raises(ValueError, match=message):
        MisleadingConfig(**wrong)


def test_there_is_no_scene_before_the_first():
    """
    A negative index is refused.
    """
    with pytest.raises(ValueError, match="no scene -1"):
        render_scene(SMALL, "train", -1)
