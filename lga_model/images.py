"""Bytes of a photograph to the network's pixels: the one preprocessing, for training and for scoring.

The whole image is squeezed to a square. A JPEG is decoded at the smallest scale of its own transform that is still
large enough (far cheaper for a 12-megapixel photograph), then resized once. Everything else goes through Pillow.

Shape suffixes: H W = pixels, C = red, green, blue.
"""

from __future__ import annotations

import contextlib
import io
import struct
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

PREPROCESSING = "squeeze-area-1"
"""Changes whenever the same bytes would become other pixels; engines and rows name it."""

Reason = Literal["truncated", "not_an_image", "unsupported", "too_large", "decode_error"]
Pixels = NDArray[np.uint8]

with contextlib.suppress(ImportError):  # The extra [heif].
    import pillow_heif

    pillow_heif.register_heif_opener()

# Our own limit replaces Pillow's, which only warns at first and is global to the process.
Image.MAX_IMAGE_PIXELS = None

_JPEG = b"\xff\xd8\xff"
_START_OF_SCAN = b"\xff\xda"
_END_OF_IMAGE = b"\xff\xd9"
_INVERTED = {"CMYK", "YCCK"}  # Adobe writes them inverted; Pillow knows how to tell.
_DETAIL_LENGTH = 500
_SIDE_LIMIT = 65_500  # The largest side that a JPEG may have.

_SAME_PROPORTION = 0.02
"""So much may the proportion of a photograph differ from its annotation's: a smaller copy has rounded sides."""


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """What is too much for one image; checked before the pixels are decoded."""

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 178_956_970


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """A photograph as the network sees it, and how large it was."""

    pixels_HWC: Pixels
    """Red, green, blue in [0, 255], upright, ``[size, size, 3]``, C-contiguous."""
    width_px: int
    """Width of the original, after its EXIF orientation is applied."""
    height_px: int


class ImageError(ValueError):
    """Bytes that do not become an image, with a reason from a closed set and one line of detail."""

    def __init__(self, reason: Reason, detail: str) -> None:
        line = "".join(letter if letter.isprintable() else " " for letter in detail)[:_DETAIL_LENGTH]
        super().__init__(reason, line)
        self.reason, self.detail = reason, line

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class SizeError(ValueError):
    """A photograph that is not of the size that its boxes were drawn in: they would lie somewhere else."""


def check_size(image: DecodedImage, width: int, height: int) -> None:
    """Compare a photograph with what its annotation says. A smaller copy passes: boxes are scaled with it.

    Raises:
        SizeError: If the sides are swapped (boxes of before the EXIF orientation), or in another proportion.
    """
    sides = image.width_px, image.height_px
    is_swapped = sides == (height, width) != (width, height)
    if is_swapped or abs(sides[0] * height / (sides[1] * width) - 1) > _SAME_PROPORTION:
        raise SizeError(f"the file is {sides[0]} x {sides[1]}, the manifest says {width} x {height}")


def decode_image(data: bytes, size_px: int, limits: ImageLimits | None = None) -> DecodedImage:
    """Decode one photograph to a square of RGB pixels.

    Transparency is laid over white, of an animation the first frame is taken, 16-bit greys keep their upper eight bits.

    Args:
        data: The encoded file: JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF (HEIC where Pillow has a plugin for it). The
            content decides, never a name.
        size_px: Side of the square.
        limits: Bytes and pixels that are too much; None takes the defaults.

    Raises:
        ImageError: Whatever is wrong with the bytes. Nothing else is raised.
    """
    limits = limits or ImageLimits()
    _check_kind(data, limits)
    try:
        if data.startswith(_JPEG):
            return _decode_jpeg(data, size_px, limits)
        return _decode_with_pillow(data, size_px, limits)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("too_large", "decoding it needs more memory than there is") from error
    except Exception as error:
        # Decoders raise whatever they like at broken files (struct.error, SyntaxError, IndexError, cv2.error, ...).
        raise ImageError(_reason_for(str(error)), f"{type(error).__name__}: {error}") from error


def _check_kind(data: bytes, limits: ImageLimits) -> None:
    """Refuse what is no image, or one that nothing here can read, by its first bytes."""
    if not data:
        raise ImageError("not_an_image", "the object is empty")
    if len(data) > limits.max_bytes:
        raise ImageError("too_large", f"{len(data)} bytes; the limit is {limits.max_bytes}")
    if data.startswith(_READ) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return
    if data[4:8] == b"ftyp":
        _check_container(data[8:12].decode("ascii", "replace"))
        return
    for start, name in _OTHER_IMAGES.items():
        if data.startswith(start):
            raise ImageError("unsupported", f"{name} is not among the formats that are read")
    raise ImageError("not_an_image", f"the file starts with {data[:8]!r}")


def _check_container(brand: str) -> None:
    """Of the media containers some hold still images; what opens them depends on what Pillow was built with."""
    if brand in {"heic", "heix", "hevc", "heim", "heis", "mif1", "msf1"}:
        if ".heic" not in Image.registered_extensions():
            raise ImageError("unsupported", "HEIC needs the extra [heif] (pillow-heif)")
    elif brand not in {"avif", "avis"}:
        raise ImageError("not_an_image", f"a media container of the kind {brand!r}")


_READ = (_JPEG, b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHER_IMAGES = {
    b"8BPS": "Photoshop",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\1\0": "an icon",
    b"FLIF": "FLIF",
    b"v/1\x01": "OpenEXR",
    b"qoif": "QOI",
}


def _check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    if width < 1 or height < 1:
        raise ImageError("decode_error", f"the header says {width} x {height} pixels")
    if width * height > limits.max_pixels or max(width, height) > _SIDE_LIMIT:
        raise ImageError("too_large", f"{width} x {height} pixels; the limit is {limits.max_pixels} in all")


@dataclass(frozen=True, kw_only=True)
class JpegHeader:
    """What a JPEG says about itself."""

    width_px: int
    """As it is stored, before the orientation is applied."""
    height_px: int
    orientation: int
    """By its Exif block, 1 to 8."""


def read_jpeg_header(data: bytes, limits: ImageLimits) -> JpegHeader | None:
    """The header of a JPEG that any decoder reads alike; None for everything else, ``decode_image`` may know it.

    Raises:
        ImageError: If it is no image, or too large.
    """
    _check_kind(data, limits)
    if not data.startswith(_JPEG) or data.rfind(_END_OF_IMAGE) < data.rfind(_START_OF_SCAN):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):
        return None
    _check_pixels(width, height, limits)
    if colours in _INVERTED:
        return None
    return JpegHeader(width_px=width, height_px=height, orientation=_jpeg_orientation(data))


def _decode_jpeg(data: bytes, size_px: int, limits: ImageLimits) -> DecodedImage:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError) as error:  # KeyError: a colour model that it has no name for.
        whole = data.rstrip(b"\0").endswith(_END_OF_IMAGE)
        raise ImageError("decode_error" if whole else "truncated", f"JPEG header: {error}") from error
    _check_pixels(width, height, limits)
    if colours in _INVERTED:
        return _decode_with_pillow(data, size_px, limits)
    try:
        pixels_HWC = simplejpeg.decode_jpeg(data, "RGB", min_height=size_px, min_width=size_px)
    except ValueError as error:
        # Only the first complaint is told: another one may hide that nothing ends the last scan.
        if "remature end" in str(error) or data.rfind(_END_OF_IMAGE) < data.rfind(_START_OF_SCAN):
            raise ImageError("truncated", str(error)) from error
        # Strictness is for truncation alone: a stray byte between two markers spoils no photograph.
        try:
            pixels_HWC = simplejpeg.decode_jpeg(data, "RGB", min_height=size_px, min_width=size_px, strict=False)
        except ValueError:  # Complaints about the header stay errors there; Pillow overlooks the harmless ones.
            return _decode_with_pillow(data, size_px, limits)
    return _finish(pixels_HWC, width, height, _jpeg_orientation(data), size_px)


def _decode_with_pillow(data: bytes, size_px: int, limits: ImageLimits) -> DecodedImage:
    if data[:4] == b"RIFF" and struct.unpack("<I", data[4:8])[0] + 8 > len(data):
        # The WebP decoder's own message does not tell truncation from damage.
        raise ImageError("truncated", "the WebP file is shorter than its header says")
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise ImageError("decode_error", "the header of the file cannot be understood") from error
    with image:
        width, height = image.size
        _check_pixels(width, height, limits)
        image.load()  # The first frame.
        return _finish(_rgb(image), width, height, _pillow_orientation(image), size_px)


def _rgb(image: Image.Image) -> Pixels:
    """Any of Pillow's modes as RGB pixels, laid over white where it is transparent."""
    if image.mode.startswith("I;16"):
        grey_HW = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey_HW[:, :, None], 3, axis=2)
    if image.mode in {"I", "F"}:
        raise ImageError("unsupported", f"pixels of 32 bits (mode {image.mode}) have no agreed range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _finish(pixels_HWC: Pixels, width: int, height: int, orientation: int, size_px: int) -> DecodedImage:
    """Squeeze to the square, then turn upright: turning the small image is cheap, and a squeeze does not mind."""
    decoded_height, decoded_width = pixels_HWC.shape[:2]
    shrunk = (min(decoded_width, size_px), min(decoded_height, size_px))
    # Two steps, since no filter of OpenCV is right for both: area for what shrinks, linear for what grows.
    if shrunk != (decoded_width, decoded_height):
        pixels_HWC = cv2.resize(pixels_HWC, shrunk, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if shrunk != (size_px, size_px):
        pixels_HWC = cv2.resize(pixels_HWC, (size_px, size_px), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return upright(pixels_HWC, width, height, orientation)


_SIDEWAYS = {5, 6, 7, 8}


def upright(pixels_HWC: Pixels, width_px: int, height_px: int, orientation: int) -> DecodedImage:
    """Undo an EXIF orientation: 1 upright ... 8 turned a quarter to the left (Exif 2.3, tag 274).

    Args:
        pixels_HWC: The photograph as it is stored, squeezed to a square.
        width_px: Of the original, as it is stored.
        height_px: Likewise.
        orientation: To undo.
    """
    if orientation in _SIDEWAYS:
        width_px, height_px = height_px, width_px
        pixels_HWC = pixels_HWC.transpose(1, 0, 2)
    if orientation in {3, 4, 7, 8}:
        pixels_HWC = pixels_HWC[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels_HWC = pixels_HWC[:, ::-1]
    return DecodedImage(pixels_HWC=np.ascontiguousarray(pixels_HWC), width_px=width_px, height_px=height_px)


def _jpeg_orientation(data: bytes) -> int:
    """The orientation from the file's Exif block, found by walking the markers; 1 where there is none."""
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:  # noqa: PLR2004 - the byte that starts a marker
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in {0xDA, 0xD9}:  # The pixels begin.
            break
        if marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":  # noqa: PLR2004 - APP1
            exif = Image.Exif()
            try:
                exif.load(data[position + 4 : position + 2 + length])
            except Exception:  # noqa: BLE001 - Pillow raises many things; a broken Exif block spoils no photograph
                return 1
            return _orientation(exif)
        position += 2 + length
    return 1


def _pillow_orientation(image: Image.Image) -> int:
    try:
        return _orientation(image.getexif())
    except Exception:  # noqa: BLE001 - as for a JPEG: a broken Exif block spoils no photograph
        return 1


def _orientation(exif: Image.Exif) -> int:
    value = exif.get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1  # noqa: PLR2004 - the eight of the standard


def _reason_for(message: str) -> Reason:
    lowered = message.lower()
    ends_early = any(
        word in lowered for word in ("truncat", "premature", "end of file", "not enough", "unexpected end")
    )
    return "truncated" if ends_early else "decode_error"
