"""Any bytes become an upright square of pixels, or a reason."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from lga_model.datasets.stanford40 import read_stanford40
from lga_model.images import ImageError, ImageLimits, decode_image

SIZE = 64


def picture(width: int = 300, height: int = 200) -> Image.Image:
    """A smooth picture whose four corners differ, so that every turn and mirror shows."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray((np.stack([x, y, (x + y) / 2], axis=2) * 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def plainly(image: Image.Image) -> np.ndarray:
    """The same by Pillow alone: full decode, box filter."""
    return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX)).astype(int)


def as_lab(image: Image.Image) -> Image.Image:
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    return ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "RGB", "LAB"))


def difference(pixels: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(pixels.astype(int) - expected).mean())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("BMP", {}),
        ("AVIF", {"quality": 95}),
    ],
)
def test_every_format_gives_the_same_picture(kind, options):
    """
    Whatever the container, the pixels are those of a plain decode, within compression.
    """
    decoded = decode_image(encoded(picture(), kind, **options), SIZE)

    assert (SIZE, SIZE, 3) == decoded.pixels_HWC.shape
    assert np.uint8 == decoded.pixels_HWC.dtype
    assert decoded.pixels_HWC.flags.c_contiguous
    assert (300, 200) == (decoded.width_px, decoded.height_px)
    assert difference(decoded.pixels_HWC, plainly(picture())) < 2.0


@pytest.mark.parametrize("size", [(2000, 1500), (64, 64), (40, 30), (500, 20), (20, 500), (1, 1)])
def test_large_and_small_pictures_are_squeezed_alike(size):
    """
    Shrinking, enlarging and one of each agree with an exact area or linear resize.
    """
    image = picture(*size)
    decoded = decode_image(encoded(image, "JPEG", quality=98, subsampling=0), SIZE)
    expected = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)).astype(int)

    assert difference(decoded.pixels_HWC, expected) < 3.0


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA", "RGBA", "I;16", "YCbCr", "LAB"])
def test_every_colour_model_becomes_rgb(mode):
    """
    Grey, palette, print colours, 16 bits and transparency: what a viewer shows on white.
    """
    source = picture()
    if mode == "I;16":
        grey = np.asarray(source.convert("L")).astype(np.uint16) * 257
        data, expected = encoded(Image.fromarray(grey), "PNG"), plainly(source.convert("L"))
    elif mode in {"LA", "RGBA"}:
        opaque = source.convert(mode)
        opaque.putalpha(Image.new("L", source.size, 255))
        data, expected = encoded(opaque, "PNG"), plainly(source.convert("L") if mode == "LA" else source)
    else:
        image = as_lab(source) if mode == "LAB" else source.convert(mode, dither=Image.Dither.NONE)
        kind = {"CMYK": "JPEG", "YCbCr": "JPEG", "LAB": "TIFF"}.get(mode, "PNG")
        data, expected = encoded(image, kind), plainly(source if mode == "LAB" else image)

    assert difference(decode_image(data, SIZE).pixels_HWC, expected) < 3.0


def test_what_is_transparent_turns_white():
    """
    A fully transparent picture is white, whatever colour hides below.
    """
    clear = picture().convert("RGBA")
    clear.putalpha(0)

    assert 255 == decode_image(encoded(clear, "PNG"), SIZE).pixels_HWC.min()


def test_of_an_animation_the_first_frame_is_taken():
    """
    A red frame, then a blue one: red.
    """
    frames = [Image.new("RGB", (80, 80), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert [255, 0, 0] == decode_image(data, SIZE).pixels_HWC[32, 32].tolist()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(kind, orientation):
    """
    All eight EXIF orientations come out as Pillow's own transpose shows them, with width and height of the upright one.
    """
    image = picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, kind, exif=exif, **({"quality": 95} if kind != "TIFF" else {}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    decoded = decode_image(data, SIZE)

    assert upright.size == (decoded.width_px, decoded.height_px)
    assert difference(decoded.pixels_HWC, plainly(upright)) < 2.5


def test_a_broken_exif_block_spoils_no_photograph():
    """
    Rubbish where the orientation should be is passed over.
    """
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(encoded(picture(), "JPEG", exif=exif))
    start = data.index(b"Exif\0\0") + 6
    data[start : start + 20] = b"\xff" * 20

    assert (300, 200) == (decode_image(bytes(data), SIZE).width_px, decode_image(bytes(data), SIZE).height_px)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_an_image"),
        (b"<html><body>404</body></html>", "not_an_image"),
        (b"%PDF-1.7 ...", "not_an_image"),
        (b"\0\0\0\x18ftypmp42", "not_an_image"),
        (b"\0" * 100, "not_an_image"),
        (b"8BPS\0\1", "unsupported"),
        (b"\xff\x0a rest", "unsupported"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "decode_error" if find_spec("pillow_heif") else "unsupported"),
        (b"\x89PNG\r\n\x1a\n", "decode_error"),
        (b"\xff\xd8\xff", "truncated"),
        (b"BM" + b"\0" * 60, "decode_error"),
    ],
)
def test_what_is_no_photograph_says_so(data, reason):
    """
    Each kind of wrong object gets its reason, and one printable line of detail.
    """
    with pytest.raises(ImageError) as caught:
        decode_image(data, SIZE)

    assert reason == caught.value.reason
    assert caught.value.detail
    assert caught.value.detail.isprintable()


def test_a_telephones_photograph_is_read():
    """
    HEIC, where the extra [heif] is installed: upright, with the size that people see.
    """
    pytest.importorskip("pillow_heif", reason="needs the extra [heif]")
    sink = io.BytesIO()
    Image.new("RGB", (200, 100), (250, 10, 20)).save(sink, "HEIF")
    image = decode_image(sink.getvalue(), SIZE)

    assert (200, 100) == (image.width_px, image.height_px)
    np.testing.assert_allclose(image.pixels_HWC.mean(axis=(0, 1)), (250, 10, 20), atol=6)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_file_that_ends_early_is_truncated(kind, share):
    """
    No grey lower half: an object that was cut off is a failure.
    """
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(ImageError) as caught:
        decode_image(data[: int(len(data) * share)], SIZE)

    assert "truncated" == caught.value.reason


def test_a_progressive_photograph_that_ends_anywhere_is_refused():
    """
    No cut of a progressive JPEG gives a half-painted picture, not even where the decoder complains of something else.
    """
    data = encoded(picture(), "JPEG", progressive=True)
    accepted = []
    for end in range(1, len(data)):
        try:
            decode_image(data[:end], SIZE)
        except ImageError:
            continue
        accepted.append(end)

    assert [] == accepted


@pytest.mark.parametrize("start", [b"\xff\xda", b"\xff\xdb"])
def test_stray_bytes_between_markers_spoil_no_photograph(start):
    """
    What libjpeg calls extraneous bytes before a marker changes nothing, but half of such a file is still truncated.
    """
    data = encoded(picture(), "JPEG", quality=95)
    at = data.index(start)
    stray = data[:at] + b"\0\0\0" + data[at:]
    with pytest.raises(ImageError) as cut:
        decode_image(stray[: len(stray) * 2 // 3], SIZE)

    assert difference(decode_image(stray, SIZE).pixels_HWC, plainly(picture())) < 2
    assert "truncated" == cut.value.reason


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_broken_exif_block_spoils_no_other_format_either(kind):
    """
    Where the Exif block makes no sense, the picture is taken as it lies.
    """
    data = encoded(picture(), kind, exif=b"Exif\0\0garbage-garbage")

    assert (300, 200) == (decode_image(data, SIZE).width_px, decode_image(data, SIZE).height_px)


def test_bytes_behind_the_end_do_no_harm():
    """
    Cameras append things to their JPEGs.
    """
    data = encoded(picture(), "JPEG")

    assert np.array_equal(decode_image(data, SIZE).pixels_HWC, decode_image(data + b"appendix", SIZE).pixels_HWC)


def test_a_bomb_is_not_decoded():
    """
    A tiny file that claims billions of pixels is refused by its header; so are too many bytes.
    """
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    body = b"IDAT" + zlib.compress(b"\0" * 1000)
    bomb += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    with pytest.raises(ImageError) as by_header:
        decode_image(bomb, SIZE)
    with pytest.raises(ImageError) as by_pixels:
        decode_image(encoded(picture(), "JPEG"), SIZE, ImageLimits(max_pixels=1000))
    with pytest.raises(ImageError) as by_bytes:
        decode_image(encoded(picture(), "JPEG"), SIZE, ImageLimits(max_bytes=100))

    assert ["too_large"] * 3 == [each.value.reason for each in (by_header, by_pixels, by_bytes)]


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"]),
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.floats(0.05, 1),
)
def test_damage_never_raises_anything_else(kind, damage, cut):
    """
    Flipped bytes and lost ends give pixels or an ``ImageError``.
    """
    data = bytearray(encoded(picture(60, 40), kind))
    for place, value in damage:
        data[int(place * (len(data) - 1))] = value
    try:
        decoded = decode_image(bytes(data[: int(len(data) * cut)]), SIZE)
    except ImageError as error:
        assert error.detail.isprintable()
        assert 500 >= len(error.detail)
    else:
        assert (SIZE, SIZE, 3) == decoded.pixels_HWC.shape


def test_the_error_survives_pickling():
    """
    It travels from Ray's workers to the driver.
    """
    copy = pickle.loads(pickle.dumps(ImageError("truncated", "line\none\x07")))

    assert ("truncated", "line one ") == (copy.reason, copy.detail)


def test_real_photographs_have_the_size_that_their_annotation_says(stanford40):
    """
    Forty real photographs, one of each action, and the one that is grey.
    """
    annotations = read_stanford40(stanford40).annotations
    chosen = [*annotations[::125], next(each for each in annotations if "feeding_a_horse_191" in each.image)]
    for annotation in chosen:
        decoded = decode_image((stanford40 / annotation.image).read_bytes(), SIZE)

        assert (annotation.width, annotation.height) == (decoded.width_px, decoded.height_px)
