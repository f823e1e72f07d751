from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lga_model.targets import box_around, human_mask


def box(*corners):
    return np.array([corners], dtype=np.float64)


def about_the_middle(linear):
    """Homogeneous matrix of a linear map about the middle of the unit square."""
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = 0.5 - matrix[:2, :2] @ (0.5, 0.5)
    return matrix


def rotation(degrees):
    angle = np.deg2rad(degrees)
    return about_the_middle([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def test_cells_with_their_centre_in_the_box_are_marked():
    """
    Pixels become cells by the size of the image, which need not be square. Left and upper edge belong to the box.
    """
    mask = human_mask(box(50, 0, 200, 61), 200, 80, (2, 4))  # centres at x = 25, 75, 125, 175 and y = 20, 60

    assert np.float32 == mask.dtype
    assert [[0, 1, 1, 1], [0, 1, 1, 1]] == mask.tolist()
    assert [[1, 1, 0, 0], [0, 0, 0, 0]] == human_mask(box(25, 20, 125, 60), 200, 80, (2, 4)).tolist()


def test_several_people_are_marked_together_and_nobody_gives_zeros():
    """
    The mask is the union of the boxes.
    """
    people = np.array([[0, 0, 10, 10], [30, 30, 40, 40]])

    assert [[1, 0, 0, 0], [0] * 4, [0] * 4, [0, 0, 0, 1]] == human_mask(people, 40, 40, (4, 4)).tolist()
    assert not human_mask(np.empty((0, 4)), 40, 40, (4, 4)).any()


@given(x=st.floats(0, 98), y=st.floats(0, 98), side=st.floats(0.01, 2), matrix=st.sampled_from([None, rotation(0)]))
def test_nobody_is_too_small_to_be_marked(x, y, side, matrix):
    """
    A person smaller than a cell marks the one that holds the middle of the box.
    """
    mask = human_mask(box(x, y, x + side, y + side), 100, 100, (7, 7), matrix)

    assert 1 == mask.sum()
    assert 1 == mask[int((y + side / 2) * 0.07), int((x + side / 2) * 0.07)]


def test_what_is_out_of_the_image_is_nobody():
    """
    Boxes are cut at the edge of the image; of one beside it, nothing is left.
    """
    people = np.array([[-100, -100, 10, 10], [200, 0, 300, 40], [20, 20, 20, 30]])

    assert [(0, 0)] == list(zip(*human_mask(people, 40, 40, (4, 4)).nonzero(), strict=True))


def test_a_mirrored_image_has_the_mirrored_mask():
    """
    The matrix leads from the source to the output.
    """
    mirror = about_the_middle([[-1, 0], [0, 1]])
    people = box(3, 11, 47, 93)

    expected = human_mask(people, 100, 100, (14, 14))[:, ::-1]

    assert expected.tolist() == human_mask(people, 100, 100, (14, 14), mirror).tolist()


def test_a_quarter_turn_moves_the_mask_as_it_moves_the_pixels():
    """
    Turned by 90 degrees, x to the right becomes y down.
    """
    people = box(0, 0, 60, 20)

    expected = np.rot90(human_mask(people, 100, 100, (10, 10)), k=-1)

    assert expected.tolist() == human_mask(people, 100, 100, (10, 10), rotation(90)).tolist()


def test_a_turned_person_gets_a_turned_mask_not_the_box_around_it():
    """
    Every cell agrees with the plain geometry: turn its centre back, and test it against the box.
    """
    mask = human_mask(box(20, 40, 80, 60), 100, 100, (14, 14), rotation(30))
    back = np.deg2rad(-30)
    for row, column in np.ndindex(14, 14):
        x, y = (column + 0.5) / 14 - 0.5, (row + 0.5) / 14 - 0.5
        source_x, source_y = x * np.cos(back) - y * np.sin(back), x * np.sin(back) + y * np.cos(back)

        assert (abs(source_x) < 0.3 and abs(source_y) < 0.1) == mask[row, column]


def test_a_zoom_out_leaves_the_border_empty_and_a_zoom_in_can_lose_a_person():
    """
    Beyond the source image there is nobody, and who left the frame is not marked at its edge.
    """
    everything = box(0, 0, 100, 100)
    zoomed_out = human_mask(everything, 100, 100, (4, 4), about_the_middle(np.eye(2) * 0.5))
    zoomed_in = human_mask(box(0, 0, 5, 5), 100, 100, (4, 4), about_the_middle(np.eye(2) * 2))

    assert [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]] == zoomed_out.tolist()
    assert not zoomed_in.any()


def test_boxes_of_another_shape_are_refused():
    """
    Four numbers for each person.
    """
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        human_mask(np.array([[1.0, 2.0]]), 10, 10, (4, 4))


@pytest.mark.parametrize(
    ("joints", "expected"),
    [
        ([(20, 10), (60, 50), (40, 30)], (10, 0, 70, 60)),
        ([(0, 0), (8, 4)], (-2, -1, 10, 5)),  # out of the image: whoever reads the manifest clips it
        ([(5, 5)], None),
        ([(5, 5), (5, 9)], None),
        ([], None),
    ],
)
def test_a_box_is_the_joints_expanded_by_half(joints, expected):
    """
    A quarter of each side at either end; joints that span no area give none.
    """
    assert expected == box_around(joints)
