"""What every reader of a raw data set gives back, how it complains, and what the readers share.

Annotation files come from anywhere, so a reader trusts none of them: no entry may lead out of the data set's folder,
no number is taken for one unchecked, and whatever is wrong is named by file and field.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lga_model.images import ImageError, decode_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lga_model.annotations import Annotation, Split

_LARGEST = 2**31
_ENOUGH_PX = 32


class DatasetError(ValueError):
    """A raw data set that is not as it should be; names the file and the field."""


@dataclass(frozen=True, kw_only=True)
class RawDataset:
    """What was found in a raw data set."""

    annotations: tuple[Annotation, ...]
    """Images relative to the data set's root."""
    missing: tuple[str, ...] = ()
    """Images that the annotations name and that are not there."""
    unusable: tuple[str, ...] = ()
    """Images that cannot be decoded, each with its reason."""
    remarks: Mapping[str, int] = field(default_factory=dict)
    """How many images were treated by which rule, for people."""


def number(value: object, where: str) -> float:
    """Take a value for a number of pixels.

    Raises:
        DatasetError: If it is none. ``where`` names file and field.
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(f"{where} is {value!r}, where a number is expected") from error
    if not math.isfinite(found) or abs(found) >= _LARGEST:
        raise DatasetError(f"{where} is {value!r}, which is no number of pixels")
    return found


def inner_path(value: object, where: str) -> str:
    """Take a value for the path of an image below the folder of the images, with forward slashes.

    Raises:
        DatasetError: If it is none, or leads out of that folder. ``where`` names file and field.
    """
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise DatasetError(f"{where} is {value!r}, where the name of an image is expected")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value:
        raise DatasetError(f"{where} is {value!r}, which leads out of the folder of the images")
    return str(path)


def set_aside(names: Sequence[str], share: float, seed: int) -> list[str]:
    """Choose a share of names: those with the smallest hashes, so that one more image moves no other."""
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    return order[: math.floor(share * len(names) + 0.5)]


def validation_split(actions: Mapping[str, str], share: float, seed: int) -> dict[str, Split]:
    """Divide training images: of each action a share is for validation.

    Args:
        actions: Image to action.
        share: In [0, 1].
        seed: Another seed sets other images aside.

    Returns:
        Image to ``train`` or ``val``, in the same order.
    """
    members: dict[str, list[str]] = {}
    for image, action in actions.items():
        members.setdefault(action, []).append(image)
    chosen = {name for names in members.values() for name in set_aside(names, share, seed)}
    return {image: "val" if image in chosen else "train" for image in actions}


def photograph_size(path: Path) -> tuple[int, int]:
    """Decode a photograph, as small as can be, for its upright width and height.

    Raises:
        FileNotFoundError: If there is none.
        ImageError: If it cannot be decoded or read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ImageError("decode_error", f"cannot be read: {error.strerror}") from error
    image = decode_image(data, _ENOUGH_PX)
    return image.width_px, image.height_px
