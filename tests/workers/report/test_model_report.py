"""`lga report` about models: their files, and what they look at."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from workers.__main__ import main
from workers.registry import Registry

from .test_run_report import cards_of, page_of


@pytest.fixture
def registry(tmp_path, make_bundle, own_cache) -> Path:
    """Two models of a tiny network: `with` has a localisation branch, `without` has none."""
    root = tmp_path / "registry"
    for name, localisation in (("without", False), ("with", True)):
        bundle = make_bundle(localisation=localisation, seed=int(localisation))
        average = {"climbing": 0.9 - 0.5 * localisation, "cooking": 0.25, "running": 0.5}
        history = [{"epoch": epoch, "loss": 1 / epoch, "map": 0.2 * epoch, "focus": None} for epoch in (1, 2, 3)]
        metrics = {
            "validation": {"map": 0.55, "top1": 0.5, "focus": None, "images": 12, "average_precision": average},
            "calibration": {"ece_before": 0.2, "ece_after": 0.1},
            "history": history,
        }
        (bundle / "metrics.json").write_text(json.dumps(metrics))
        lineage = {"manifest": {"uri": "m", "digest": "d", "train_rows": 5}, "plan": {"mask_weight": int(localisation)}}
        (bundle / "training.json").write_text(json.dumps(lineage))
        Registry(str(root)).publish(name, bundle)
    return root


def test_a_model_is_told_from_its_files(registry, photo_manifest, tmp_path, capsys):
    """
    Figures, curves, classes, card, lineage; the weak classes by name; panels with SAM, PAM, heatmap and boxes.
    """
    page = page_of(
        capsys, "--registry", registry, "--model", "with:1", "--manifest", photo_manifest, tmp_path / "m.html"
    )
    cards = cards_of(page)

    assert "0.550" in page
    assert "Average precision below 0.5 on val: <bdi>cooking</bdi> (0.25), <bdi>climbing</bdi> (0.40)." in page
    assert "lga compile --model with:1" in page
    assert "At the end: mAP 0.600." in page
    assert 9 == len(cards)
    assert [["SAM", "PAM", "heatmap"]] * 9 == [[layer["name"] for layer in card["maps"]] for card in cards]
    assert [round(10 / 96, 4), round(8 / 72, 4), round(50 / 96, 4), round(60 / 72, 4)] in [
        box for card in cards for box in card["boxes"]
    ]
    assert all(card["focus"] is None for card in cards if not card["boxes"])


def test_the_reliability_diagram_is_drawn_from_the_bins_that_were_stored(registry, tmp_path, capsys):
    """
    Before and after the temperature, each with the error of its bins; files of an older release have none, and a page.
    """
    before = page_of(capsys, "--registry", registry, "--model", "with:1", tmp_path / "old.html")
    old = Path(Registry(str(registry)).resolve("with:1").uri)
    bundle = tmp_path / "bundle"
    shutil.copytree(old, bundle)
    metrics = json.loads((bundle / "metrics.json").read_text())
    empty = {"images": 0, "confidence": None, "accuracy": None}
    metrics["calibration"] |= {
        "bins_before": [{"images": 8, "confidence": 0.75, "accuracy": 0.5}, empty],
        "bins": [{"images": 6, "confidence": 0.5, "accuracy": 0.5}, {"images": 2, "confidence": 0.6, "accuracy": 1.0}],
    }
    (bundle / "metrics.json").write_text(json.dumps(metrics))
    Registry(str(registry)).publish("with", bundle)
    after = page_of(capsys, "--registry", registry, "--model", "with:2", tmp_path / "new.html")

    assert "Confidence and truth" not in before
    assert "Confidence and truth" in after
    assert "raw, validation 0.250; calibrated, validation 0.100" in after


def test_two_models_are_compared_photograph_by_photograph(registry, photo_manifest, tmp_path, capsys):
    """
    Gains sorted with their signs, what was done differently, and both models' maps of the same photograph.
    """
    page = page_of(
        capsys, "--registry", registry, "--compare", "without:1", "with:1", "--manifest", photo_manifest,
        tmp_path / "c.html",
    )  # fmt: skip
    names = {tuple(layer["name"] for layer in card["maps"]) for card in cards_of(page)}

    assert "B is better in 0 of 3 actions, worse in 1." in page
    assert "−0.500" in page
    assert page.index("cooking") < page.index("climbing")
    assert "mask_weight" in page
    assert {("A: SAM", "A: PAM", "B: SAM", "B: PAM", "B: heatmap")} == names
    assert "not measured on the same photographs" not in page


def test_an_evaluation_goes_before_the_validation(registry, tmp_path, capsys):
    """
    Its figures stand on the page, per class too; that of another model is refused.
    """
    evaluation = {
        "model": "with", "version": 1, "split": "test", "images": 9, "mean_average_precision": 0.123,
        "average_precision": {"climbing": 0.8, "cooking": 0.7, "running": None}, "class_images": {"climbing": 3},
        "confusions": [{"action": "cooking", "taken_for": "climbing", "images": 2, "share": 0.25}],
        "reliability": {
            "accepted": 0.5, "accepted_precision": 0.625, "label_set_coverage": 0.75, "nobody_found": None,
            "risk_at_coverage": [[0.5, 0.02], [1.0, 0.2]],
        },
    }  # fmt: skip
    (tmp_path / "e.json").write_text(json.dumps(evaluation))
    given = ["--registry", registry, "--evaluation", tmp_path / "e.json"]
    page = page_of(capsys, *given, "--model", "with:1", tmp_path / "m.html")
    code = main(["report", *map(str, given), "--model", "without:1", "--html", str(tmp_path / "other.html")])

    assert "0.123" in page
    assert "test, 9 photographs; validation 0.550" in page
    assert "62.5 % of the accepted were right; 75.0 % of the label sets held the label" in page
    assert "25.0 %" in page
    assert "photographs accepted" in page
    assert "pictures of nobody" not in page
    assert "Risk and coverage" in page
    assert "the weakest is <bdi>cooking</bdi> (0.70)" in page
    assert "Not measured, for want of photographs in test: <bdi>running</bdi>." in page
    assert "fewer than 20 photographs, so hardly known: <bdi>climbing</bdi> (3)." in page
    assert 2 == code
    assert "figures of with:1" in capsys.readouterr().err
    twice = [*map(str, given), str(tmp_path / "e.json"), "--model", "with:1", "--html", str(tmp_path / "other.html")]
    assert 2 == main(["report", *twice])
    assert "figures of with:1 twice" in capsys.readouterr().err


def test_intervals_of_a_comparison_are_shown_when_they_are_of_these_two(registry, tmp_path, capsys):
    """
    What `lga evaluate --against` wrote of the same two models; the other way round it says nothing about them.
    """
    average = {"climbing": 0.8, "cooking": 0.7, "running": 0.1}
    interval = {"estimate": 0.0, "low": -0.012, "high": 0.034}
    files = []
    for name, against in (("without", None), ("with", "without:1")):
        comparison = {"against": against, "differences": {}, "class_differences": {"cooking": interval}}
        document = {
            "model": name,
            "version": 1,
            "split": "test",
            "average_precision": average,
            "comparison": comparison,
        }
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(document))
    given = ["--registry", registry, "--evaluation", *files, "--compare"]
    page = page_of(capsys, *given, "without:1", "with:1", tmp_path / "a.html")
    other = page_of(capsys, *given, "with:1", "without:1", tmp_path / "b.html")

    assert "−0.012 to +0.034" in page
    assert "−0.012" not in other


def test_a_bundle_with_bare_files_still_gives_a_page(make_bundle, own_cache, tmp_path, capsys):
    """
    No history, no lineage, no figures: the page says so, and nothing fails.
    """
    bundle = make_bundle()
    for file in ("metrics.json", "training.json"):
        (bundle / file).write_text("{}")
    page = page_of(capsys, "--model", bundle, tmp_path / "m.html")

    assert "The files hold no figures." in page
    assert "The files hold no figures by action." in page
    assert 'id="training"' not in page
    assert "– images/s" not in page


def test_photographs_that_are_gone_are_left_out_of_the_panels(registry, photo_manifest, tmp_path, capsys):
    """
    A manifest of which nothing can be read is an error with its name; of which something can, is no error.
    """
    rows = [json.loads(line) for line in photo_manifest.read_text().splitlines()]
    some = [row | {"image": str(photo_manifest.parent / row["image"])} for row in rows]
    some[3]["image"] = "gone.jpg"
    for name, content in (("some", some), ("none", [row | {"image": f"gone_{row['image']}"} for row in rows])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    given = ["--registry", registry, "--model", "with:1", "--manifest"]
    page = page_of(capsys, *given, tmp_path / "some.jsonl", tmp_path / "m.html")
    code = main(["report", *map(str, given), str(tmp_path / "none.jsonl"), "--html", str(tmp_path / "other.html")])

    assert 8 == len(cards_of(page))
    assert 2 == code
    assert "none.jsonl can be read" in capsys.readouterr().err
