"""Frames in one picture, and where a frame lies in a padded view."""

import numpy as np
import pytest

from lus_ray.data.transforms.view import View
from lus_ray.inference import frame_sheets
from lus_ray.inference.frame_sheets import FrameWindow


@pytest.mark.parametrize(("num_frames", "n"), [(1, 1), (96, 1), (97, 2), (192, 2), (2000, 21)])
def test_every_nth_frame_is_shown_so_that_there_are_at_most_96(num_frames, n):
    assert frame_sheets.frame_step(num_frames) == n
    assert len(range(num_frames)[frame_sheets.frame_slice(num_frames)]) <= 96


def test_a_png_of_class_ids_is_lossless():
    masks = np.random.default_rng(0).integers(0, 5, (3, 7, 11), np.uint8)
    url = frame_sheets.encode_png(masks)
    assert url.startswith("data:image/png;base64,")
    assert (frame_sheets.decode_sheet(url, 3) == masks).all()


@pytest.mark.parametrize(
    ("shape", "size", "step"), [((200, 48, 640), (24, 320), 3), ((2, 30, 50), (30, 50), 1)]
)
def test_a_preview_keeps_the_aspect_of_the_frames_and_is_never_enlarged(shape, size, step):
    preview = frame_sheets.make_preview(np.full(shape, 200, np.uint8))
    assert (preview.height, preview.width) == size
    assert (preview.every, preview.num_frames) == (step, -(-shape[0] // step))
    assert preview.sprite.startswith("data:image/jpeg;base64,")
    sheet = frame_sheets.decode_sheet(preview.sprite, preview.num_frames)
    assert sheet == pytest.approx(200, abs=1)


@pytest.mark.parametrize(
    ("view", "side", "kept", "points"),
    [
        pytest.param(View(height=4, width=6), (40, 90), np.s_[:, :],
                     {(0.25, 0.5): (0.25, 0.5)}, id="no padding"),
        pytest.param(View(height=2, width=8, aspect=2.0), (10, 10), np.s_[:, 2:6],
                     {(0.25, 0): (0, 0), (0.75, 1): (1, 1), (0.5, 0.5): (0.5, 0.5)}, id="sides"),
        pytest.param(View(height=8, width=2, aspect=0.5), (10, 10), np.s_[2:6, :],
                     {(0.5, 0.25): (0.5, 0)}, id="top and bottom"),
    ],
)  # fmt: skip
def test_a_window_is_the_part_of_a_view_that_shows_the_frame(view, side, kept, points):
    window = FrameWindow(view, *side)
    picture = np.arange(view.height * view.width).reshape(view.height, view.width)
    assert (window.crop(picture) == picture[kept]).all()
    assert window.to_frame(np.array(list(points), float)).tolist() == list(
        map(list, points.values())
    )
