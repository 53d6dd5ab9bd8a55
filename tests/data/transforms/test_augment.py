"""Augmentation: the matrix does what its parts do one by one, alike for all frames of a clip."""

from collections.abc import Callable
from dataclasses import replace
from math import cos, log, pi, sin

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from lus_ray.data.transforms.augment import ROY_2020, Augment
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


def test_the_defaults_give_the_numbers_they_gave_before_there_were_crops():
    """Numbers of the version that knew the ranges of Gare 2022, gamma and noise only."""
    frames = (torch.arange(12 * 16).reshape(12, 16) / 192).expand(2, 3, -1, -1)
    generator = seeded(7)
    changed = Augment()(frames, generator)
    middle = torch.tensor([0.4848612845, 0.4976522624, 0.5104433298, 0.5232343078])
    torch.testing.assert_close(changed[0, 0, 6, 4:8], middle, atol=1e-6, rtol=0)
    assert changed.sum().item() == pytest.approx(418.189362, abs=1e-3)
    assert torch.rand(1, generator=generator).item() == pytest.approx(0.44509017, abs=1e-7)
    noisy = Augment(gamma=(0.8, 1.25), noise_std=0.05)(frames, seeded(7))
    corner = torch.tensor([0.2640056014, 0.2012233436, 0.3039665818, 0.3154293597])
    torch.testing.assert_close(noisy[1, 2, 3, 8:12], corner, atol=1e-6, rtol=0)


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


def test_crops_fill_the_published_ranges_and_lie_in_the_picture():
    drawn = ROY_2020.draw(10_000, seeded())
    width, height = drawn["crop_width"], drawn["crop_height"]
    whole = (width < 1) & (height < 1)  # crops of which no side was cut to the picture
    for value, low, high in [
        (width * height, 0.9, 1.0),
        ((width / height).log(), log(9 / 10), log(10 / 9)),
    ]:
        margin = 0.05 * (high - low)  # near the ends, few crops fit into the picture
        assert low - 1e-6 <= value[whole].min() < low + margin
        assert high - margin < value[whole].max() <= high + 1e-6
    assert 0.4 < whole.float().mean() < 0.6
    for side, off in ((width, drawn["crop_right"]), (height, drawn["crop_down"])):
        assert side.max() == 1
        assert (off.abs() <= (1 - side) / 2 + 1e-6).all()
        assert (off / (1 - side))[side < 1].std().item() == pytest.approx(12**-0.5, abs=0.01)


def test_a_crop_is_cut_out_and_enlarged_to_the_whole_picture():
    """A crop of 32 x 32 out of 40 x 40 is moved to whole pixels, then cut by slices."""
    augment = replace(STILL, crop=(0.64, 0.64))
    drawn = augment.draw(1, seeded(2))
    assert drawn["crop_width"].item() == pytest.approx(0.8)
    left, top = (round(4 + 40 * drawn[name].item(), 6) for name in ("crop_right", "crop_down"))
    frames = blob(40, 40, 21, 17, 5)
    aligned = _read_from(frames[0], lambda x, y: (x + left - round(left), y + top - round(top)))
    rows, columns = slice(round(top), round(top) + 32), slice(round(left), round(left) + 32)
    expected = interpolate(aligned[None, :, rows, columns], (40, 40), mode="bilinear")
    assert (augment(frames, seeded(2)) - expected).abs().max() < 0.02


def test_an_aspect_above_one_keeps_the_width_where_it_is_longer_than_the_picture():
    drawn = replace(STILL, aspect=(1.21, 1.21)).draw(3, seeded())
    torch.testing.assert_close(drawn["crop_width"], torch.ones(3))
    torch.testing.assert_close(drawn["crop_height"], torch.full((3,), 1 / 1.1))
    narrow = replace(STILL, crop=(0.5, 0.5), aspect=(0.5, 0.5)).draw(3, seeded())
    torch.testing.assert_close(narrow["crop_width"], torch.full((3,), 0.5))
    torch.testing.assert_close(narrow["crop_height"], torch.ones(3))


def test_what_a_crop_cut_off_does_not_come_back_in_the_corners_of_a_rotation():
    augment = replace(STILL, crop=(0.25, 0.25), rotate_deg=45)
    angle = augment.draw(1, seeded(4))["angle"].item()
    assert abs(angle) > pi / 18
    turned = augment(torch.ones(1, 1, 40, 60), seeded(4))
    whole = replace(STILL, rotate_deg=45)
    assert whole.draw(1, seeded(4))["angle"].item() == angle
    black = (turned == 0).float().mean().item()
    assert black == pytest.approx((whole(torch.ones(1, 1, 40, 60), seeded(4)) < 0.5).float().mean())
    assert black > 0.02


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_rotation_and_change_of_grey_happen_with_their_probabilities(share: float):
    drawn = replace(ROY_2020, rotate_share=share, shade_share=share).draw(20_000, seeded())
    turned, shaded = drawn["angle"] != 0, drawn["contrast"] != 1
    assert turned.float().mean().item() == pytest.approx(share, abs=0.01)
    assert shaded.float().mean().item() == pytest.approx(share, abs=0.01)
    assert torch.equal(shaded, drawn["intensity"] != 1)
    assert (turned & shaded).float().mean().item() == pytest.approx(share**2, abs=0.01)


def test_draws_of_the_second_published_set_fill_its_ranges():
    drawn = ROY_2020.draw(10_000, seeded())
    for name, half in [("angle", 23 * pi / 180), ("intensity", 0.3), ("contrast", 0.3)]:
        values = drawn[name] if name == "angle" else drawn[name] - 1
        assert 0.99 * half < values.max() <= half + 1e-6, name
        assert -half - 1e-6 <= values.min() < -0.99 * half, name
    assert (drawn["scale"] == 1).all()
    assert (drawn["right"] == 0).all()
    assert (drawn["mirror"] < 0).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_contrast_is_a_factor_about_the_mean_grey_of_a_clip():
    frames = torch.tensor([0.2, 0.4]).reshape(1, 2, 1, 1)
    doubled = replace(STILL, contrast=(2, 2))(frames, seeded())
    torch.testing.assert_close(doubled.flatten(), torch.tensor([0.1, 0.5]))
    flat = replace(STILL, contrast=(0, 0))(frames, seeded())
    torch.testing.assert_close(flat.flatten(), torch.tensor([0.3, 0.3]))


def test_white_is_clipped_before_the_mean_grey_is_taken():
    frames = torch.tensor([0.2, 0.8]).reshape(1, 1, 1, 2)
    changed = replace(STILL, intensity=(2, 2), contrast=(0.5, 0.5))(frames, seeded())
    torch.testing.assert_close(changed.flatten(), torch.tensor([0.55, 0.85]))  # of 0.4, 1.0


def test_all_frames_of_a_clip_move_alike_and_clips_differ():
    frame = blob(40, 50, 15, 30)
    augmented = Augment()(frame.expand(2, 5, -1, -1), seeded())
    for later in range(1, 5):
        assert torch.equal(augmented[:, later], augmented[:, 0])
    assert not torch.allclose(augmented[0], augmented[1], atol=0.05)


def test_one_pass_equals_the_operations_one_by_one_up_to_interpolation():
    for augment in (Augment(), ROY_2020):
        frames = torch.cat([blob(90, 120, 40, 70, 8) for _ in range(6)])
        chained = one_by_one(frames, augment.draw(6, seeded(1)))
        assert (augment(frames, seeded(1)) - chained).abs().max() < 0.02


@pytest.mark.parametrize("augment", [ROY_2020, replace(ROY_2020, crop=(0.4, 0.9), aspect=(0.5, 2))])
def test_off_its_edges_a_bright_picture_equals_the_operations_one_by_one(augment: Augment):
    frames = 0.3 + 0.5 * torch.cat([blob(90, 120, 40, 70, 20) for _ in range(6)])
    chained = one_by_one(frames, augment.draw(6, seeded(3)))
    apart = (augment(frames, seeded(3)) - chained).abs() > 0.02
    # Along the edge of a rotated picture, one pass cuts where two passes fade.
    assert 0 < apart.float().mean() < 0.03
    assert not apart[:, :, 30:60, 40:80].any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(1, 24), width=st.integers(1, 24))
def test_values_stay_in_the_unit_range_and_sizes_stay(seed: int, height: int, width: int):
    frames = torch.rand(2, 3, height, width, generator=seeded(seed))
    kept = frames.clone()
    noisy = Augment(
        gamma=(0.5, 2), noise_std=0.3, intensity=(0.5, 3), rotate_deg=180,
        crop=(0.01, 1), aspect=(0.1, 10), contrast=(0, 3), rotate_share=0.5, shade_share=0.5,
    )  # fmt: skip
    augmented = noisy(frames, seeded(seed))
    assert augmented.shape == frames.shape
    assert torch.isfinite(augmented).all()
    assert 0 <= augmented.min() <= augmented.max() <= 1
    assert torch.equal(frames, kept)


@pytest.mark.parametrize("augment", [Augment(), ROY_2020])
def test_the_same_seed_gives_the_same_picture_and_the_next_draw_another(augment: Augment):
    frames = torch.rand(2, 3, 20, 30)
    generator = seeded(5)
    first, second = augment(frames, generator), augment(frames, generator)
    assert torch.equal(first, augment(frames, seeded(5)))
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


@pytest.mark.parametrize(
    "augment", [Augment(intensity=(1, 1)), replace(ROY_2020, crop=(0.3, 0.9), shade_share=0)]
)
def test_masks_move_with_their_frames_and_keep_their_class_ids(augment: Augment):
    masks = torch.zeros(4, 2, 60, 80, dtype=torch.uint8)
    masks[:, :, 20:35, 30:60] = 3
    frames = (masks > 0).float()
    moved, ids = augment.with_masks(frames, masks, seeded())
    assert ids.dtype == torch.uint8
    assert set(ids.unique().tolist()) == {0, 3}
    assert torch.equal(moved, augment(frames, seeded()))
    assert ((moved > 0.5) == (ids > 0)).float().mean() > 0.99


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": 1.5},
        {"scale": 1.0},
        {"intensity": (1.1, 0.8)},
        {"gamma": (0, 1)},
        {"translate": -1},
        {"crop": (0, 1)},
        {"crop": (0.9, 1.1)},
        {"crop": (1.0, 0.9)},
        {"aspect": (0, 1)},
        {"aspect": (2, 1)},
        {"aspect": (1, float("inf"))},
        {"contrast": (1.3, 0.7)},
        {"contrast": (-0.1, 1)},
        {"rotate_share": 1.1},
        {"shade_share": float("nan")},
    ],
)
def test_an_impossible_range_is_refused_by_name_in_one_line(wrong: dict):
    with pytest.raises(ArmError, match=next(iter(wrong))) as caught:
        Augment(**wrong)
    assert "\n" not in str(caught.value)


def one_by_one(frames: Tensor, drawn: dict[str, Tensor]) -> Tensor:
    """Crop, flip, scale, rotate, shift and shade, each clip by itself, each step resampled."""
    return torch.stack([_one_clip(clip, index, drawn) for index, clip in enumerate(frames)])


def _one_clip(clip: Tensor, index: int, drawn: dict[str, Tensor]) -> Tensor:
    mirror, scale, angle, right, down, shade, contrast = (
        drawn[name][index].item()
        for name in ("mirror", "scale", "angle", "right", "down", "intensity", "contrast")
    )
    kept_width, kept_height, off_right, off_down = (
        drawn[f"crop_{name}"][index].item() for name in ("width", "height", "right", "down")
    )
    height, width = clip.shape[1:]
    clip = _read_from(
        clip, lambda x, y: (x * kept_width + off_right * width, y * kept_height + off_down * height)
    )
    if mirror < 0:
        clip = clip.flip(-1)
    clip = _read_from(clip, lambda x, y: (x / scale, y / scale))
    clip = _read_from(
        clip, lambda x, y: (x * cos(angle) - y * sin(angle), x * sin(angle) + y * cos(angle))
    )
    clip = _read_from(clip, lambda x, y: (x - right * width, y - down * height))
    clip = (clip * shade).clamp(0, 1)
    return (contrast * clip + (1 - contrast) * clip.mean()).clamp(0, 1)


def _read_from(clip: Tensor, source: Callable[..., tuple[Tensor, Tensor]]) -> Tensor:
    """Resample a clip where `source` says, in pixels right of and below the centre."""
    height, width = clip.shape[1:]
    y = (torch.arange(height) - (height - 1) / 2)[:, None].expand(height, width)
    x = (torch.arange(width) - (width - 1) / 2)[None].expand(height, width)
    x, y = source(x, y)
    grid = torch.stack([2 * x / width, 2 * y / height], dim=-1)[None]
    return grid_sample(clip[None], grid, align_corners=False)[0]
