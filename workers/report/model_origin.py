"""Where a model comes from and what was made of it, on its page: engines with their proof, and lineage."""

from __future__ import annotations

from collections.abc import Iterator

from workers.documents import Document, figures, inside, items, section
from workers.report import figures as show
from workers.report.markup import Markup, element, table
from workers.report.model_files import ModelFiles
from workers.report.page import facts


def engines(files: ModelFiles) -> Markup:
    """Each engine beside the model that it was compared with."""
    if not files.engines:
        return element("p", "No engine yet. Make one with ", element("code", f"lga compile --model {files.name}"))
    numbers = ("photographs", "same label", "probability off by", "heatmap off by", "PAM off by", "mAP, engine − model")
    head = element(
        "tr",
        (element("th", name, scope="col") for name in ("engine", "runs on")),
        (element("th", name, scope="col", class_="number") for name in numbers),
    )
    body = [
        element(
            "tr",
            element("th", f"{engine.get('target')} {engine.get('precision')}", scope="row"),
            element("td", " ".join(_runs_on(engine))),
            element("td", show.count(inside(engine, "parity", "images")), class_="number"),
            element("td", show.percent(inside(engine, "parity", "top1_agreement"), 2), class_="number"),
            (
                element("td", show.small(inside(engine, "parity", key)), class_="number")
                for key in ("max_probability_difference", "max_heatmap_difference", "max_pam_difference")
            ),
            element("td", show.signed(_lost(engine), 4), class_="number"),
        )
        for engine in files.engines
    ]
    caption = element("caption", "each engine was compared with the model on real photographs; the largest differences")
    return table(caption, element("thead", head), element("tbody", body))


def _lost(engine: Document) -> float | None:
    """What the engine's mAP differs by, where it was measured."""
    parity = figures(engine, "parity")
    try:
        return parity["mean_average_precision"] - parity["model_mean_average_precision"]
    except KeyError:
        return None


def _runs_on(engine: Document) -> Iterator[str]:
    yield from (str(engine[key]) for key in ("target", "backend_version") if key in engine)
    yield from (f"on {each}" for each in (inside(engine, "gpu", "name"), inside(engine, "parity", "device")) if each)


def lineage(files: ModelFiles) -> Markup:
    """Run, manifest, first weights, parent, digests, recipe, libraries."""
    training, recipe = files.training, section(files.record, "recipe")
    versions = section(training, "versions")
    return facts(
        (
            ("training run", training.get("run")),
            ("time", show.seconds(training["wall_s"]) if "wall_s" in training else None),
            ("speed", _speed(files)),
            ("manifest", inside(training, "manifest", "uri")),
            ("its sha256", inside(training, "manifest", "digest")),
            ("first weights", inside(training, "pretrained", "source")),
            ("their sha256", inside(training, "pretrained", "sha256")),
            ("parent model", _parent(training)),
            ("weights, sha256", files.record.get("weights_sha256")),
            ("method, sha256", training.get("method_sha256")),
            ("seed", inside(training, "plan", "seed")),
            (
                "recipe",
                ", ".join(f"{name} {_plain(value)}" for name, value in recipe.items() if not isinstance(value, dict)),
            ),
            ("libraries", ", ".join(f"{name} {value}" for name, value in versions.items() if value)),
        )
    )


def _speed(files: ModelFiles) -> str | None:
    last = (items(files.metrics, "history") or [{}])[-1]
    speed = show.number(last.get("images_per_s"), 1)
    return None if speed == show.NOTHING else f"{speed} images/s in the last epoch"


def _parent(training: Document) -> object:
    parent = training.get("parent")
    return parent if not isinstance(parent, dict) else parent.get("model") or parent.get("version")


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
