"""Every kind of bad object that a real bucket holds, made here, each with the reason that it must get.

``python tests/chaos/score/dirty_corpus.py FOLDER`` writes them as files. Good objects that look odd stand beside them
(reason None): a reader that is too strict is as wrong as one that is too lax.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

MAX_BYTES = 300_000
MAX_PIXELS = 4_000_000
"""Limits that the corpus is made for."""


def scene(width: int = 160, height: int = 120) -> Image.Image:
    """A picture with some detail."""
    coarse = np.random.default_rng(width).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, form, **options)
    return sink.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, pixels: bytes, *, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG whose header may promise anything."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(pixels))
        + png_chunk(b"IEND", b"")
    )


def with_size_in_header(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header tells another size than its pixels have."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def corpus() -> dict[str, tuple[bytes, str | None]]:
    """Name of each object, its bytes, and its reason."""
    jpeg, progressive = encoded(scene(), "JPEG"), encoded(scene(), "JPEG", progressive=True)
    png, webp, gif = encoded(scene(), "PNG"), encoded(scene(), "WEBP"), encoded(scene(), "GIF")
    tiff, bmp, avif = encoded(scene(), "TIFF"), encoded(scene(), "BMP"), encoded(scene(), "AVIF")
    lzw = encoded(scene(), "TIFF", compression="tiff_lzw")
    scan = jpeg.index(b"\xff\xda")
    middle = len(png) // 2
    return {
        # Nothing, or something else altogether.
        "empty.jpg": (b"", "not_an_image"),
        "one-byte.jpg": (b"\xff", "not_an_image"),
        "zeros.jpg": (bytes(4096), "not_an_image"),
        "noise.jpg": (b"\x01\x02" + np.random.default_rng(1).bytes(4096), "not_an_image"),
        "text.txt": (b"These are the photographs of Tuesday.\n", "not_an_image"),
        "page.jpg": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not_an_image"),
        "error.jpg": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "not_an_image"),
        "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "not_an_image"),
        "record.json": (b'{"image": "a.jpg"}', "not_an_image"),
        "paper.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "not_an_image"),
        "archive.zip": (b"PK\x03\x04" + bytes(200), "not_an_image"),
        "packed.jpg": (b"\x1f\x8b\x08\x00" + bytes(200), "not_an_image"),
        "program": (b"\x7fELF" + bytes(200), "not_an_image"),
        "film.mp4": (b"\x00\x00\x00\x20ftypisom" + bytes(200), "not_an_image"),
        "sound.wav": (b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(200), "not_an_image"),
        "base64.jpg": (b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJ", "not_an_image"),
        # Images that nothing here reads.
        "layers.psd": (b"8BPS\x00\x01" + bytes(200), "unsupported"),
        "wavelets.jp2": (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(200), "unsupported"),
        "wavelets.j2k": (b"\xff\x4f\xff\x51" + bytes(200), "unsupported"),
        "long.jxl": (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(200), "unsupported"),
        "short.jxl": (b"\xff\x0a" + bytes(200), "unsupported"),
        "favicon.ico": (b"\x00\x00\x01\x00\x01\x00" + bytes(200), "unsupported"),
        "light.exr": (b"v/1\x01" + bytes(200), "unsupported"),
        "quite-ok.qoi": (b"qoif" + bytes(200), "unsupported"),
        "floats.tif": (encoded(Image.new("F", (9, 9), 0.5), "TIFF"), "unsupported"),
        # Cut off.
        "start-of-image.jpg": (jpeg[:3] + b"\xe0", "truncated"),
        "cut-header.jpg": (jpeg[: scan - 30], "truncated"),
        "cut-pixels.jpg": (jpeg[: scan + 300], "truncated"),
        "cut-end.jpg": (jpeg[:-200], "truncated"),
        "cut-progressive.jpg": (progressive[: len(progressive) // 2], "truncated"),
        "cut.png": (png[:middle], "truncated"),
        "cut.webp": (webp[: len(webp) // 2], "truncated"),
        "cut.tif": (tiff[: len(tiff) // 3], "truncated"),
        "cut.bmp": (bmp[: len(bmp) // 2], "truncated"),
        "promises-more.png": (png[:8] + b"garbage" * 20, "truncated"),
        "promises-more.bmp": (b"BM" + b"\xff" * 60, "truncated"),
        # Damaged.
        "signature-only.png": (png[:8], "decode_error"),
        "garbage.jpg": (b"\xff\xd8\xff" + b"garbage" * 20 + b"\xff\xd9", "decode_error"),
        "garbage.gif": (b"GIF89a", "decode_error"),
        "garbage.tif": (b"II*\x00\xff\xff\xff\x7f", "decode_error"),
        "garbage.webp": (b"RIFF\x40\x00\x00\x00WEBPVP8 " + b"\xff" * 60, "decode_error"),
        "garbage.avif": (avif[:32] + b"\xff" * (len(avif) - 32), "decode_error"),
        "wrong-checksum.png": (png[:middle] + bytes([png[middle] ^ 0xFF]) + png[middle + 1 :], "decode_error"),
        "no-width.png": (png_of(0, 10, b""), "decode_error"),
        "no-height.jpg": (with_size_in_header(jpeg, 160, 0), "decode_error"),
        # Bombs: a few bytes that promise, or become, too much.
        "bomb.png": (png_of(50_000, 50_000, bytes(1000)), "too_large"),
        "long-bomb.png": (png_of(1, 2_000_000_000, bytes(1000)), "too_large"),
        "bomb.jpg": (with_size_in_header(jpeg, 65_000, 65_000), "too_large"),
        "bomb.gif": (gif[:6] + struct.pack("<HH", 65_535, 65_535) + gif[10:], "too_large"),
        "bomb.bmp": (bmp[:18] + struct.pack("<ii", 60_000, 60_000) + bmp[26:], "too_large"),
        "wide.png": (encoded(Image.new("1", (2001, 2000)), "PNG"), "too_large"),
        "many-bytes.jpg": (jpeg + bytes(MAX_BYTES), "too_large"),
        # Odd, and good.
        "good.jpg": (jpeg, None),
        "good-progressive.jpg": (progressive, None),
        "good-without-name": (jpeg, None),
        "good-jpeg.png": (jpeg, None),
        "good-trailer.jpg": (jpeg + b"appended by a camera" * 9, None),
        "good-grey.jpg": (encoded(scene().convert("L"), "JPEG"), None),
        "good-cmyk.jpg": (encoded(scene().convert("CMYK"), "JPEG"), None),
        "good-alpha.png": (encoded(scene().convert("RGBA"), "PNG"), None),
        "good-palette.png": (encoded(scene().convert("P"), "PNG"), None),
        "good-16-bit.png": (encoded(Image.fromarray(np.full((20, 30), 40_000, np.uint16)), "PNG"), None),
        "good-bits.tif": (encoded(scene().convert("1"), "TIFF", compression="group4"), None),
        "good-lzw.tif": (lzw, None),
        "good.webp": (webp, None),
        "good.bmp": (bmp, None),
        "good.avif": (avif, None),
        "good-animation.gif": (encoded(scene(), "GIF", save_all=True, append_images=[scene(80, 60)]), None),
        "good-one-pixel.png": (encoded(scene().resize((1, 1)), "PNG"), None),
        "good Ünïcode ★ & <b>'\"#?%41+.jpg": (jpeg, None),
        "good\ttab.jpg": (jpeg, None),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, (data, _) in corpus().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
