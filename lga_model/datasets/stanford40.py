"""Stanford40: 40 actions, 9532 photographs, one person box each (Yao et al., ICCV 2011).

The official layout: ``JPEGImages/``, ``XMLAnnotations/`` and ``ImageSplits/`` with ``actions.txt`` and, for each
action, ``<action>_train.txt`` and ``<action>_test.txt``. There is no official validation split: a share of the training
images of each class becomes one, chosen by a hash of the file name, so that it is the same on every machine.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree as SafeElementTree
from defusedxml.common import DefusedXmlException

from lga_model.annotations import Annotation, Box, Split
from lga_model.datasets.raw import DatasetError, RawDataset, number, set_aside


def read_stanford40(root: Path, *, validation_share: float = 0.1, seed: int = 0) -> RawDataset:
    """Read the data set's split lists and boxes.

    Args:
        root: The folder that holds ``JPEGImages``.
        validation_share: Share of each class's training images that is set aside for validation, in [0, 1].
        seed: Another seed sets other images aside.

    Raises:
        DatasetError: A folder, list or annotation is missing or malformed.
    """
    for folder in ("JPEGImages", "XMLAnnotations", "ImageSplits"):
        if not (root / folder).is_dir():
            raise DatasetError(f"{root} is not the Stanford40 data set: it has no folder {folder}")
    annotations: list[Annotation] = []
    missing: list[str] = []
    for action in _actions(root / "ImageSplits" / "actions.txt"):
        training = _names(root / "ImageSplits" / f"{action}_train.txt")
        splits: dict[str, Split] = dict.fromkeys(training, "train")
        splits |= dict.fromkeys(set_aside(training, validation_share, seed), "val")
        splits |= dict.fromkeys(_names(root / "ImageSplits" / f"{action}_test.txt"), "test")
        for name, split in splits.items():
            if (root / "JPEGImages" / name).is_file():
                annotations.append(_annotation(root, name, action, split))
            else:
                missing.append(name)
    if not annotations:
        raise DatasetError(f"none of the images that {root / 'ImageSplits'} names is in {root / 'JPEGImages'}")
    return RawDataset(annotations=tuple(annotations), missing=tuple(missing))


def _actions(path: Path) -> list[str]:
    lines = [line.split() for line in _lines(path)]
    actions = [words[0] for words in lines if words and words[0] != "action_name"]
    if not actions:
        raise DatasetError(f"{path} names no action")
    for action in actions:
        if not _is_inside(action):
            raise DatasetError(f"{path}: {action!r} is not the name of an action")
    return actions


def _names(path: Path) -> list[str]:
    names = [line.strip() for line in _lines(path) if line.strip()]
    for name in names:
        if not _is_inside(name):
            raise DatasetError(f"{path}: {name!r} is not the name of an image")
    return names


def _is_inside(name: str) -> bool:
    """Whether a file of that name lies in the folder where it is looked for."""
    return Path(name).name == name and "\0" not in name


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def _annotation(root: Path, name: str, action: str, split: Split) -> Annotation:
    path = root / "XMLAnnotations" / f"{Path(name).stem}.xml"
    tree = _parse(path)
    width, height = int(_number(tree, "size/width", path)), int(_number(tree, "size/height", path))
    boxes = tuple(_box(each, path) for each in tree.iterfind("object/bndbox"))
    return Annotation(image=f"JPEGImages/{name}", action=action, split=split, boxes=boxes, width=width, height=height)


def _parse(path: Path) -> Element:
    try:
        tree: Element = SafeElementTree.fromstring(path.read_bytes(), forbid_dtd=True)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except (ParseError, DefusedXmlException, ValueError, LookupError, OSError) as error:  # Lookup: of an encoding.
        raise DatasetError(f"{path} is not a usable XML file: {error}") from error
    return tree


def _box(element: Element, path: Path) -> Box:
    x0, y0, x1, y1 = (_number(element, side, path) for side in ("xmin", "ymin", "xmax", "ymax"))
    return x0, y0, x1, y1


def _number(element: Element, field: str, path: Path) -> float:
    return number(element.findtext(field), f"{path}: {element.tag}/{field}")
