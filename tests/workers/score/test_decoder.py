"""Decoding in a process that can be ended."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest

from lga_model.images import DecodedImage, ImageLimits, decode_image
from workers.score import decoder as module
from workers.score.decoder import Decoder
from workers.score.objects import Failure

HANGS, CRASHES, GROWS = b"hangs", b"crashes", b"grows"

HOSTILE = f"""
    import os, sys, time
    from workers.score import decoder
    before = decoder.decode_image

    def decode_image(data, size_px, limits):
        if data == {HANGS!r}:
            while True:
                time.sleep(0.01)
        if data == {CRASHES!r}:
            os.abort()
        if data == {GROWS!r}:
            try:
                bytearray(1 << 45)
            except MemoryError as error:
                raise decoder.ImageError("too_large", "no memory") from error
        return before(data, size_px, limits)

    decoder.decode_image = decode_image
    decoder.main(sys.argv[1:])
"""


@pytest.fixture
def hostile(monkeypatch):
    """Decoders whose decoding hangs, crashes or grows at will: the child's program with one function replaced."""

    def start(command, **options):
        return popen([sys.executable, "-c", textwrap.dedent(HOSTILE), *command[3:]], **options)

    popen = subprocess.Popen
    monkeypatch.setattr(module.subprocess, "Popen", start)


@pytest.fixture
def decoder():
    made = Decoder(32, ImageLimits(max_bytes=100_000, max_pixels=1_000_000))
    yield made
    made.close()


def photograph(level: int) -> bytes:
    return cv2.imencode(".jpg", np.full((48, 64, 3), level, dtype=np.uint8))[1].tobytes()


def outcomes(decoder: Decoder, images, timeout_s: float = 20.0) -> list[int | str]:
    """The grey level of each image, or the reason why it has none."""
    found = []
    for decoded in decoder.decode_all((data, timeout_s) for data in images):
        outcome = decoded.outcome
        found.append(outcome.reason if isinstance(outcome, Failure) else int(outcome.pixels_HWC[0, 0, 0]))
    return found


def test_the_child_decodes_as_the_parent_would(decoder):
    """
    Same pixels, same size, and the same reasons for what is no image.
    """
    data = photograph(77)
    (decoded,) = decoder.decode_all([(data, 20.0)])
    here = decode_image(data, 32)

    assert isinstance(decoded.outcome, DecodedImage)
    np.testing.assert_array_equal(here.pixels_HWC, decoded.outcome.pixels_HWC)
    assert (64, 48) == (decoded.outcome.width_px, decoded.outcome.height_px)
    assert ["not_an_image", "truncated", 200] == outcomes(decoder, [b"text", data[:400], photograph(200)])


def test_images_keep_their_order(decoder):
    """
    Each outcome belongs to its image, however many there are.
    """
    levels = [number * 5 for number in range(50)]

    assert levels == outcomes(decoder, [photograph(level) for level in levels])


def test_what_is_too_large_never_reaches_the_child(decoder):
    """
    More bytes than the limit is a reason, and no error of the memory that is shared.
    """
    assert ["too_large", 10] == outcomes(decoder, [b"\xff\xd8\xff" + bytes(100_001), photograph(10)])


def test_a_decoder_that_hangs_is_ended(hostile, decoder):
    """
    The image gets its reason; the one behind it, which the child had been given already, is decoded by the next child.
    """
    images = [photograph(50), HANGS, photograph(100), HANGS, HANGS, photograph(150)]
    list(decoder.decode_all([(photograph(1), 20.0)]))  # The child is up.
    first = decoder._child.pid
    found = [50, "timeout", 100, "timeout", "timeout", 150]

    assert found == outcomes(decoder, images, timeout_s=2.0)
    assert decoder._child.pid != first
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_decoder_that_crashes_takes_nobody_with_it(hostile, decoder):
    """
    A child that aborts is told with its signal, and replaced.
    """
    decoded = [one.outcome for one in decoder.decode_all((data, 20.0) for data in (CRASHES, photograph(100)))]

    assert Failure(reason="decode_error", detail="the decoder crashed (SIGABRT)") == decoded[0]
    assert isinstance(decoded[1], DecodedImage)


def test_memory_has_an_end(hostile, decoder):
    """
    What asks for more memory than any photograph needs gets none.
    """
    assert ["too_large", 5] == outcomes(decoder, [GROWS, photograph(5)])


def test_a_decoder_that_is_killed_costs_no_image(decoder):
    """
    Killed from outside, as the system does when memory runs out: the images are decoded by the next child.
    """
    list(decoder.decode_all([(photograph(1), 20.0)]))
    decoder._child.kill()
    decoder._child.wait()

    assert [60, 70, 80] == outcomes(decoder, [photograph(level) for level in (60, 70, 80)])


def test_what_is_left_early_meets_no_other_image(decoder):
    """
    A pass that ends in the middle leaves no answer behind for the next one.
    """
    passing = decoder.decode_all((photograph(level), 20.0) for level in (10, 20, 30, 40))
    next(passing)
    passing.close()

    assert [200, 210] == outcomes(decoder, [photograph(200), photograph(210)])
