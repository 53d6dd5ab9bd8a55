from collections.abc import Callable
from dataclasses import fields, replace
from math import cos, log, pi, sin

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import grid_sample

from lus_ray.data.transforms.augment import ROY_2020, Augment
from lus_ray.data.transforms.augment_roy2020 import SixSteps
from lus_ray.errors import ArmError

STILL = Augment(flip=0, intensity=(1, 1), scale=0, rotate_deg=0, translate=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(height: int, width: int, row: float, column: float, spread: float = 3.0) -> Tensor:
    """One clip of one frame (1, 1, H, W) with a smooth bright spot."""
    rows = torch.arange(height)[:, None] - row
    columns = torch.arange(width)[None] - column
    return torch.exp(-(rows**2 + columns**2) / (2 * spread**2))[None, None]


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_without_ranges_nothing_changes_but_left_and_right(flip: float):
    frames = torch.rand(2, 3, 20, 31)
    expected = frames.flip(-1) if flip else frames
    changed = replace(STILL, flip=flip)(frames, seeded())
    torch.testing.assert_close(changed, expected, atol=1e-5, rtol=0)


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


def assert_fills(values: Tensor, low: float, high: float, *, share: float = 0.01):
    margin = share * (high - low)
    assert low - 1e-6 <= values.min() < low + margin
    assert high - margin < values.max() <= high + 1e-6


TURN, WIDE, SHIFT = pi / 180, (0.7, 1.3), (-0.05, 0.05)
GARE_2022 = {"scale": (0.8, 1.2), "intensity": (0.8, 1.1), "right": SHIFT, "down": SHIFT}
GARE_2022 |= {"angle": (-15 * TURN, 15 * TURN)}
ROY_RANGES = {"angle": (-23 * TURN, 23 * TURN), "intensity": WIDE, "contrast": WIDE}


@pytest.mark.parametrize(
    ("augment", "ranges", "fixed"),
    [
        (Augment(), GARE_2022, {"gamma": 1, "contrast": 1}),
        (ROY_2020, ROY_RANGES, {"scale": 1, "right": 0, "down": 0}),
    ],
)
def test_samples_fill_the_published_ranges_and_half_of_the_clips_are_flipped(
    augment, ranges, fixed
):
    sampled = augment.draw(10_000, seeded())
    for name, (low, high) in ranges.items():
        assert_fills(sampled[name], low, high)
    assert all((sampled[name] == value).all() for name, value in fixed.items())
    assert set(sampled["mirror"].tolist()) == {-1.0, 1.0}
    assert (sampled["mirror"] < 0).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_crops_fill_the_published_ranges_and_lie_in_the_image():
    sampled = ROY_2020.draw(10_000, seeded())
    width, height = sampled["crop_width"], sampled["crop_height"]
    whole = (width < 1) & (height < 1)  # crops of which no side was cut to the image
    # Near the ends, few crops fit into the image.
    assert_fills((width * height)[whole], 0.9, 1.0, share=0.05)
    assert_fills((width / height).log()[whole], log(9 / 10), log(10 / 9), share=0.05)
    assert 0.4 < whole.float().mean() < 0.6
    for side, off in ((width, sampled["crop_right"]), (height, sampled["crop_down"])):
        assert side.max() == 1
        assert (off.abs() <= (1 - side) / 2 + 1e-6).all()
        assert (off / (1 - side))[side < 1].std().item() == pytest.approx(12**-0.5, abs=0.01)


@pytest.mark.parametrize(
    ("area", "aspect", "width", "height"), [(1.0, 1.21, 1.0, 1 / 1.1), (0.5, 0.5, 0.5, 1.0)]
)
def test_a_crop_that_is_longer_than_the_image_is_cut_to_it(area, aspect, width, height):
    sampled = replace(STILL, crop=(area, area), aspect=(aspect, aspect)).draw(3, seeded())
    assert sampled["crop_width"].tolist() == pytest.approx([width] * 3)
    assert sampled["crop_height"].tolist() == pytest.approx([height] * 3)


def test_what_a_crop_cut_off_does_not_come_back_in_the_corners_of_a_rotation():
    whole = replace(STILL, rotate_deg=45)
    part, white = replace(whole, crop=(0.25, 0.25)), torch.ones(1, 1, 40, 60)
    angle, same = (augment.draw(1, seeded(4))["angle"].item() for augment in (part, whole))
    assert abs(angle) > pi / 18
    assert angle == same
    black = (part(white, seeded(4)) == 0).float().mean().item()
    assert black == pytest.approx((whole(white, seeded(4)) < 0.5).float().mean())
    assert black > 0.02


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_rotation_and_change_of_grey_happen_with_their_probabilities(share: float):
    sampled = replace(ROY_2020, rotate_share=share, shade_share=share).draw(20_000, seeded())
    turned, shaded = sampled["angle"] != 0, sampled["contrast"] != 1
    assert torch.equal(shaded, sampled["intensity"] != 1)
    for happens, expected in ((turned, share), (shaded, share), (turned & shaded, share**2)):
        assert happens.float().mean().item() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("greys", "changes", "expected"),
    [
        ([0.2, 0.4], {"contrast": (2, 2)}, [0.1, 0.5]),  # about the mean grey of the clip
        ([0.2, 0.4], {"contrast": (0, 0)}, [0.3, 0.3]),
        # white is clipped before the mean is taken: of 0.4 and 1.0
        ([0.2, 0.8], {"intensity": (2, 2), "contrast": (0.5, 0.5)}, [0.55, 0.85]),
        ([0.5, 1.0], {"intensity": (1.1, 1.1)}, [0.55, 1.0]),
    ],
)
def test_contrast_and_intensity_by_hand(greys, changes, expected):
    changed = replace(STILL, **changes)(torch.tensor(greys).reshape(1, 2, 1, 1), seeded())
    torch.testing.assert_close(changed.flatten(), torch.tensor(expected))


@pytest.mark.parametrize("augment", [Augment(), SixSteps(share=1.0, noise_std=0)])
def test_all_frames_of_a_clip_change_alike_and_clips_differ(augment):
    augmented = augment(blob(40, 50, 15, 30).expand(2, 5, -1, -1), seeded())
    assert (augmented - augmented[:, :1]).abs().max() < 1e-6
    assert not torch.allclose(augmented[0], augmented[1], atol=0.05)


@pytest.mark.parametrize("augment", [Augment(), ROY_2020])
def test_one_pass_equals_the_operations_step_by_step_up_to_interpolation(augment: Augment):
    frames = torch.cat([blob(90, 120, 40, 70, 8) for _ in range(6)])
    chained = change_step_by_step(frames, augment.draw(6, seeded(1)))
    assert (augment(frames, seeded(1)) - chained).abs().max() < 0.02


@pytest.mark.parametrize("augment", [ROY_2020, replace(ROY_2020, crop=(0.4, 0.9), aspect=(0.5, 2))])
def test_off_its_edges_a_bright_image_equals_the_operations_step_by_step(augment: Augment):
    frames = 0.3 + 0.5 * torch.cat([blob(90, 120, 40, 70, 20) for _ in range(6)])
    chained = change_step_by_step(frames, augment.draw(6, seeded(3)))
    apart = (augment(frames, seeded(3)) - chained).abs() > 0.02
    # Along the edge of a rotated image, one pass cuts where two passes fade.
    assert 0 < apart.float().mean() < 0.03
    assert not apart[:, :, 30:60, 40:80].any()


EXTREMES = (
    Augment(1, (0.5, 3), 0.2, 180, 0.5, (0.5, 2), 0.3, (0.01, 1), (0.1, 10), (0, 3), 0.5, 0.5),
    SixSteps(0.7, 0.5, 1.0, 180, 80, (0.1, 9), (0, 9), (0, 9), 4, 0.5),
)


@settings(max_examples=40)
@given(
    augment=st.sampled_from(EXTREMES),
    seed=st.integers(0, 2**31),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
)
def test_values_stay_in_the_unit_range_and_sizes_stay(augment, seed: int, height: int, width: int):
    frames = torch.rand(2, 3, height, width, generator=seeded(seed))
    kept, masks = frames.clone(), (1 + frames * 4).byte()
    augmented, ids = augment.with_masks(frames, masks, seeded(seed))
    assert augmented.shape == ids.shape == frames.shape
    assert torch.isfinite(augmented).all()
    assert 0 <= augmented.min() <= augmented.max() <= 1
    assert set(ids.unique().tolist()) <= {0, *masks.unique().tolist()}
    assert torch.equal(frames, kept)
    assert torch.equal(masks, (1 + kept * 4).byte())


@pytest.mark.parametrize("augment", [Augment(), ROY_2020, SixSteps()])
def test_the_same_seed_gives_the_same_image_and_the_next_draw_another(augment):
    frames = torch.rand(6, 3, 20, 30)
    generator = seeded(5)
    first, second = augment(frames, generator), augment(frames, generator)
    assert torch.equal(first, augment(frames, seeded(5)))
    assert not torch.equal(first, second)


UNSHADED = {"contrast": (1, 1), "intensity": (1, 1)}


@pytest.mark.parametrize(
    "augment",
    [
        Augment(intensity=(1, 1)),
        replace(ROY_2020, crop=(0.3, 0.9), shade_share=0),
        SixSteps(share=1, blur=0, noise_std=0, **UNSHADED),
    ],
)
def test_masks_move_with_their_frames_and_keep_their_class_ids(augment):
    masks = torch.zeros(4, 2, 60, 80, dtype=torch.uint8)
    masks[:, :, 20:35, 30:60] = 3
    frames = (masks > 0).float()
    moved, ids = augment.with_masks(frames, masks, seeded())
    assert ids.dtype == torch.uint8
    assert set(ids.unique().tolist()) == {0, 3}
    assert torch.equal(moved, augment(frames, seeded()))
    assert ((moved > 0.5) == (ids > 0)).float().mean() > 0.99


NAN, INF = float("nan"), float("inf")
WRONG_RANGES, WRONG_NUMBERS = [(-1, 1), (2, 1), (1, INF), (NAN, 1)], [-1, NAN, INF]
WRONG = [
    (kind, field.name, value)
    for kind in (Augment, SixSteps)
    for field in fields(kind)
    for value in (WRONG_RANGES if isinstance(field.default, tuple) else WRONG_NUMBERS)
]
BOUNDS = {"flip": 1.1, "scale": 1.0, "gamma": (0, 1), "crop": (0.9, 1.1), "shade_share": 1.1}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *WRONG,
        *((Augment, *pair) for pair in BOUNDS.items()),
        (SixSteps, "scale", (0, 1)),
        (SixSteps, "shear_deg", 90),
        (SixSteps, "lookup", "cubic"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_an_impossible_range_is_refused_by_name_in_one_line(kind, name: str, value: object):
    with pytest.raises(ArmError, match=rf"^[^\n]*{name}[^\n]*$"):
        kind(**{name: value})


def change_step_by_step(frames: Tensor, sampled: dict[str, Tensor]) -> Tensor:
    """Crop, flip, scale, rotate, shift and shade, each clip by itself, each step resampled."""
    by_clip = zip(*(values.tolist() for values in sampled.values()), strict=True)
    numbers = [dict(zip(sampled, values, strict=True)) for values in by_clip]
    return torch.stack([_change(clip, v) for clip, v in zip(frames, numbers, strict=True)])


def _change(clip: Tensor, v: dict[str, float]) -> Tensor:
    (height, width), cos_, sin_ = clip.shape[1:], cos(v["angle"]), sin(v["angle"])
    right, down = v["crop_right"] * width, v["crop_down"] * height
    steps = [
        lambda x, y: (x * v["crop_width"] + right, y * v["crop_height"] + down),
        lambda x, y: (x * v["mirror"], y),
        lambda x, y: (x / v["scale"], y / v["scale"]),
        lambda x, y: (x * cos_ - y * sin_, x * sin_ + y * cos_),
        lambda x, y: (x - v["right"] * width, y - v["down"] * height),
    ]
    for step in steps:
        clip = _read_from(clip, step)
    clip = (clip * v["intensity"]).clamp(0, 1)
    return (v["contrast"] * clip + (1 - v["contrast"]) * clip.mean()).clamp(0, 1)


def _read_from(clip: Tensor, source: Callable[..., tuple[Tensor, Tensor]]) -> Tensor:
    """Resample a clip where `source` says, in pixels right of and below the centre."""
    height, width = clip.shape[1:]
    y = (torch.arange(height) - (height - 1) / 2)[:, None].expand(height, width)
    x = (torch.arange(width) - (width - 1) / 2)[None].expand(height, width)
    x, y = source(x, y)
    grid = torch.stack([2 * x / width, 2 * y / height], dim=-1)[None]
    return grid_sample(clip[None], grid, align_corners=False)[0]
