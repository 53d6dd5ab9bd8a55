from dataclasses import replace
from math import cos, pi, sin

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from lus_ray.data.transforms.augment_roy2020 import GEOMETRY, REST, SixSteps

PUBLISHED = SixSteps()
ALWAYS = SixSteps(share=1.0)
UNSHADED = replace(ALWAYS, contrast=(1, 1), intensity=(1, 1), blur=0, noise_std=0)
UNMOVED = {"flip": 0, "translate": 0, "rotate_deg": 0, "shear_deg": 0, "scale": (1, 1)}
STILL = replace(UNSHADED, **UNMOVED)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(num_clips: int = 6, num_frames: int = 2, height: int = 40, width: int = 52) -> Tensor:
    """Noise between 0.1 and 0.9, so that a wrong pixel shows."""
    return 0.1 + 0.8 * torch.rand(num_clips, num_frames, height, width, generator=seeded(99))


def regions(frames: Tensor) -> Tensor:
    """Class ids 1 to 4 that differ between neighbours, so that a wrong pixel shows."""
    return (1 + (frames * 1000).long() % 4).to(torch.uint8)


@pytest.mark.parametrize(
    ("steps", "is_mirrored"),
    [(STILL, False), (SixSteps(share=0.0), False), (replace(STILL, flip=1.0), True)],
)
def test_at_rest_every_bit_stays_and_a_mirror_only_moves_it(steps: SixSteps, is_mirrored: bool):
    frames = noise(width=51)
    for before, after in zip(
        (frames, regions(frames)), steps.with_masks(frames, regions(frames), seeded()), strict=True
    ):
        assert torch.equal(after, before.flip(-1) if is_mirrored else before)


def test_each_step_happens_independently_to_a_third_and_a_mirror_to_half_of_those():
    sampled = PUBLISHED.draw(20_000, seeded())
    happens = {name: (sampled[name] != REST[name]).float() for name in sampled}
    shares = {name: values.mean().item() for name, values in happens.items()}
    assert shares.pop("mirror") == pytest.approx(0.33 / 2, abs=0.01)
    assert list(shares.values()) == pytest.approx([0.33] * 9, abs=0.01)
    names = ("mirror", "scale", "contrast", "intensity", "sigma", "noise_std")
    steps = torch.stack([happens[name] for name in names])
    assert (torch.corrcoef(steps) - torch.eye(6)).abs().max() < 0.03
    none = (steps == 0).all(dim=0).float().mean().item()
    assert none == pytest.approx((1 - 0.165) * 0.67**5, abs=0.01)


def test_samples_fill_the_published_ranges_independently_of_each_other():
    sampled, turn = ALWAYS.draw(20_000, seeded()), pi / 180
    wide, shift = (0.55, 1.45), (-0.15, 0.15)
    ranges = {"scale": wide, "contrast": wide, "intensity": wide, "right": shift, "down": shift}
    ranges |= {"angle": (-15 * turn, 15 * turn), "shear": (-4.5 * turn, 4.5 * turn)}
    ranges |= {"sigma": (0.0, 0.75)}
    for name, (low, high) in ranges.items():
        margin = 0.01 * (high - low)
        assert low <= sampled[name].min() < low + margin, name
        assert high - margin < sampled[name].max() <= high, name
    assert (sampled["noise_std"] == 0.015).all()
    values = torch.stack([sampled[name] for name in ("mirror", *ranges)])
    assert (torch.corrcoef(values) - torch.eye(9)).abs().max() < 0.03


@pytest.mark.parametrize("seed", range(4))
def test_one_lookup_equals_mirror_scale_shear_turn_and_shift_one_after_another(seed: int):
    frames = noise()
    moved, ids = UNSHADED.with_masks(frames, regions(frames), seeded(seed))
    sampled = UNSHADED.draw(len(frames), seeded(seed))
    for clip in range(len(frames)):
        values = [sampled[name][clip].item() for name in GEOMETRY]
        lowest = frames[clip].min().item()
        expected = moved_alone(frames[clip].numpy(), values, lowest)
        expected_ids = moved_alone(regions(frames)[clip].numpy(), values, 0)
        # A point between two pixels may go either way.
        assert (moved[clip].numpy() != expected).mean() < 0.002
        assert (ids[clip].numpy() != expected_ids).mean() < 0.002


@pytest.mark.parametrize(
    "steps",
    [ALWAYS, PUBLISHED, replace(ALWAYS, contrast=(0, 4)), replace(ALWAYS, intensity=(0, 4))],
)
def test_contrast_and_intensity_in_one_line_equal_both_with_their_clippings(steps: SixSteps):
    steps = replace(steps, **UNMOVED, blur=0, noise_std=0)
    frames = noise(32, 1, 8, 8) * torch.linspace(0.3, 1, 32)[:, None, None, None]
    sampled = steps.draw(32, seeded(1))
    factors = zip(sampled["contrast"].tolist(), sampled["intensity"].tolist(), strict=True)
    expected = [shaded_alone(f.numpy(), *pair) for f, pair in zip(frames, factors, strict=True)]
    assert steps(frames, seeded(1)).numpy() == pytest.approx(np.stack(expected), abs=1e-6)


@pytest.mark.parametrize("size", [(9, 14), (1, 1), (2, 1)])
@pytest.mark.parametrize("largest", [0.1, 0.75, 2.5])
def test_a_blur_is_that_of_scipy(size: tuple[int, int], largest: float):
    frames, steps = noise(8, 3, *size), replace(STILL, blur=largest)
    sigmas = steps.draw(8, seeded(2))["sigma"].tolist()
    for blurred, clip, sigma in zip(steps(frames, seeded(2)), frames, sigmas, strict=True):
        expected = gaussian_filter(clip.double().numpy(), (0, sigma, sigma))
        assert blurred.numpy() == pytest.approx(expected, abs=1e-6)


def test_noise_has_the_published_size_and_differs_between_pixels_and_frames():
    grey = torch.full((40, 2, 50, 50), 0.5)
    noisy = replace(STILL, noise_std=0.015)(grey, seeded())
    assert (noisy - 0.5).std().item() == pytest.approx(0.015, rel=0.02)
    assert (noisy - 0.5).mean().item() == pytest.approx(0, abs=1e-4)
    assert (noisy[:, 0] != noisy[:, 1]).float().mean() > 0.99


@pytest.mark.parametrize("lookup", ["nearest", "bilinear"])
def test_all_six_steps_equal_the_steps_one_by_one(lookup: str):
    smooth = gaussian_filter(noise(12, 1, 60, 78).numpy(), (0, 0, 4, 4))
    frames = torch.from_numpy(smooth)
    steps = replace(ALWAYS, noise_std=0, lookup=lookup)
    fused, sampled = steps(frames, seeded(4)), steps.draw(12, seeded(4))
    for clip in range(12):
        of_clip = {name: values[clip].item() for name, values in sampled.items()}
        geometry, lowest = [of_clip[name] for name in GEOMETRY], frames[clip].min().item()
        moved = moved_alone(frames[clip].numpy(), geometry, lowest)
        shaded = shaded_alone(moved, of_clip["contrast"], of_clip["intensity"])
        alone = gaussian_filter(shaded, (0, of_clip["sigma"], of_clip["sigma"]))
        apart = np.abs(fused[clip].numpy() - alone)
        assert (apart > (1e-5 if lookup == "nearest" else 0.06)).mean() < 0.01


def test_nearest_makes_no_new_grey_and_bilinear_does():
    frames = (noise() > 0.5).float() * 0.5 + 0.25
    assert UNSHADED(frames, seeded()).unique().tolist() == [0.25, 0.75]
    bilinear = replace(UNSHADED, lookup="bilinear")
    assert len(bilinear(frames, seeded()).unique()) > 100
    ids = bilinear.with_masks(frames, regions(frames), seeded())[1]
    assert torch.equal(ids, UNSHADED.with_masks(frames, regions(frames), seeded())[1])


def moved_alone(clip: np.ndarray, values: list[float], fill: float) -> np.ndarray:
    """Mirror, scale, shear, turn and shift of a clip (T, H, W), each a matrix of its own."""
    mirror, scale, angle, shear, right, down = values
    num_rows, num_columns = clip.shape[1:]
    forward = (
        np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
        @ np.array([[1, sin(shear)], [0, cos(shear)]])
        @ np.diag([scale, scale])
        @ np.diag([mirror, 1])
    )
    rows, columns = np.mgrid[:num_rows, :num_columns]
    x = columns - (num_columns - 1) / 2 - right * num_columns
    y = rows - (num_rows - 1) / 2 - down * num_rows
    x, y = np.einsum("ij,jhw->ihw", np.linalg.inv(forward), np.stack([x, y]))
    column = np.rint(x + (num_columns - 1) / 2).astype(int)
    row = np.rint(y + (num_rows - 1) / 2).astype(int)
    inside = (row >= 0) & (row < num_rows) & (column >= 0) & (column < num_columns)
    read = clip[:, row.clip(0, num_rows - 1), column.clip(0, num_columns - 1)]
    return np.where(inside, read, np.array(fill, clip.dtype))


def shaded_alone(clip: np.ndarray, contrast: float, intensity: float) -> np.ndarray:
    """Contrast, clipped, and then intensity, clipped to what the contrast gave."""
    low, high = clip.min(), clip.max()
    clip = ((low + high) / 2 + contrast * (clip - (low + high) / 2)).clip(low, high)
    return (clip * intensity).clip(clip.min(), clip.max())
