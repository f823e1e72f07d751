"""COCO-style JSON: ``images``, ``annotations`` with boxes, ``categories``, and an action that somebody added.

One file for each split. The action stands in a field of one's own choice, of the person's annotation or of the image.
All boxes of the category ``person`` are people, crowds included. Where the people of an image do different things, the
image has the action of the largest of them. An image without an action is left out, unless it has no person either and
is declared to show nobody.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lga_model.annotations import Annotation, Box, Point, Split
from lga_model.datasets.raw import DatasetError, RawDataset, inner_path, number, validation_split

_WITHOUT_ACTION = "images without an action"
_SEVERAL = "images of several actions (the largest person's counts)"


def read_coco(
    root: Path,
    files: Mapping[Split, Path],
    *,
    images: Path,
    action_field: str = "action",
    person: str = "person",
    empty_is_nobody: bool = False,
    validation_share: float = 0.1,
    seed: int = 0,
) -> RawDataset:
    """Read one annotation file for each split.

    Args:
        root: Folder of the data set.
        files: Annotation file of each split there is; ``train`` at least.
        images: Folder below ``root`` that the files' ``file_name`` start from.
        action_field: Field with the action.
        person: Name of the category of people.
        empty_is_nobody: Whether an image without any person shows nobody. Only for files in which everybody is boxed.
        validation_share: Share of the training images of each action that is set aside when there is no ``val``.
        seed: Another seed sets other images aside.

    Raises:
        DatasetError: A file is missing, or a field is not what it should be.
    """
    remarks: Counter[str] = Counter()
    annotations = [
        annotation
        for split, path in files.items()
        for annotation in _File(path, action_field, person).annotations(split, remarks, nobody=empty_is_nobody)
    ]
    if "val" not in files:
        annotations = _with_validation(annotations, validation_share, seed)
    present, missing = [], []
    for row in annotations:
        path = images / row.image
        if path.is_file():
            present.append(replace(row, image=path.relative_to(root).as_posix()))
        else:
            missing.append(row.image)
    if not present:
        raise DatasetError(f"none of the {len(annotations)} images with an action is in {images}")
    return RawDataset(annotations=tuple(present), missing=tuple(missing), remarks=remarks)


class _File:
    """One annotation file, checked as it is read."""

    def __init__(self, path: Path, action_field: str, person: str) -> None:
        self.path, self.action_field = path, action_field
        document = _document(path)
        self.images = self._records(document, "images")
        self.people: dict[object, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
        category = self._category(document, person)
        known = {self._id(image, f"images[{index}]", "id") for index, image in enumerate(self.images)}
        if len(known) < len(self.images):
            raise DatasetError(f"{path}: images: two of them share an id")
        for index, annotation in enumerate(self._records(document, "annotations")):
            where = f"annotations[{index}]"
            image = self._id(annotation, where, "image_id")
            if image not in known:
                raise DatasetError(f"{path}: {where}.image_id is {image!r}, and no image has that id")
            if self._id(annotation, where, "category_id") == category:
                self.people[image].append((where, annotation))

    def annotations(self, split: Split, remarks: Counter[str], *, nobody: bool) -> list[Annotation]:
        """Each image that has an action, or nobody."""
        found = []
        for index, image in enumerate(self.images):
            where, people = f"images[{index}]", self.people[image["id"]]
            boxes = [self._box(person, place) for place, person in people]
            action = self._action(image, where, people, boxes, remarks)
            is_empty = nobody and action is None and not people
            if action is None and not is_empty:
                remarks[_WITHOUT_ACTION] += 1
                continue
            found.append(
                Annotation(
                    image=inner_path(image.get("file_name"), f"{self.path}: {where}.file_name"),
                    action=action or "",
                    split=split,
                    boxes=tuple(boxes),
                    keypoints=self._keypoints(people) or None,
                    width=self._side(image, where, "width"),
                    height=self._side(image, where, "height"),
                    nobody=is_empty,
                )
            )
        return found

    def _records(self, document: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
        records = document.get(name)
        if not isinstance(records, list):
            raise DatasetError(f"{self.path}: {name} is missing, or no list")
        for index, record in enumerate(records):
            if not isinstance(record, dict):
                raise DatasetError(f"{self.path}: {name}[{index}] is {record!r}, where an object is expected")
        return records

    def _category(self, document: Mapping[str, Any], person: str) -> object:
        categories = self._records(document, "categories")
        for index, category in enumerate(categories):
            if category.get("name") == person:
                return self._id(category, f"categories[{index}]", "id")
        names = ", ".join(str(category.get("name")) for category in categories[:5])
        raise DatasetError(f"{self.path}: categories: none is called {person!r}; there are: {names or 'none'}")

    def _id(self, record: Mapping[str, Any], where: str, name: str) -> object:
        value = record.get(name)
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise DatasetError(f"{self.path}: {where}.{name} is {value!r}, where an id is expected")
        return value

    def _side(self, image: Mapping[str, Any], where: str, name: str) -> int:
        pixels = number(image.get(name), f"{self.path}: {where}.{name}")
        if pixels < 1 or pixels != int(pixels):
            raise DatasetError(f"{self.path}: {where}.{name} is {pixels:g}, which is no number of pixels")
        return int(pixels)

    def _box(self, person: Mapping[str, Any], where: str) -> Box:
        """COCO's [x, y, width, height] as two corners."""
        numbers = person.get("bbox")
        if not isinstance(numbers, list) or len(numbers) != 4:  # noqa: PLR2004 -- x, y, width, height
            raise DatasetError(f"{self.path}: {where}.bbox is {numbers!r}, where [x, y, width, height] is expected")
        x, y, width, height = (
            number(value, f"{self.path}: {where}.bbox[{index}]") for index, value in enumerate(numbers)
        )
        return x, y, x + width, y + height

    def _action(
        self,
        image: Mapping[str, Any],
        where: str,
        people: Sequence[tuple[str, Mapping[str, Any]]],
        boxes: Sequence[Box],
        remarks: Counter[str],
    ) -> str | None:
        """The image's own action, else that of its largest person who has one."""
        if (own := self._text(image, where)) is not None:
            return own
        named = [(self._text(person, place), box) for (place, person), box in zip(people, boxes, strict=True)]
        areas = [(max(0.0, x1 - x0) * max(0.0, y1 - y0), action) for action, (x0, y0, x1, y1) in named if action]
        if len({action for _, action in areas}) > 1:
            remarks[_SEVERAL] += 1
        return max(areas, key=lambda entry: entry[0])[1] if areas else None

    def _text(self, record: Mapping[str, Any], where: str) -> str | None:
        value = record.get(self.action_field)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            raise DatasetError(f"{self.path}: {where}.{self.action_field} is {value!r}, where a name is expected")
        return value.strip()

    def _keypoints(self, people: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[Point, ...]:
        """The labelled joints of all people: COCO writes x, y and a visibility of 0 for those that are not."""
        points: list[Point] = []
        for where, person in people:
            numbers = person.get("keypoints") or []
            if not isinstance(numbers, list) or len(numbers) % 3:
                raise DatasetError(f"{self.path}: {where}.keypoints is no list of x, y, visibility")
            values = [number(value, f"{self.path}: {where}.keypoints[{i}]") for i, value in enumerate(numbers)]
            points += [(x, y) for x, y, seen in zip(values[::3], values[1::3], values[2::3], strict=True) if seen > 0]
        return tuple(points)


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise DatasetError(f"{path} holds a {type(document).__name__}, where an object is expected")
    return document


def _with_validation(annotations: Sequence[Annotation], share: float, seed: int) -> list[Annotation]:
    actions = {row.image: row.action for row in annotations if row.split == "train"}
    splits = validation_split(actions, share, seed)
    return [replace(row, split=splits[row.image]) if row.split == "train" else row for row in annotations]
