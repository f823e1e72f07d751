from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lga_model.nobody import decode_window, empty_window

SIDES = st.tuples(st.integers(0, 199), st.integers(1, 100), st.integers(0, 99), st.integers(1, 60))


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([(0, 0, 100, 100)], (105, 0, 200, 100)),  # the right half, less the margin of 5 %
        ([(100, 0, 200, 100)], (0, 0, 95, 100)),
        ([(0, 0, 50, 100), (150, 0, 200, 100)], (52.5, 0, 147.5, 100)),  # between two people
        ([(0, 0, 200, 40)], (42, 42, 158, 100)),  # below, cut to twice as long as high
        ([(0, 0, 200, 100)], None),  # all person
        ([(30, 20, 170, 90)], None),  # nothing but a thin frame
        ([], None),  # nobody drew a box, which does not mean that nobody is there
    ],
)
def test_the_largest_empty_part_by_hand(boxes, expected):
    """
    Of a photograph of 200 x 100.
    """
    window = empty_window(boxes, 200, 100)

    assert expected == (None if window is None else pytest.approx(window))


@given(st.lists(SIDES, min_size=1, max_size=6))
def test_no_box_reaches_into_the_window(sides):
    """
    Whatever the boxes; the window lies in the photograph and is neither small nor thin.
    """
    boxes = [(x, y, min(x + w, 200), min(y + h, 100)) for x, w, y, h in sides]
    window = empty_window(boxes, 200, 100)
    if window is None:
        return
    x0, y0, x1, y1 = window

    assert all(x1 <= box[0] or box[2] <= x0 or y1 <= box[1] or box[3] <= y0 for box in boxes)
    assert 0 <= x0 < x1 <= 200
    assert 0 <= y0 < y1 <= 100
    assert max(x1 - x0, y1 - y0) <= 2 * min(x1 - x0, y1 - y0) + 1e-9
    assert min(x1 - x0, y1 - y0) >= 25


@pytest.mark.parametrize("width", [200, 1200, 40000, 2**31 - 1])
def test_the_part_of_a_long_photograph_is_not_too_small_to_decode(width):
    """
    A part is decoded at four times its side at most, whatever sides a manifest claims: cut to twice as long as high,
    one of a panorama would be a sliver of it, for which gigabytes would be decoded.
    """
    window = empty_window([(0, 30, width, 100)], width, 100)

    assert (width == 200) == (window is not None and window[2] - window[0] == pytest.approx(53, abs=1))


def test_a_window_is_decoded_as_a_photograph_of_its_own():
    """
    The red quarter alone, in the size asked for, as sharp as it is in the file.
    """
    random = np.random.default_rng(0)
    image = np.zeros((400, 600, 3), np.uint8)
    image[200:, 300:] = random.integers(0, 256, (200, 300, 3), np.uint8)
    data = cv2.imencode(".png", image)[1].tobytes()
    pixels = decode_window(data, 100, (300, 200, 600, 400), 600, 400)
    expected = cv2.resize(image[200:, 300:], (100, 100), interpolation=cv2.INTER_AREA)[..., ::-1]

    assert (100, 100, 3) == pixels.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 12
    assert pixels.std() > 0.9 * expected.std()
