"""Intensity matching: images of one scanner get the greys of images of another, without training.

    histogram   the grey histogram of an image of the other scanner
    fourier     the amplitudes of its lowest frequencies

Letters: B, M clips, T frames, H rows, W columns, N = B T images.
Sources: histogram specification as in Gonzalez and Woods; Yang and Soatto 2020, "FDA: Fourier
domain adaptation for semantic segmentation", equations 2 and 3.
Each image has a partner of its own, not a mean over all: a training set then shows the whole range
of the other scanner. Partners come from a CPU generator: the same on any device.
Every function raises `ArmError` where the images differ in size or there is none to match to.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lus_ray.errors import ArmError


@torch.no_grad()
def match_histogram(
    frames: Float[Tensor, "B T H W"], like: Float[Tensor, "M T H W"], generator: torch.Generator
) -> Float[Tensor, "B T H W"]:
    """Each image with the greys of an image of `like`: its k-th darkest pixel gets k-th darkest.

    Equal greys share the middle of their ranks, so they stay equal, an image matched to itself is
    unchanged, and black around the sector stays black where it is less than twice what the partner
    has of it (with their last rank, as is usual elsewhere, any excess would turn all of it grey).
    """
    partners = like.flatten(0, 1)[sample_partners(frames, like, generator)]
    wanted = partners.flatten(1).sort(dim=1).values
    greys, order = frames.flatten(0, 1).flatten(1).sort(dim=1)
    first = torch.searchsorted(greys, greys)
    last = torch.searchsorted(greys, greys, right=True) - 1
    twice = first + last
    matched = (wanted.gather(1, twice // 2) + wanted.gather(1, (twice + 1) // 2)) / 2
    return torch.empty_like(matched).scatter_(1, order, matched).view_as(frames)


@torch.no_grad()
def match_fourier(
    frames: Float[Tensor, "B T H W"],
    like: Float[Tensor, "M T H W"],
    generator: torch.Generator,
    *,
    share: float = 0.05,
) -> Float[Tensor, "B T H W"]:
    """Each image with the low-frequency amplitudes of an image of `like`, and its own phases.

    Low are the frequencies of up to floor(`share` min(H, W)) waves over the height and over the
    width; 0 exchanges the mean grey alone. The result is clipped to [0, 1]. What was black around
    the sector need not stay so.

    Raises:
        ArmError: `share` is not in [0, 0.5].
    """
    if not 0 <= share <= 0.5:
        raise ArmError(f"fourier: share is {share}; it needs 0 <= value <= 0.5")
    height, width = frames.shape[2:]
    num_waves = int(share * min(height, width))
    down = torch.fft.fftfreq(height, 1 / height, device=frames.device).abs() <= num_waves
    across = torch.fft.rfftfreq(width, 1 / width, device=frames.device) <= num_waves
    partners = like.flatten(0, 1)[sample_partners(frames, like, generator)]
    own = torch.fft.rfft2(frames.flatten(0, 1).float())
    exchanged = torch.polar(torch.fft.rfft2(partners.float()).abs(), own.angle())
    mixed = torch.where(down[:, None] & across, exchanged, own)
    matched = torch.fft.irfft2(mixed, s=(height, width))
    return matched.clamp_(0, 1).view_as(frames).to(frames.dtype)


def sample_partners(
    frames: Float[Tensor, "B T H W"], like: Float[Tensor, "M T H W"], generator: torch.Generator
) -> Int64[Tensor, "N"]:
    """For each image the number of its partner among all images of `like`, with replacement."""
    size, other = ("x".join(map(str, images.shape[2:])) for images in (frames, like))
    if size != other:
        raise ArmError(f"frames of {size} cannot be matched to frames of {other}; use one view")
    num_images, num_partners = frames.shape[0] * frames.shape[1], like.shape[0] * like.shape[1]
    if not num_partners:
        raise ArmError("there is no frame to match others to; give the arm unlabelled clips")
    return torch.randint(num_partners, (num_images,), generator=generator).to(frames.device)
