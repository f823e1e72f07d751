"""`lga evaluate` from the command line, its figures against plain formulas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from lga_model.checkpoint import load_model
from lga_model.images import decode_image
from workers.__main__ import main
from workers.evaluate.measure import evaluate_batches
from workers.manifest import load_manifest
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
    evaluation = evaluate_batches(tiny_source.graph, [])

    assert 0 == evaluation.images
    assert np.isnan(evaluation.mean_average_precision)
    assert np.isnan(evaluation.calibration_error)
