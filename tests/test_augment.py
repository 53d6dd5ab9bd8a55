"""Augmentation: the matrix does what its parts do one by one, alike for all frames of a clip."""

from collections.abc import Callable
from math import cos, pi, sin

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import grid_sample

from lus_ray.augment import Augment
from lus_ray.errors import ArmError

STILL = Augment(flip=0, intensity=(1, 1), scale=0, rotate_deg=0, translate=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(height: int, width: int, row: float, column: float, spread: float = 3.0) -> Tensor:
    """One clip of one frame (1, 1, H, W) with a smooth bright spot."""
    rows = torch.arange(height)[:, None] - row
    columns = torch.arange(width)[None] - column
    return torch.exp(-(rows**2 + columns**2) / (2 * spread**2))[None, None]


def centre(frame: Tensor) -> tuple[float, float]:
    """Centre of mass (row, column) of a frame (H, W)."""
    mass = frame / frame.sum()
    rows = (mass.sum(1) * torch.arange(frame.shape[0])).sum()
    columns = (mass.sum(0) * torch.arange(frame.shape[1])).sum()
    return rows.item(), columns.item()


def test_without_ranges_nothing_changes():
    frames = torch.rand(2, 3, 20, 30)
    torch.testing.assert_close(STILL(frames, seeded()), frames, atol=1e-5, rtol=0)


def test_a_sure_flip_exchanges_left_and_right_and_nothing_else():
    frames = torch.rand(2, 3, 20, 31)
    flipped = Augment(1.0, (1, 1), 0, 0, 0)(frames, seeded())
    torch.testing.assert_close(flipped, frames.flip(-1), atol=1e-5, rtol=0)


def test_half_of_the_clips_are_flipped():
    mirror = Augment().draw(10_000, seeded())["mirror"]
    assert set(mirror.tolist()) == {-1.0, 1.0}
    assert (mirror < 0).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_draws_fill_the_ranges_of_the_paper_and_do_not_leave_them():
    drawn = Augment().draw(10_000, seeded())
    for name, low, high in [
        ("scale", 0.8, 1.2),
        ("angle", -15 * pi / 180, 15 * pi / 180),
        ("right", -0.05, 0.05),
        ("down", -0.05, 0.05),
        ("intensity", 0.8, 1.1),
    ]:
        margin = 0.01 * (high - low)
        assert low <= drawn[name].min() < low + margin, name
        assert high - margin < drawn[name].max() <= high, name
    assert (drawn["gamma"] == 1).all()


@pytest.mark.parametrize(("height", "width"), [(60, 60), (40, 100), (100, 40)])
def test_rotation_is_rigid_on_pictures_that_are_not_square(height: int, width: int):
    augment = Augment(0, (1, 1), 0, 90, 0)
    seed = 3
    angle = augment.draw(1, seeded(seed))["angle"].item()
    right, up = 9.0, 4.0
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    turned = augment(blob(height, width, middle_row - up, middle_column + right), seeded(seed))
    row, column = centre(turned[0, 0])
    assert column - middle_column == pytest.approx(right * cos(angle) - up * sin(angle), abs=0.05)
    assert middle_row - row == pytest.approx(right * sin(angle) + up * cos(angle), abs=0.05)


def test_a_shift_is_a_fraction_of_its_own_side():
    augment = Augment(0, (1, 1), 0, 0, 0.1)
    drawn = augment.draw(1, seeded())
    row, column = centre(augment(blob(80, 160, 40, 80), seeded())[0, 0])
    assert row - 40 == pytest.approx(80 * drawn["down"].item(), abs=0.02)
    assert column - 80 == pytest.approx(160 * drawn["right"].item(), abs=0.02)


def test_a_scale_above_one_enlarges_by_its_square_in_area():
    augment = Augment(0, (1, 1), 0.2, 0, 0)
    factor = augment.draw(1, seeded())["scale"].item()
    spot = blob(80, 80, 39.5, 39.5)
    assert abs(factor - 1) > 0.05
    grown = augment(spot, seeded()).sum().item() / spot.sum().item()
    assert grown == pytest.approx(factor**2, rel=0.01)


def test_all_frames_of_a_clip_move_alike_and_clips_differ():
    frame = blob(40, 50, 15, 30)
    augmented = Augment()(frame.expand(2, 5, -1, -1), seeded())
    for later in range(1, 5):
        assert torch.equal(augmented[:, later], augmented[:, 0])
    assert not torch.allclose(augmented[0], augmented[1], atol=0.05)


def test_one_pass_equals_the_operations_one_by_one_up_to_interpolation():
    augment = Augment()
    frames = torch.cat([blob(90, 120, 40, 70, 8) for _ in range(6)])
    drawn = augment.draw(6, seeded(1))
    chained = one_by_one(frames, drawn)
    assert (augment(frames, seeded(1)) - chained).abs().max() < 0.02


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(1, 24), width=st.integers(1, 24))
def test_values_stay_in_the_unit_range_and_sizes_stay(seed: int, height: int, width: int):
    frames = torch.rand(2, 3, height, width, generator=seeded(seed))
    kept = frames.clone()
    noisy = Augment(gamma=(0.5, 2), noise_std=0.3, intensity=(0.5, 3), rotate_deg=180)
    augmented = noisy(frames, seeded(seed))
    assert augmented.shape == frames.shape
    assert torch.isfinite(augmented).all()
    assert 0 <= augmented.min() <= augmented.max() <= 1
    assert torch.equal(frames, kept)


def test_the_same_seed_gives_the_same_picture_and_the_next_draw_another():
    frames = torch.rand(2, 3, 20, 30)
    generator = seeded(5)
    first, second = Augment()(frames, generator), Augment()(frames, generator)
    assert torch.equal(first, Augment()(frames, seeded(5)))
    assert not torch.equal(first, second)


def test_what_comes_from_outside_of_the_picture_is_black():
    augmented = Augment(0, (1, 1), 0, 0, 1.0)(torch.ones(8, 1, 20, 20), seeded())
    assert (augmented == 0).any(dim=(2, 3)).any()


def test_intensity_is_a_factor_and_white_stays_white():
    grey = torch.full((100, 1, 1, 1), 0.5)
    shaded = Augment(0, (0.8, 1.1), 0, 0, 0)(grey, seeded())
    factors = Augment(0, (0.8, 1.1), 0, 0, 0).draw(100, seeded())["intensity"]
    torch.testing.assert_close(shaded.flatten(), 0.5 * factors)
    assert Augment(0, (1.1, 1.1), 0, 0, 0)(grey * 2, seeded()).max() == 1


def test_masks_move_with_their_frames_and_keep_their_class_ids():
    masks = torch.zeros(4, 2, 60, 80, dtype=torch.uint8)
    masks[:, :, 20:35, 30:60] = 3
    frames = (masks > 0).float()
    moved, ids = Augment(intensity=(1, 1)).with_masks(frames, masks, seeded())
    assert ids.dtype == torch.uint8
    assert set(ids.unique().tolist()) == {0, 3}
    assert torch.equal(moved, Augment(intensity=(1, 1))(frames, seeded()))
    assert ((moved > 0.5) == (ids > 0)).float().mean() > 0.99


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": 1.5},
        {"scale": 1.0},
        {"intensity": (1.1, 0.8)},
        {"gamma": (0, 1)},
        {"translate": -1},
    ],
)
def test_an_impossible_range_is_refused_by_name(wrong: dict):
    with pytest.raises(ArmError, match=next(iter(wrong))):
        Augment(**wrong)


def one_by_one(frames: Tensor, drawn: dict[str, Tensor]) -> Tensor:
    """Flip, then scale, rotate, shift and shade, each clip by itself, each step resampled."""
    return torch.stack([_one_clip(clip, index, drawn) for index, clip in enumerate(frames)])


def _one_clip(clip: Tensor, index: int, drawn: dict[str, Tensor]) -> Tensor:
    mirror, scale, angle, right, down, shade = (
        drawn[name][index].item()
        for name in ("mirror", "scale", "angle", "right", "down", "intensity")
    )
    height, width = clip.shape[1:]
    if mirror < 0:
        clip = clip.flip(-1)
    clip = _read_from(clip, lambda x, y: (x / scale, y / scale))
    clip = _read_from(
        clip, lambda x, y: (x * cos(angle) - y * sin(angle), x * sin(angle) + y * cos(angle))
    )
    clip = _read_from(clip, lambda x, y: (x - right * width, y - down * height))
    return (clip * shade).clamp(0, 1)


def _read_from(clip: Tensor, source: Callable[..., tuple[Tensor, Tensor]]) -> Tensor:
    """Resample a clip where `source` says, in pixels right of and below the centre."""
    height, width = clip.shape[1:]
    y = (torch.arange(height) - (height - 1) / 2)[:, None].expand(height, width)
    x = (torch.arange(width) - (width - 1) / 2)[None].expand(height, width)
    x, y = source(x, y)
    grid = torch.stack([2 * x / width, 2 * y / height], dim=-1)[None]
    return grid_sample(clip[None], grid, align_corners=False)[0]
