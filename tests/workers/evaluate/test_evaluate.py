"""`lga evaluate` from the command line, its figures against plain formulas."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from lga_model.calibration import Calibration
from lga_model.checkpoint import load_model
from lga_model.images import decode_image
from workers.__main__ import main
from workers.evaluate import job
from workers.evaluate.measure import evaluate_observations
from workers.evaluate.observe import observe
from workers.manifest import load_manifest
from workers.settings import EvaluateSettings
from workers.storage import read_uri

pytestmark = pytest.mark.usefixtures("own_cache")
ACTIONS = ["climbing", "cooking", "running"]


def evaluate(bundle: Path, manifest: Path, *flags: str) -> int:
    return main(["evaluate", "--model", str(bundle), "--manifest", str(manifest), *flags])


def figures(bundle: Path, manifest: Path, *flags: str) -> dict:
    output = bundle.parent / "evaluation.json"
    assert 0 == evaluate(bundle, manifest, "--json-output", str(output), *flags)
    return json.loads(output.read_text())


def plain_outputs(bundle: Path, manifest: Path, split: str):
    """Rows of the split, and what the network says, one photograph at a time."""
    network, record = load_model(bundle)
    rows = load_manifest(str(manifest)).split(split)
    images = np.stack([decode_image(Path(row.image).read_bytes(), 64).pixels_HWC for row in rows])
    with torch.no_grad():
        prediction = network(torch.tensor(images))
    probabilities = torch.softmax(prediction.logits_BA / record.calibration.temperature, 1).numpy()
    best = probabilities.argmax(axis=1)
    pam = prediction.cam_BAHW.numpy()[np.arange(len(rows)), best]
    return rows, probabilities, pam, prediction.heatmap_BHW


def test_the_figures_are_those_of_plain_formulas(make_bundle, photo_manifest):
    """
    mAP as scikit-learn computes it, top-1 counted, focus and overlap summed cell by cell over the boxed photographs.
    """
    bundle = make_bundle(seed=3)
    found = figures(bundle, photo_manifest)
    rows, probabilities, pam, heatmap = plain_outputs(bundle, photo_manifest, "test")
    truth = np.array([ACTIONS.index(row.action) for row in rows])
    precision = [average_precision_score(truth == k, probabilities[:, k]) for k in range(3)]
    # The box (10, 8)-(50, 60) of 96 x 72 on 4 x 4 cells of 24 x 18: centres at x 12, 36, 60, 84 and y 9, 27, 45, 63.
    person = np.zeros((4, 4), bool)
    person[0:3, 0:2] = True
    boxed = [index for index, row in enumerate(rows) if row.boxes]
    positive = np.maximum(pam[boxed], 0)
    focus = [each[person].sum() / each.sum() for each in positive if each.sum() > 0]
    seen = heatmap.numpy()[boxed] > 0.5

    assert 9 == found["images"]
    assert pytest.approx(precision) == [found["average_precision"][name] for name in ACTIONS]
    assert pytest.approx(np.mean(precision)) == found["mean_average_precision"]
    assert pytest.approx((probabilities.argmax(1) == truth).mean()) == found["top1"]
    assert pytest.approx(np.mean(focus), rel=1e-4) == found["focus"]
    assert pytest.approx(np.mean([(s & person).sum() / (s | person).sum() for s in seen])) == found["mask_iou"]


def test_the_batch_size_moves_no_figure(make_bundle, photo_manifest):
    """
    Batches are a matter of speed.
    """
    bundle = make_bundle()
    together, apart = (figures(bundle, photo_manifest, "--batch-size", size) for size in ("32", "2"))

    assert pytest.approx(together["average_precision"]) == apart["average_precision"]
    assert pytest.approx([together[name] for name in ("focus", "mask_iou", "calibration_error")], rel=1e-4) == [
        apart[name] for name in ("focus", "mask_iou", "calibration_error")
    ]


def test_the_split_is_a_setting(make_bundle, photo_manifest):
    """
    Only the rows of the split are measured, and the answer says which and of which manifest.
    """
    found = figures(make_bundle(), photo_manifest, "--split", "val")

    assert (6, "val") == (found["images"], found["split"])
    assert load_manifest(str(photo_manifest)).digest == found["manifest_sha256"]
    assert {"climbing": 2, "cooking": 2, "running": 2} == found["class_images"]


def test_what_cannot_be_measured_is_null(make_bundle, photo_manifest, tmp_path, capsys):
    """
    Without heatmap, boxes or a class's photographs there is no figure: null in JSON, a dash in the table, never NaN.
    """
    rows = [json.loads(line) for line in photo_manifest.read_text().splitlines()]
    chosen = [
        row | {"boxes": [], "image": str(photo_manifest.parent / row["image"])}
        for row in rows
        if row["action"] != "cooking"
    ]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in chosen))
    found = figures(make_bundle(localisation=False), manifest)

    assert (None, None, None) == (found["mask_iou"], found["focus"], found["average_precision"]["cooking"])
    assert found["mean_average_precision"] == pytest.approx(
        (found["average_precision"]["climbing"] + found["average_precision"]["running"]) / 2
    )
    assert "nan" not in capsys.readouterr().out.lower()


def test_the_table_ranks_the_actions(make_bundle, photo_manifest, capsys):
    """
    The best action stands first.
    """
    found = figures(make_bundle(seed=3), photo_manifest)
    ranked = sorted(ACTIONS, key=lambda name: (-found["average_precision"][name], name))
    out = capsys.readouterr().out

    assert sorted(ranked, key=out.index) == ranked
    assert f"{found['mean_average_precision']:.4f}" in out


def test_the_result_can_go_to_a_bucket(s3, make_bundle, photo_manifest):
    """
    --json-output takes a URI.
    """
    uri = f"{s3.bucket()}/results/evaluation.json"

    assert 0 == evaluate(make_bundle(), photo_manifest, "--json-output", uri)
    assert 9 == json.loads(read_uri(uri))["images"]


def test_bad_rows_stop_it_unless_they_may_be_skipped(make_bundle, photo_manifest, tmp_path, capsys):
    """
    Exit code 2 with line and reason; with --skip-invalid they are counted.
    """
    rows = [json.loads(line) for line in photo_manifest.read_text().splitlines()]
    rows = [row | {"image": str(photo_manifest.parent / row["image"])} for row in rows]
    rows[1]["width"] = -3
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bundle = make_bundle()
    code = evaluate(bundle, tmp_path / "m.jsonl")

    assert 2 == code
    assert "line 2, width" in capsys.readouterr().err
    assert 1 == figures(bundle, tmp_path / "m.jsonl", "--skip-invalid")["skipped_rows"]


def test_actions_that_the_model_does_not_know_are_named(make_bundle, photo_manifest, tmp_path, capsys):
    """
    A manifest of another task is refused before anything is computed.
    """
    (tmp_path / "m.jsonl").write_text(photo_manifest.read_text().replace("cooking", "juggling"))
    code = evaluate(make_bundle(), tmp_path / "m.jsonl")

    assert 2 == code
    assert "does not know: juggling" in capsys.readouterr().err


def test_an_empty_split_is_told(make_bundle, photo_manifest, tmp_path, capsys):
    """
    A split without a photograph is the user's mistake.
    """
    (tmp_path / "m.jsonl").write_text(photo_manifest.read_text().replace('"test"', '"val"'))
    code = evaluate(make_bundle(), tmp_path / "m.jsonl")

    assert 2 == code
    assert "no photographs in its split test" in capsys.readouterr().err


def test_no_photographs_give_no_figures(tiny_source):
    """
    Measuring nothing is possible and promises nothing.
    """
    nothing = observe(tiny_source.graph, [])
    evaluation = evaluate_observations(nothing, nothing, ACTIONS, Calibration.none())

    assert 0 == evaluation.images
    assert np.isnan(evaluation.mean_average_precision)
    assert np.isnan(evaluation.calibration_error)
    assert () == evaluation.confusions


def test_intervals_hold_the_figures_they_are_of(make_bundle, photo_manifest):
    """
    Every figure lies within its own interval; a class's AP too.
    """
    found = figures(make_bundle(seed=3), photo_manifest, "--resamples", "200")

    assert {"mean_average_precision", "top1", "focus", "mask_iou", "pixel_average_precision"} == set(found["intervals"])
    for name, interval in found["intervals"].items():
        assert found[name] == interval["estimate"]
        assert interval["low"] <= found[name] <= interval["high"]
    for name, interval in found["class_intervals"].items():
        assert found["average_precision"][name] == interval["estimate"]


def test_the_heatmap_ranks_the_cells_as_scikit_learn_says(make_bundle, photo_manifest):
    """
    Pixel AP: mean over the boxed photographs of the AP of the heatmap's cells against the box.
    """
    bundle = make_bundle(seed=3)
    rows, _, _, heatmap = plain_outputs(bundle, photo_manifest, "test")
    person = np.zeros((4, 4), bool)
    person[0:3, 0:2] = True
    expected = [
        average_precision_score(person.ravel(), each.ravel())
        for each, row in zip(heatmap.clamp(0, 1).numpy(), rows, strict=True)
        if row.boxes
    ]

    assert pytest.approx(np.mean(expected)) == figures(bundle, photo_manifest)["pixel_average_precision"]


def test_confused_pairs_are_counted(make_bundle, photo_manifest):
    """
    As a confusion matrix by hand; the shares are of the action's photographs.
    """
    bundle = make_bundle(seed=3)
    rows, probabilities, _, _ = plain_outputs(bundle, photo_manifest, "test")
    pairs = Counter(
        (row.action, ACTIONS[best])
        for row, best in zip(rows, probabilities.argmax(axis=1), strict=True)
        if row.action != ACTIONS[best]
    )
    found = figures(bundle, photo_manifest)["confusions"]

    assert pairs == {(pair["action"], pair["taken_for"]): pair["images"] for pair in found}
    assert [pair["images"] / 3 for pair in found] == [pair["share"] for pair in found]
    assert sorted(pairs.values(), reverse=True) == [pair["images"] for pair in found]


def test_parts_without_people_and_photographs_of_nobody_are_measured_apart(make_bundle, photo_manifest, tmp_path):
    """
    They count for no_person and for nothing else: five parts beside boxes, one photograph that says so.
    """
    rows = [json.loads(line) for line in photo_manifest.read_text().splitlines()]
    rows = [row | {"image": str(photo_manifest.parent / row["image"])} for row in rows]
    before = figures(make_bundle(), photo_manifest)
    empty = rows[-1] | {"image": shutil.copy(rows[-1]["image"], tmp_path / "empty.jpg"), "nobody": True, "boxes": []}
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row, default=str) + "\n" for row in [*rows, empty]))
    found = figures(make_bundle(), tmp_path / "m.jsonl")
    boxed = sum(bool(row["boxes"]) for row in rows if row["split"] == "test")

    assert boxed == before["reliability"]["nobody_images"]
    assert boxed + 1 == found["reliability"]["nobody_images"]
    assert before["mean_average_precision"] == found["mean_average_precision"]
    assert before["focus"] == found["focus"]


def test_two_models_are_compared_class_by_class(make_bundle, photo_manifest, capsys):
    """
    The differences are those of the two evaluations, each with an interval around it; classes of fewer than 5
    photographs have none, and the table says how many those are.
    """
    one, other = make_bundle(seed=3), make_bundle(seed=4)
    first, second = figures(one, photo_manifest), figures(other, photo_manifest)
    found = figures(one, photo_manifest, "--against", str(other))["comparison"]
    difference = found["differences"]["mean_average_precision"]
    printed = capsys.readouterr().out

    assert str(other) in found["against"]
    assert pytest.approx(first["mean_average_precision"] - second["mean_average_precision"]) == difference["estimate"]
    assert difference["low"] <= difference["estimate"] <= difference["high"]
    for action, interval in found["class_differences"].items():
        gain = first["average_precision"][action] - second["average_precision"][action]
        assert pytest.approx(gain) == interval["estimate"]
        assert interval["low"] is None
        assert f"{gain:+.4f}" in printed
    assert "3 of fewer than 5 photographs not judged" in " ".join(printed.split())
    for name in ("focus", "mask_iou", "top1"):
        assert pytest.approx(first[name] - second[name], abs=1e-6) == found["differences"][name]["estimate"]


def test_the_file_is_written_before_the_tables(make_bundle, photo_manifest, monkeypatch, tmp_path):
    """
    Whatever becomes of stdout, the figures that took so long are safe.
    """

    def nobody_reads(*_):
        raise BrokenPipeError

    monkeypatch.setattr(job, "show_evaluation", nobody_reads)
    settings = EvaluateSettings(
        model=str(make_bundle()), manifest=str(photo_manifest), json_output=str(tmp_path / "evaluation.json")
    )
    with pytest.raises(BrokenPipeError):
        job.evaluate(settings)

    assert 6 <= json.loads((tmp_path / "evaluation.json").read_text())["images"]


def test_a_model_against_itself_differs_in_nothing(make_bundle, photo_manifest):
    """
    No difference, no class that is better or worse.
    """
    bundle = make_bundle(seed=3)
    found = figures(bundle, photo_manifest, "--against", str(bundle))["comparison"]

    assert {0} == {each["estimate"] for each in found["class_differences"].values()}
    assert {0} == {found["differences"]["mean_average_precision"][end] for end in ("low", "high")}
    assert [[], []] == [found["surely_better"], found["surely_worse"]]


def test_models_whose_classes_stand_in_another_order_are_compared_by_name(tiny_source):
    """
    Probabilities and true classes move together.
    """
    order = [2, 0, 1]
    seen = replace(
        observe(tiny_source.graph, []),
        probabilities_NA=np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]], np.float32),
        action_N=np.array([2, 1]),
    )
    moved = seen.of_classes(order)

    assert [0, 2] == moved.action_N.tolist()
    assert moved.probabilities_NA[[0, 1], moved.action_N].tolist() == seen.probabilities_NA[[0, 1], [2, 1]].tolist()
