"""Where the backbone found its evidence, on the frames of the clip."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from lus_ray.clip import BIOMARKERS
from lus_ray.data.transforms.view import View
from lus_ray.inference import frame_sheets
from lus_ray.inference.attention import choose_targets, make_attention
from lus_ray.inference.schema import AttentionTarget
from lus_ray.nets import ArgmaxMean

VIEW = View(num_frames=4, height=32, width=32, num_samples=2, aspect=1.0)
HEIGHT, WIDTH, CELL = 40, 80, 8


class Corners(nn.Module):
    """Sign 1 is a bright upper left corner, sign 2 a bright lower right one, of an 80 x 40 frame
    that the view has padded to a square."""

    head_name = "fc"

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, len(BIOMARKERS), bias=False)
        self.fc.weight = nn.Parameter(torch.eye(len(BIOMARKERS))[:, 1:3].clone())

    def clip_maps(self, frames):
        cells = avg_pool2d(frames.flatten(0, 1), CELL).unflatten(0, frames.shape[:2])
        maps = torch.zeros(*frames.shape[:2], 2, *cells.shape[-2:])
        maps[:, :, 0, 1, 0], maps[:, :, 1, 2, 3] = cells[:, :, 1, 0], cells[:, :, 2, 3]
        return maps


class Task:
    """A task with a network that is written down."""

    view, net = VIEW, Corners()


@pytest.fixture(scope="module")
def maps():
    """Of signs 1 and 2, by target and frame; only the second half of the clip is bright."""
    frames = np.zeros((20, HEIGHT, WIDTH), np.uint8)
    frames[10:] = 200
    targets, mix = choose_targets([1, 2], None)
    sheet = make_attention(Task, "run/backbone", frames, targets, mix)
    assert (sheet.num_frames, sheet.every, sheet.height, sheet.width) == (20, 1, 28, 56)
    assert [target.name for target in sheet.targets] == list(BIOMARKERS[1:3])
    pixels = frame_sheets.decode_sheet(sheet.sprite, 2 * 20)
    return pixels.reshape(2, 20, sheet.height, sheet.width)


@pytest.mark.parametrize(
    ("target", "rows", "columns"),
    [(0, slice(0, 14), slice(0, 14)), (1, slice(14, 28), slice(42, 56))],
)
def test_the_map_of_a_class_that_depends_on_a_corner_peaks_there(maps, target, rows, columns):
    bright = maps[target, -1].astype(int)
    assert bright[rows, columns].max() == bright.max() == 255
    assert bright[rows, columns].sum() > 0.5 * bright.sum()
    assert bright[::-1, ::-1][rows, columns].max() == 0


def test_frames_without_evidence_stay_dark(maps):
    assert maps[:, :8].max() == 0
    assert maps[:, 12:].max(axis=(2, 3)).min() == 255


def test_the_severity_mixes_the_maps_of_the_signs():
    weights = np.zeros(len(BIOMARKERS))
    weights[1:3] = -0.5, 0.25
    targets, mix = choose_targets([2], weights.tolist())
    assert targets == [AttentionTarget(BIOMARKERS[2], "sign"), AttentionTarget("severity", "label")]
    frames = np.full((4, HEIGHT, WIDTH), 200, np.uint8)
    sheet = make_attention(Task, "run/backbone", frames, targets, mix)
    severity = frame_sheets.decode_sheet(sheet.sprite, 2 * 4)[4:]
    assert severity[:, :14, :14].max() < 20
    assert severity[:, 14:, 42:].max() == 255


def test_the_severity_has_a_map_where_all_evidence_is_against_it():
    targets, mix = choose_targets([], [-1.0] * len(BIOMARKERS))
    frames = np.full((4, HEIGHT, WIDTH), 200, np.uint8)
    sheet = make_attention(Task, "run/backbone", frames, targets, mix)
    assert frame_sheets.decode_sheet(sheet.sprite, 4).max() == 255


@pytest.mark.parametrize("num_frames", [1, 96, 2000])
def test_a_sheet_of_many_targets_can_be_drawn_by_a_browser(num_frames):
    targets, mix = choose_targets(list(range(20)), [1.0] * len(BIOMARKERS))
    assert len(targets) == 8
    frames = np.zeros((num_frames, HEIGHT, WIDTH), np.uint8)
    sheet = make_attention(Task, "run/backbone", frames, targets, mix)
    assert sheet.height * sheet.num_frames * 8 < 2**15
    assert sheet.num_frames * sheet.every >= num_frames


def test_what_is_absent_has_no_map():
    targets, mix = choose_targets([0, 10, 3], None)
    assert [BIOMARKERS[0], BIOMARKERS[10]] == ["A-lines: none", "B-line origin: not applicable"]
    assert targets == [AttentionTarget(BIOMARKERS[3], "sign")]
    assert mix.argmax() == 3


def test_networks_without_maps_and_clips_without_targets_have_no_sheet():
    frames = np.zeros((4, HEIGHT, WIDTH), np.uint8)
    targets, mix = choose_targets([], None)
    assert make_attention(Task, "run/backbone", frames, targets, mix) is None
    other = type("Task", (), {"view": VIEW, "net": ArgmaxMean()})
    assert make_attention(other, "run/backbone", frames, *choose_targets([1], None)) is None
