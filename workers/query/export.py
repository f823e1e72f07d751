"""``lga tags export``: the tags as one file for other programs, streamed: memory does not grow with their number."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from workers.errors import SettingsError
from workers.query.job import tables_of
from workers.query.view import Slice
from workers.settings import TagsExportSettings
from workers.storage import split_uri
from workers.tags import refuse_several_inputs

_FORMS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".json": "coco"}
_COPIES = {
    "csv": "(format csv, header)",
    "jsonl": "(format json)",
    "parquet": "(format parquet, compression zstd)",
}
_LONG = ("scores", "heatmap", "pam")
_ROWS = 10_000
_PERSON = 128  # A cell of the heatmap from here on counts as person: 0.5.


def export_tags(settings: TagsExportSettings) -> int:
    """Write the file; say how many rows it has."""
    form = settings.format or _FORMS.get(Path(settings.to).suffix.lower())
    if form is None:
        raise SettingsError(
            f"--to {settings.to}: its name does not tell the form; add --format {'|'.join(_COPIES)}|coco"
        )
    wanted = Slice(as_of=settings.as_of, engine=settings.engine)
    with tempfile.TemporaryDirectory(prefix="lga-export-") as folder, tables_of(settings.output, wanted) as database:
        file = Path(folder) / "tags"
        database.execute(f"create view wanted as select * from tags where {settings.where or 'true'}")  # noqa: S608 - the user's own question
        if form == "coco":
            count = write_coco(database, file)
        else:
            columns = ", ".join(f'"{name}"' for name in settings.columns) or _short_columns(database)
            database.execute(f"copy (select {columns} from wanted order by key) to '{file}' {_COPIES[form]}")  # noqa: S608
            (count,) = database.sql("select count(*) from wanted").fetchall()[0]
        store, name = split_uri(settings.to)
        store.put_file(name, file)
    print(f"wrote {count} objects to {settings.to}")
    return 0


def write_coco(database: duckdb.DuckDBPyConnection, file: Path) -> int:
    """Write ``wanted`` as a COCO data set: each good object an image with one annotation, its label.

    The box is that of the heatmap's cells above 0.5, scaled to the image; where there is none, the whole image, and
    ``bbox_from`` says which. ``score`` is the confidence. Objects that failed are left out.

    Returns:
        The number of images.

    Raises:
        SettingsError: If they are of several inputs: a ``file_name`` cannot say of which.
    """
    refuse_several_inputs(
        database,
        "from wanted where status = 'ok'",
        named="COCO names photographs",
        way_out="choose one: --where \"run_id in (from namespaces select run_id where namespace = '...')\"",
    )
    names = [
        row[0] for row in database.sql("select distinct label from wanted where status = 'ok' order by 1").fetchall()
    ]
    categories = {name: number for number, name in enumerate(names, start=1)}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as annotations, file.open("w", encoding="utf-8") as stream:
        stream.write('{"info": {"description": "lga tags export"}, "images": [')
        number = 0
        for number, row in enumerate(_rows(database), start=1):
            comma = ", " if number > 1 else ""
            image = {
                "id": number,
                "file_name": row["key"],
                "width": row["width"],
                "height": row["height"],
                "etag": row["etag"],
            }
            stream.write(comma + json.dumps(image, ensure_ascii=False))
            annotations.write(comma + json.dumps(_annotation(number, categories[row["label"]], row)))
        stream.write('], "annotations": [')
        annotations.seek(0)
        while some := annotations.read(1 << 20):
            stream.write(some)
        labels = [{"id": category, "name": name, "supercategory": "action"} for name, category in categories.items()]
        stream.write(f'], "categories": {json.dumps(labels, ensure_ascii=False)}}}\n')
    return number


def person_box(heatmap: list[int], size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """The box around the cells of a square heatmap that show a person, in pixels: x, y, width, height.

    Args:
        heatmap: Cells row by row, 255 = certainly a person.
        size: Width and height of the image in pixels.
    """
    side = round(len(heatmap) ** 0.5)
    rows, columns = np.nonzero(np.asarray(heatmap).reshape(side, side) >= _PERSON)
    if not len(rows):
        return None
    across, down = size[0] / side, size[1] / side
    left, top = columns.min() * across, rows.min() * down
    return (
        round(float(left), 1),
        round(float(top), 1),
        round(float((columns.max() + 1) * across - left), 1),
        round(float((rows.max() + 1) * down - top), 1),
    )


def _annotation(number: int, category: int, row: dict[str, Any]) -> dict[str, Any]:
    size = (row["width"], row["height"])
    box = person_box(row["heatmap"], size) if row["heatmap"] else None
    bbox = box or (0.0, 0.0, float(size[0]), float(size[1]))
    return {
        "id": number,
        "image_id": number,
        "category_id": category,
        "bbox": list(bbox),
        "bbox_from": "heatmap" if box else "image",
        "area": round(bbox[2] * bbox[3], 1),
        "iscrowd": 0,
        "score": round(row["confidence"], 6),
    }


def _rows(database: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    reader = database.sql(
        "select key, etag, width, height, label, confidence, heatmap from wanted where status = 'ok' order by key"
    ).to_arrow_reader(_ROWS)
    for batch in reader:
        yield from batch.to_pylist()


def _short_columns(database: duckdb.DuckDBPyConnection) -> str:
    there_are = [column for column in database.sql("from wanted limit 0").columns if column not in _LONG]
    return ", ".join(f'"{name}"' for name in there_are)
