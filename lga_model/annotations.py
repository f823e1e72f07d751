"""The training manifest: one validated record for each photograph, read and written as Parquet or JSON Lines.

Columns (DESIGN 3.2): ``image`` (URI, or path relative to the manifest), ``action``, ``split``, ``boxes`` (list of
[x0, y0, x1, y1] in pixels), ``width``, ``height``, and optionally ``keypoints`` (list of [x, y]) and ``nobody`` (true
for a photograph that is known to show no person: its ``action`` is ignored and its ``boxes`` are empty). Empty boxes
alone mean that nobody drew any. Other columns are left alone.

An image has one split, or what was learned would be measured on itself, and one action: of rows that disagree about it
the first is good. Rows that agree may repeat it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq

Split = Literal["train", "val", "test"]
Box = tuple[float, float, float, float]
Point = tuple[float, float]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("action", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("boxes", pa.list_(pa.list_(pa.float64())), nullable=False),
        pa.field("keypoints", pa.list_(pa.list_(pa.float64()))),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("nobody", pa.bool_()),
    ]
)
_NEEDED = ("image", "action", "split", "boxes", "width", "height")
_MAX_SIDE = 2**31 - 1


class ManifestError(ValueError):
    """A manifest that cannot be read at all. What is wrong with single rows is in ``Manifest.problems``."""


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What is known about one photograph."""

    image: str
    """URI, or path relative to the manifest's folder."""
    action: str
    """What the people do; empty when there are none."""
    split: Split
    boxes: tuple[Box, ...]
    """Person boxes ``(x0, y0, x1, y1)`` in pixels of the upright image, inside it; empty when nobody drew any."""
    width: int
    height: int
    keypoints: tuple[Point, ...] | None = None
    """Joints ``(x, y)`` in pixels, where a data set has them."""
    nobody: bool = False
    """Whether the photograph is known to show no person."""

    @property
    def label(self) -> str:
        """What a person says about the photograph: the action, or ``nobody``."""
        return "nobody" if self.nobody else self.action


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with one row."""

    line: int
    """Line of a JSON Lines file or row of a Parquet file, from 1."""
    field: str
    reason: str
    row_is_bad: bool = True
    """False when only one box was dropped and the rest of the row is good."""

    def __str__(self) -> str:
        return f"line {self.line}, {self.field}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest as read: the good rows, and what is wrong with the others."""

    annotations: tuple[Annotation, ...]
    problems: tuple[Problem, ...]
    digest: str
    """SHA-256 of the file's bytes, in hex: names this very manifest in a model's lineage."""

    @property
    def classes(self) -> tuple[str, ...]:
        """All actions, in the order of the alphabet."""
        return tuple(sorted({annotation.action for annotation in self.annotations if not annotation.nobody}))

    @property
    def bad_rows(self) -> tuple[Problem, ...]:
        """The problems that cost a row."""
        return tuple(problem for problem in self.problems if problem.row_is_bad)

    def split(self, name: Split) -> tuple[Annotation, ...]:
        """The rows of one split that show an action, in the order of the file."""
        return tuple(row for row in self.annotations if row.split == name and not row.nobody)

    def nobody(self, name: Split) -> tuple[Annotation, ...]:
        """The rows of one split that are known to show no person."""
        return tuple(row for row in self.annotations if row.split == name and row.nobody)


def read_manifest(data: bytes, name: str) -> Manifest:
    """Read a manifest; its content says whether it is Parquet or JSON Lines.

    A box that is empty, inverted or wholly outside the image is dropped and reported; one that reaches over the edge is
    clipped. Anything else that is wrong costs the row, and is reported.

    Args:
        data: The whole file.
        name: What to call it in messages.

    Raises:
        ManifestError: If the file is neither, is damaged, or has no rows.
    """
    annotations, problems = [], []
    first: dict[str, tuple[int, Annotation]] = {}
    for line, row in _parquet_rows(data, name) if data.startswith(b"PAR1") else _json_rows(data, name):
        if isinstance(row, Problem):
            problems.append(row)
            continue
        try:
            annotation, dropped = _annotation(row, line)
            _check_agreement(annotation, *first.setdefault(annotation.image, (line, annotation)))
        except _BadFieldError as error:
            problems.append(Problem(line=line, field=error.field, reason=error.reason))
            continue
        annotations.append(annotation)
        problems.extend(dropped)
    if not annotations and not problems:
        raise ManifestError(f"{name} has no rows")
    return Manifest(annotations=tuple(annotations), problems=tuple(problems), digest=hashlib.sha256(data).hexdigest())


def write_manifest(annotations: Iterable[Annotation], kind: Literal["parquet", "jsonl"]) -> bytes:
    """Encode a manifest. The same annotations give the same bytes."""
    rows = [
        {
            "image": annotation.image,
            "action": annotation.action,
            "split": annotation.split,
            "boxes": [list(box) for box in annotation.boxes],
            "keypoints": None if annotation.keypoints is None else [list(point) for point in annotation.keypoints],
            "width": annotation.width,
            "height": annotation.height,
            "nobody": annotation.nobody,
        }
        for annotation in annotations
    ]
    if kind == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), sink, compression="zstd")
    return sink.getvalue()


class _BadFieldError(ValueError):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason


def _parquet_rows(data: bytes, name: str) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        missing = [name for name in _NEEDED if name not in file.schema_arrow.names]
        if missing:
            raise ManifestError(f"{name} lacks the columns {', '.join(missing)}; `lga prepare` writes them")
        columns = [column for column in SCHEMA.names if column in file.schema_arrow.names]
        line = 0
        for batch in file.iter_batches(batch_size=8192, columns=columns):
            for row in batch.to_pylist():
                line += 1
                yield line, row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{name} is a damaged Parquet file: {str(error).partition(chr(10))[0]}") from error


def _json_rows(data: bytes, name: str) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    try:
        # Not splitlines(): it also splits at letters that may stand inside a JSON string.
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{name} is neither Parquet nor JSON Lines (byte {error.start} is no UTF-8)") from error
    any_object = False
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits.
            yield line, Problem(line=line, field="row", reason=f"not JSON: {error}")
            continue
        if not isinstance(row, dict):
            yield (
                line,
                Problem(line=line, field="row", reason=f"a JSON object was expected, not a {type(row).__name__}"),
            )
            continue
        any_object = True
        yield line, row
    if data.strip() and not any_object:
        raise ManifestError(f"{name} is neither Parquet nor JSON Lines: no line holds a JSON object")


def _annotation(row: dict[str, Any], line: int) -> tuple[Annotation, list[Problem]]:
    width, height = _side(row, "width"), _side(row, "height")
    split = _text(row, "split")
    if split not in SPLITS:
        raise _BadFieldError("split", f"{split!r} is not one of {', '.join(SPLITS)}")
    nobody = row.get("nobody") or False
    if not isinstance(nobody, bool):
        raise _BadFieldError("nobody", f"true or false was expected, not {nobody!r}")
    if nobody and row.get("boxes"):
        raise _BadFieldError("nobody", "is true, yet the row has person boxes")
    keypoints = row.get("keypoints")
    boxes, dropped = [], []
    for number, numbers in enumerate(_lists(row.get("boxes"), "boxes", 4)):
        box = _clipped(cast("Box", tuple(numbers)), width, height)
        if isinstance(box, str):
            dropped.append(Problem(line=line, field=f"boxes[{number}]", reason=box, row_is_bad=False))
        else:
            boxes.append(box)
    annotation = Annotation(
        image=_text(row, "image"),
        action="" if nobody else _text(row, "action"),
        split=split,
        boxes=tuple(boxes),
        width=width,
        height=height,
        keypoints=None if keypoints is None else tuple((x, y) for x, y in _lists(keypoints, "keypoints", 2)),
        nobody=nobody,
    )
    return annotation, dropped


def _check_agreement(row: Annotation, line: int, first: Annotation) -> None:
    """Compare a row with the first of the same image, which is in that line."""
    if row.split != first.split:
        raise _BadFieldError("split", f"{row.image!r} is in {row.split}, and by line {line} in {first.split}")
    if row.label != first.label:
        raise _BadFieldError("action", f"{row.image!r} is {row.label!r}, and by line {line} {first.label!r}")


def _text(row: dict[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise _BadFieldError(field, "missing" if value is None else f"a text was expected, not {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair, which no file can hold.
        raise _BadFieldError(field, f"{value!r} is no valid Unicode") from error
    if "\0" in value:
        raise _BadFieldError(field, f"{value!r} holds a zero byte, which no name can")
    return value


def _side(row: dict[str, Any], field: str) -> int:
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_SIDE:
        raise _BadFieldError(field, "missing" if value is None else f"a number of pixels was expected, not {value!r}")
    return value


def _lists(value: object, field: str, length: int) -> list[list[float]]:
    if value is None:
        raise _BadFieldError(field, "missing")
    if not isinstance(value, list):
        raise _BadFieldError(field, f"a list was expected, not a {type(value).__name__}")
    for number, entry in enumerate(value):
        good = isinstance(entry, list) and len(entry) == length and all(_is_number(each) for each in entry)
        if not good:
            raise _BadFieldError(f"{field}[{number}]", f"{length} finite numbers were expected, not {entry!r}")
    return [[float(each) for each in entry] for entry in value]


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer that no float can hold.
        return False


def _clipped(box: Box, width: int, height: int) -> Box | str:
    """The part of a box that lies in the image, or why there is none."""
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return f"[{x0:g}, {y0:g}, {x1:g}, {y1:g}] is empty or inverted; the box is dropped"
    inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        return f"[{x0:g}, {y0:g}, {x1:g}, {y1:g}] lies outside the {width} x {height} image; the box is dropped"
    return inside
