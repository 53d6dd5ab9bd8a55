import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lus_ray.data.transforms.intensity_matching import (
    match_fourier,
    match_histogram,
    sample_partners,
)
from lus_ray.errors import ArmError

# Few greys, so that many pixels are equal.
coarse = arrays(np.uint8, (4, 5), elements=st.integers(0, 4)).map(lambda ids: ids / np.float32(4))

BOTH = pytest.mark.parametrize("match", [match_histogram, match_fourier])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(*greys):
    """Clips (B, 1, H, W) of one frame from arrays (H, W)."""
    return torch.from_numpy(np.stack(greys)[:, None].astype(np.float32))


def random(num, height=12, width=15, seed=0):
    return torch.rand(num, 1, height, width, generator=seeded(seed))


def matched_by_hand(image, partner):
    """Of each grey the mean rank among the sorted pixels, and the partner's grey of that rank."""
    wanted, matched = np.sort(partner, axis=None), np.empty_like(image)
    for grey in np.unique(image):
        rank = (image < grey).sum() + ((image == grey).sum() - 1) / 2
        matched[image == grey] = np.interp(rank, np.arange(wanted.size), wanted)
    return matched


def exchanged_by_hand(image, partner, num_waves):
    """Fourier adaptation with the spectrum's middle as its lowest frequency."""
    own = np.fft.fftshift(np.fft.fft2(image.astype(np.float64)))
    other = np.fft.fftshift(np.fft.fft2(partner.astype(np.float64)))
    row, column = (side // 2 for side in image.shape)
    low = np.s_[row - num_waves : row + num_waves + 1, column - num_waves : column + num_waves + 1]
    amplitude = np.abs(own)
    amplitude[low] = np.abs(other[low])
    mixed = amplitude * np.exp(1j * np.angle(own))
    return np.clip(np.fft.ifft2(np.fft.ifftshift(mixed)).real, 0, 1)


@given(coarse, coarse)
def test_greys_are_those_of_the_same_rank_in_the_partner_and_equal_ones_stay_equal(image, partner):
    matched = match_histogram(images(image), images(partner), seeded())[0, 0].numpy()
    assert matched == pytest.approx(matched_by_hand(image, partner), abs=1e-6)
    by_grey = [matched[image == grey] for grey in np.unique(image)]
    assert all(len(np.unique(greys)) == 1 for greys in by_grey)
    assert (np.diff([greys[0] for greys in by_grey]) >= 0).all()


@given(coarse)
def test_an_image_matched_to_itself_is_unchanged(image):
    assert torch.equal(match_histogram(images(image), images(image), seeded()), images(image))
    same = match_fourier(images(image), images(image), seeded(), share=0.3)
    torch.testing.assert_close(same, images(image), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("num_black", "stays"), [(6, True), (7, True), (8, False)])
def test_black_stays_black_below_twice_what_the_partner_has(num_black, stays):
    image, partner = np.linspace(0.2, 1, 20), np.linspace(0.2, 1, 20)
    image[:num_black], partner[:4] = 0, 0
    pair = images(image.reshape(4, 5)), images(partner.reshape(4, 5))
    matched = match_histogram(*pair, seeded()).flatten()
    assert (matched[:num_black] == 0).all() == stays


@pytest.mark.parametrize(
    ("height", "width", "share", "num_waves"),
    [(16, 16, 0.12, 1), (16, 16, 0.34, 5), (12, 15, 0.12, 1), (15, 12, 0.34, 4), (9, 9, 0.23, 2)],
)
def test_low_frequencies_have_the_amplitudes_of_the_partner(height, width, share, num_waves):
    frames, like = random(1, height, width), random(1, height, width, seed=1) ** 3
    matched = match_fourier(frames, like, seeded(), share=share)[0, 0].numpy()
    by_hand = exchanged_by_hand(frames[0, 0].numpy(), like[0, 0].numpy(), num_waves)
    assert matched == pytest.approx(by_hand, abs=1e-5)


def test_without_a_share_the_mean_grey_alone_is_exchanged():
    frames, like = images(np.full((4, 6), 0.2), np.full((4, 6), 0.6)), images(np.full((4, 6), 0.5))
    frames[:, :, 1, 2] += 0.12
    matched = match_fourier(frames, like, seeded(), share=0)
    assert matched.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.5, 0.5])
    assert (matched - frames)[0].std().item() == pytest.approx(0, abs=1e-6)


def test_values_beyond_the_range_are_clipped():
    frames = images(np.tile([0.0, 1.0], (4, 3)))
    for grey in (0.0, 1.0):
        matched = match_fourier(frames, images(np.full((4, 6), grey)), seeded(), share=0)
        assert 0 <= matched.min() <= matched.max() <= 1


@BOTH
def test_every_image_has_its_own_partner_and_the_seed_decides_which(match):
    frames = random(8).expand(8, 3, -1, -1).contiguous()
    like = images(*(np.full((12, 15), grey) for grey in (0.1, 0.3, 0.5, 0.7)))
    like = like.expand(-1, 3, -1, -1)
    means = match(frames, like, seeded(1)).mean(dim=(2, 3))
    partners = (means * 5).floor()
    assert sorted(set(partners.flatten().tolist())) == [0, 1, 2, 3]
    assert (partners != partners[:, :1]).any()  # frames of a clip have partners of their own
    assert torch.equal(means, match(frames, like, seeded(1)).mean(dim=(2, 3)))
    assert not torch.equal(means, match(frames, like, seeded(2)).mean(dim=(2, 3)))


@BOTH
def test_an_image_is_matched_to_its_sampled_partner_and_no_input_is_written_to(match):
    frames, like = random(5), random(4, seed=3)
    matched = match(frames, like, seeded(7))
    for number, partner in enumerate(sample_partners(frames, like, seeded(7))):
        alone = match(frames[number, None], like[partner][None], seeded())
        torch.testing.assert_close(matched[number, None], alone, atol=1e-6, rtol=0)
    assert torch.equal(frames, random(5))
    assert torch.equal(like, random(4, seed=3))


@pytest.mark.usefixtures("unchecked")
@BOTH
def test_partners_of_another_size_none_at_all_and_an_impossible_share_are_refused(match):
    with pytest.raises(ArmError, match=r"^frames of 12x15 cannot be matched to frames of 16x20; "):
        match(random(2), random(2, 16, 20), seeded())
    with pytest.raises(ArmError, match="no frame to match others to"):
        match(random(2), random(0), seeded())
    for share in (-0.1, 0.6, float("nan")):
        with pytest.raises(ArmError, match="share is"):
            match_fourier(random(1), random(1), seeded(), share=share)
