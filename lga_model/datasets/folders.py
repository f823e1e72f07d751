"""Plain folders: ``class/image.jpg``, or ``train/class/image.jpg`` with a folder for each split.

Nobody drew boxes, so such photographs train the action branch alone. One folder may hold photographs that show nobody.
"""

from __future__ import annotations

from pathlib import Path

from lga_model.annotations import SPLITS, Annotation, Split
from lga_model.datasets.raw import DatasetError, RawDataset, photograph_size, set_aside
from lga_model.images import ImageError


def read_folders(
    root: Path,
    *,
    nobody: str | None = None,
    validation_share: float = 0.1,
    test_share: float = 0.0,
    seed: int = 0,
) -> RawDataset:
    """Read the photographs of every class; the name of its folder is the action.

    Args:
        root: Holds a folder for each class, or folders ``train``, ``val`` and ``test`` that do.
        nobody: The folder of photographs without people, if there is one.
        validation_share: Share of each class that is set aside for validation where no folder ``val`` is.
        test_share: Likewise for the test split, where no folder ``test`` is.
        seed: Another seed sets other images aside.

    Raises:
        DatasetError: There is no such folder, or no class or no photograph in it.
    """
    given = [split for split in SPLITS if (root / split).is_dir()]
    if given and "train" not in given:
        raise DatasetError(f"{root} has a folder {given[0]} but no folder train")
    splits: dict[str, Split] = {}
    for split in given:
        splits |= dict.fromkeys(_images(root, root / split), split)
    if not given:
        splits = dict.fromkeys(_images(root, root), "train")
    unusable = [f"{_printable(image)}: its name is no UTF-8" for image in splits if image != _printable(image)]
    splits = {image: split for image, split in splits.items() if image == _printable(image)}
    splits |= _chosen(splits, 0.0 if "val" in given else validation_share, 0.0 if "test" in given else test_share, seed)
    if nobody is not None and not any(Path(image).parent.name == nobody for image in splits):
        raise DatasetError(f"{root} has no photographs in a folder {nobody}")
    annotations = []
    for image, split in splits.items():
        try:
            width, height = photograph_size(root / image)
        except (ImageError, FileNotFoundError) as error:
            unusable.append(f"{image}: {error}")
            continue
        action = Path(image).parent.name
        annotations.append(
            Annotation(
                image=image,
                action="" if action == nobody else action,
                split=split,
                boxes=(),
                width=width,
                height=height,
                nobody=action == nobody,
            )
        )
    if not annotations:
        raise DatasetError(f"not one of the files in {root} is a photograph; the first: {unusable[0]}")
    return RawDataset(annotations=tuple(annotations), unusable=tuple(unusable))


def _images(root: Path, folder: Path) -> list[str]:
    """Every file of every class folder, relative to the root, in the order of the alphabet; hidden ones are none."""
    try:
        classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        files = [
            path.relative_to(root).as_posix()
            for each in classes
            for path in sorted(each.iterdir())
            if path.is_file() and not path.name.startswith(".")
        ]
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror}") from error
    if not files:
        raise DatasetError(f"{folder} has no class folders with photographs in them")
    return files


def _printable(name: str) -> str:
    """The same name, with what a file system holds and no text can written out."""
    return name.encode(errors="backslashreplace").decode()


def _chosen(splits: dict[str, Split], validation_share: float, test_share: float, seed: int) -> dict[str, Split]:
    """The training images of each class that shares set aside: first for the test, then, of the rest, to validate."""
    members: dict[str, list[str]] = {}
    for image, split in splits.items():
        if split == "train":
            members.setdefault(Path(image).parent.name, []).append(image)
    chosen: dict[str, Split] = {}
    for images in members.values():
        test = set_aside(images, test_share, seed)
        rest = [image for image in images if image not in set(test)]
        chosen |= dict.fromkeys(test, "test")
        chosen |= dict.fromkeys(set_aside(rest, validation_share, seed), "val")
    return chosen
