"""Pictures of an answer: what is in them, and where a frame lies in a padded view."""

import numpy as np
import pytest

from lus_ray.data.transforms.view import View
from lus_ray.inference import frame_sheets


@pytest.mark.parametrize(("num_frames", "n"), [(1, 1), (96, 1), (97, 2), (192, 2), (2000, 21)])
def test_every_nth_frame_is_shown_so_that_there_are_at_most_96(num_frames, n):
    assert frame_sheets.every(num_frames) == n
    assert len(range(num_frames)[frame_sheets.spaced(num_frames)]) <= 96


def test_a_png_of_class_ids_comes_back_as_it_was():
    masks = np.random.default_rng(0).integers(0, 5, (3, 7, 11), np.uint8)
    address = frame_sheets.png(masks)
    assert address.startswith("data:image/png;base64,")
    assert (frame_sheets.read(address, 3) == masks).all()


def test_a_preview_keeps_the_shape_of_the_frames_with_the_longer_side_at_most_320():
    said = frame_sheets.preview(np.zeros((200, 480, 640), np.uint8))
    assert (said["height"], said["width"]) == (240, 320)
    assert (said["every"], said["num_frames"]) == (3, 67)
    assert said["sprite"].startswith("data:image/jpeg;base64,")


def test_small_frames_are_not_made_larger():
    said = frame_sheets.preview(np.full((2, 30, 50), 200, np.uint8))
    assert (said["height"], said["width"]) == (30, 50)
    assert frame_sheets.read(said["sprite"], 2) == pytest.approx(200, abs=1)


def test_without_padding_a_window_is_the_whole_picture():
    window = frame_sheets.Window(View(height=4, width=6), 40, 90)
    picture = np.arange(24).reshape(4, 6)
    assert (window.cut(picture) == picture).all()
    assert window.shares(np.array([[0.25, 0.5]])).tolist() == [[0.25, 0.5]]


def test_a_frame_in_the_middle_of_a_view_of_twice_its_width_is_cut_out_of_it():
    window = frame_sheets.Window(View(height=2, width=8, aspect=2.0), 10, 10)
    assert window.cut(np.arange(16).reshape(2, 8)).tolist() == [[2, 3, 4, 5], [10, 11, 12, 13]]
    corners = np.array([[0.25, 0.0], [0.75, 1.0], [0.5, 0.5]])
    assert window.shares(corners).tolist() == [[0, 0], [1, 1], [0.5, 0.5]]


def test_a_frame_that_is_padded_above_and_below_is_cut_out_too():
    window = frame_sheets.Window(View(height=8, width=2, aspect=0.5), 10, 10)
    assert window.cut(np.arange(16).reshape(8, 2)).ravel().tolist() == list(range(4, 12))
    assert window.shares(np.array([0.5, 0.25])).tolist() == [0.5, 0]
