"""MPII Human Pose: some 25 000 photographs of 410 activities with the joints of their people (Andriluka et al., 2014).

The official layout: ``mpii_human_pose_v1_u12_1.mat`` and ``images/``. The file holds one MATLAB structure, ``RELEASE``:
``annolist`` (image name and people), ``img_train`` (1 for training) and ``act`` (the activity), one entry for each
photograph. The activities of the test photographs are withheld: those are left out. A person has up to 16 joints and no
box: the box is the tight one around the joints, expanded by half of its sides (a quarter to each side).

The photographs are frames of videos (``vididx``). Frames of one video are all but copies of each other, so whole videos
are set aside for validation.

The structure is irregular: an image without people has an empty list, a single person is no list, a joint without
coordinates is an empty array. All of that is normal; anything else is named by file and field.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from lga_model.annotations import Annotation, Point, Split
from lga_model.datasets.raw import DatasetError, RawDataset, inner_path, number, photograph_size, validation_split
from lga_model.images import ImageError
from lga_model.targets import box_around

ANNOTATIONS_FILE = "mpii_human_pose_v1_u12_1.mat"
_MAX_BYTES = 1 << 30
"""Of the file, and of what it unpacks to."""
_COMPRESSED = 15  # miCOMPRESSED of the format: one variable, packed by zlib.
_CHUNK_BYTES = 1 << 16
_JOINTS = 16


def read_mpii(
    root: Path, *, validation_images: Path | None = None, validation_share: float = 0.1, seed: int = 0
) -> RawDataset:
    """Read the training photographs that have an activity.

    Args:
        root: The folder that holds the annotation file and ``images``.
        validation_images: Text file with the names of the validation images, one a line: a published split. None sets
            a share of each activity's videos aside.
        validation_share: That share, in [0, 1].
        seed: Another seed sets other images aside.

    Raises:
        DatasetError: A file or folder is missing, or a field is not what it should be.
    """
    path, images = root / ANNOTATIONS_FILE, root / "images"
    if not images.is_dir():
        raise DatasetError(f"{root} is not the MPII data set: it has no folder images")
    release = _release(path)
    entries = _same_length(release, path)
    names = _activity_names([act for _, _, act in entries], path)
    people: dict[str, list[list[Point]]] = {}
    actions: dict[str, str] = {}
    videos: dict[str, str] = {}
    for index, (annotation, is_training, act) in enumerate(entries):
        where = f"{path}: RELEASE.annolist({index + 1})"
        if not is_training or (action := names.get(_activity(act))) is None:
            continue
        image = inner_path(_field(_field(annotation, "image", where), "name", f"{where}.image"), f"{where}.image.name")
        actions[image] = action
        people[image] = _people(annotation, where)
        videos[image] = _video(annotation, where) or image
    if not actions:
        raise DatasetError(f"{path}: RELEASE.act: no training image has an activity")
    splits = _splits(actions, videos, validation_images, validation_share, seed)
    return _annotations(images, actions, people, splits, withheld=len(entries) - len(actions))


def _annotations(
    images: Path,
    actions: Mapping[str, str],
    people: Mapping[str, list[list[Point]]],
    splits: Mapping[str, Split],
    *,
    withheld: int,
) -> RawDataset:
    annotations, missing, unusable = [], [], []
    for image, action in actions.items():
        try:
            width, height = photograph_size(images / image)
        except FileNotFoundError:
            missing.append(image)
            continue
        except ImageError as error:
            unusable.append(f"{image}: {error}")
            continue
        boxes = [box_around(joints) for joints in people[image]]
        annotations.append(
            Annotation(
                image=f"{images.name}/{image}",
                action=action,
                split=splits[image],
                boxes=tuple(box for box in boxes if box is not None),
                keypoints=tuple(joint for joints in people[image] for joint in joints),
                width=width,
                height=height,
            )
        )
    if not annotations:
        raise DatasetError(f"none of the {len(actions)} labelled images can be read in {images}")
    return RawDataset(
        annotations=tuple(annotations),
        missing=tuple(missing),
        unusable=tuple(unusable),
        remarks={"images without a published activity": withheld},
    )


def _release(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES or _unpacks_to_too_much(path):
            raise DatasetError(f"{path} is or unpacks to more than {_MAX_BYTES >> 20} MiB; the original has 13, packed")
        content = loadmat(path, variable_names=["RELEASE"], simplify_cells=True)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except DatasetError:
        raise
    except Exception as error:  # The reader raises whatever it likes at a broken file.
        raise DatasetError(f"{path} is not a usable MATLAB file: {error}") from error
    release = content.get("RELEASE")
    if not isinstance(release, Mapping):
        raise DatasetError(f"{path}: RELEASE is missing, or no structure")
    return release


def _unpacks_to_too_much(path: Path) -> bool:
    """Whether the variables of the file are more than ``_MAX_BYTES`` together: the reader would unpack them whole."""
    with path.open("rb") as file:
        tag = struct.Struct("<II" if file.read(128)[126:] == b"IM" else ">II")
        unpacked = 0
        while len(data := file.read(tag.size)) == tag.size:
            kind, size = tag.unpack(data)
            end = file.tell() + size
            unpacking = zlib.decompressobj()
            while kind == _COMPRESSED and (packed := file.read(min(_CHUNK_BYTES, end - file.tell()))):
                unpacked += len(unpacking.decompress(packed))
                if unpacked > _MAX_BYTES:
                    return True
            file.seek(end)
    return False


def _same_length(release: Mapping[str, Any], path: Path) -> list[tuple[Mapping[str, Any], bool, Mapping[str, Any]]]:
    """Each photograph with its annotation, whether it is for training, and its activity."""
    annotations, acts = (_structures(release.get(name), f"{path}: RELEASE.{name}") for name in ("annolist", "act"))
    training = np.atleast_1d(np.asarray(release.get("img_train", []))).ravel()
    if not len(annotations) == len(acts) == len(training):
        raise DatasetError(
            f"{path}: RELEASE: annolist has {len(annotations)} entries, act {len(acts)}, img_train {len(training)}; "
            "each photograph should be in all three"
        )
    flags = [number(_scalar(flag), f"{path}: RELEASE.img_train({index + 1})") for index, flag in enumerate(training)]
    return [(annotation, flag == 1, act) for annotation, flag, act in zip(annotations, flags, acts, strict=True)]


def _activity(act: Mapping[str, Any]) -> tuple[str, str]:
    """Category and name; empty texts where they are withheld."""
    category, name = act.get("cat_name"), act.get("act_name")
    return (category if isinstance(category, str) else "", name.strip() if isinstance(name, str) else "")


def _activity_names(acts: Sequence[Mapping[str, Any]], path: Path) -> dict[tuple[str, str], str]:
    """What to call each activity: its own name, with its category in front where two share a name."""
    activities = sorted({_activity(act) for act in acts})
    named = [activity for activity in activities if activity[1]]
    if not named:
        raise DatasetError(f"{path}: RELEASE.act.act_name: not one activity has a name")
    times = [name for _, name in named]
    return {(category, name): f"{category}: {name}" if times.count(name) > 1 else name for category, name in named}


def _people(annotation: Mapping[str, Any], where: str) -> list[list[Point]]:
    """The joints of each person who has any."""
    people = []
    for number_of_person, person in enumerate(_structures(annotation.get("annorect"), f"{where}.annorect")):
        here = f"{where}.annorect({number_of_person + 1}).annopoints.point"
        points = person.get("annopoints")
        joints = _structures(points.get("point") if isinstance(points, Mapping) else None, here)
        if len(joints) > _JOINTS:
            raise DatasetError(f"{here} has {len(joints)} joints; a person has at most {_JOINTS}")
        found = [
            (
                number(_scalar(joint.get("x")), f"{here}({index + 1}).x"),
                number(_scalar(joint.get("y")), f"{here}({index + 1}).y"),
            )
            for index, joint in enumerate(joints)
            if np.asarray(joint.get("x")).size and np.asarray(joint.get("y")).size
        ]
        if found:
            people.append(found)
    return people


def _video(annotation: Mapping[str, Any], where: str) -> str | None:
    """The video that a photograph is a frame of; None where that is not said."""
    video = annotation.get("vididx")
    if video is None or not np.size(video):
        return None
    return f"video {number(_scalar(video), f'{where}.vididx'):g}"


def _splits(
    actions: Mapping[str, str],
    videos: Mapping[str, str],
    validation_images: Path | None,
    validation_share: float,
    seed: int,
) -> dict[str, Split]:
    if validation_images is None:
        splits = validation_split({videos[image]: action for image, action in actions.items()}, validation_share, seed)
        return {image: splits[videos[image]] for image in actions}
    try:
        chosen = {line.strip() for line in validation_images.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{validation_images} cannot be read: {error}") from error
    if unknown := sorted(chosen - actions.keys()):
        raise DatasetError(f"{validation_images} names {unknown[0]!r}, which is no training image with an activity")
    return {image: "val" if image in chosen else "train" for image in actions}


def _structures(value: object, where: str) -> list[Mapping[str, Any]]:
    """MATLAB's one, several or no structures as a list."""
    if isinstance(value, Mapping):
        return [value]
    entries = [] if value is None else list(np.asarray(value, dtype=object).ravel())
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise DatasetError(f"{where}({index + 1}) is {entry!r}, where a structure is expected")
    return entries


def _field(structure: object, name: str, where: str) -> object:
    if not isinstance(structure, Mapping) or name not in structure:
        raise DatasetError(f"{where}.{name} is missing")
    return structure[name]


def _scalar(value: object) -> object:
    """The one number of an array of one; anything else as it is."""
    return value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
