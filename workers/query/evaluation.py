"""``lga tags evaluate``: how good the written tags are, where the right labels are known."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.table import Table

from lga_model.annotations import Annotation
from lga_model.calibration import expected_calibration_error
from lga_model.metrics import MeanAveragePrecision
from workers.console import result_console
from workers.errors import SettingsError
from workers.manifest import load_manifest
from workers.settings import TagsEvaluateSettings
from workers.storage import Store, open_store, split_uri
from workers.tags import list_shards, namespace_of, read_shards

_COLUMNS = ["key", "status", "label", "confidence", "scores", "label_set", "verdict", "focus", "scored_at"]


@dataclass(frozen=True, kw_only=True)
class TagQuality:
    """What the tags of known photographs are worth. Shares are None where nothing was there to count."""

    photographs: int
    """Of the manifest's split, with the right label known."""
    tagged: int
    """Of them, found among the tags with status ``ok``."""
    mean_average_precision: float
    """Over the written probabilities (float16)."""
    top1: float
    calibration_error: float
    mean_focus: float | None
    """Share of the positive PAM on the heatmap."""
    label_set_coverage: float
    """Share of label sets that hold the right label."""
    label_set_size: float
    accepted: float
    """Share of photographs with the verdict ``accept``."""
    accepted_precision: float | None
    """Share of the accepted that are right."""


def evaluate_tags(settings: TagsEvaluateSettings) -> int:
    """Compare the latest tag of each photograph with a manifest; print and maybe write the figures."""
    manifest = load_manifest(settings.manifest)
    annotations = manifest.split(settings.split)
    if not annotations:
        raise SettingsError(f"{settings.manifest} has no photographs in its split {settings.split}")
    tags, classes = _latest(open_store(settings.output), settings.run)
    quality = measure(tags, classes, annotations)
    _show(quality, f"tags under {settings.output} against {settings.split}")
    if settings.json_output:
        store, name = split_uri(settings.json_output)
        store.put(name, (json.dumps(asdict(quality), indent=2) + "\n").encode())
    return 0


def measure(tags: pa.Table, classes: tuple[str, ...], annotations: tuple[Annotation, ...]) -> TagQuality:
    """Match tags and annotations by file name, and measure.

    Args:
        tags: One row for each object, with the columns of a shard.
        classes: Names of the classes, in the order of ``scores``.
        annotations: Photographs with their right labels.

    Raises:
        SettingsError: If a file name is not unique, no photograph is tagged, or a label is not among the classes.
    """
    truth = _by_name([annotation.image for annotation in annotations], "the manifest")
    # An archive may have many photographs of one name; only those of the manifest's names have to be told apart.
    known = pa.array([_name(key) in truth for key in tags["key"].to_pylist()], pa.bool_())
    tags = tags.filter(known)
    rows = _by_name(tags["key"].to_pylist(), "the tags")
    names = [name for name, row in rows.items() if tags["status"][row].as_py() == "ok"]
    if not names:
        raise SettingsError("none of the manifest's photographs is among the tags (they are matched by file name)")
    tagged = tags.take([rows[name] for name in names])
    right = [annotations[truth[name]].action for name in names]
    if unknown := sorted(set(right) - set(classes)):
        raise SettingsError(f"the tags know no {', '.join(unknown[:8])}; were they made with another model?")
    right_N = np.array([classes.index(label) for label in right])
    scores_NA = _scores(tagged, len(classes))
    metric = MeanAveragePrecision()
    metric.update(scores_NA, right_N)
    report = metric.compute()
    hit_N = np.array([label == truth for label, truth in zip(tagged["label"].to_pylist(), right, strict=True)])
    accepted_N = np.array(tagged["verdict"].to_pylist()) == "accept"
    sets = tagged["label_set"].to_pylist()
    return TagQuality(
        photographs=len(annotations),
        tagged=len(names),
        mean_average_precision=report.mean_average_precision,
        top1=report.top1,
        calibration_error=expected_calibration_error(scores_NA, right_N),
        mean_focus=pc.mean(tagged["focus"]).as_py(),
        label_set_coverage=float(np.mean([label in labels for label, labels in zip(right, sets, strict=True)])),
        label_set_size=float(np.mean([len(labels) for labels in sets])),
        accepted=float(accepted_N.mean()),
        accepted_precision=float(hit_N[accepted_N].mean()) if accepted_N.any() else None,
    )


def _latest(output: Store, run_id: str | None) -> tuple[pa.Table, tuple[str, ...]]:
    """The latest row of each object, and the classes, which all of the runs have to share."""
    tables, classes = [], set()
    for _name, table in read_shards(output, list_shards(output, run_id)):
        if "scores" not in table.column_names:
            raise SettingsError("the tags were written with --no-scores; mAP needs every class's probability")
        classes.add(tuple(json.loads(table.schema.metadata[b"classes"])))
        namespace = pa.repeat(namespace_of(table), table.num_rows)
        tables.append(table.select(_COLUMNS).append_column("namespace", namespace).replace_schema_metadata(None))
    if not tables:
        raise SettingsError(f"there are no tags under {output.uri()}; check --output, or run `lga score` first")
    if len(classes) > 1:
        raise SettingsError("the runs under this output have different classes; choose one with --run")
    rows = pa.concat_tables(tables).sort_by("scored_at")
    objects = zip(rows["namespace"].to_pylist(), rows["key"].to_pylist(), strict=True)
    newest = {each: row for row, each in enumerate(objects)}
    return rows.take(pa.array(newest.values(), pa.int64())), classes.pop()


def _by_name(paths: list[str], where: str) -> dict[str, int]:
    """Position by file name: the one thing that a bucket and a manifest agree on."""
    names = [_name(path) for path in paths]
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise SettingsError(f"{where} has several photographs called {doubled[0]}; they are matched by file name")
    return {name: row for row, name in enumerate(names)}


def _name(path: str) -> str:
    return PurePosixPath(path).name


def _scores(tags: pa.Table, classes: int) -> NDArray[np.float32]:
    values = tags["scores"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float32).reshape(-1, classes)


def _show(quality: TagQuality, title: str) -> None:
    table = Table(title=f"{title}: {quality.tagged} of {quality.photographs} photographs tagged", show_header=False)
    for name, value in (
        ("mAP", quality.mean_average_precision),
        ("top-1", quality.top1),
        ("calibration error", quality.calibration_error),
        ("mean focus", quality.mean_focus),
        ("label set holds the right label", quality.label_set_coverage),
        ("labels in a set", quality.label_set_size),
        ("share accepted", quality.accepted),
        ("precision of the accepted", quality.accepted_precision),
    ):
        table.add_row(name, "-" if value is None else f"{value:.4f}")
    result_console().print(table)
