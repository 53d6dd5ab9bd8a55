"""Monte Carlo dropout that repeats only what dropout changes, against whole passes.

Letters: N images, H rows, W columns, K classes.
As in Roy et al. 2020, section IV-C: 40 samples of each of the three networks that segment markers,
in the published widths with initial weights, on one phantom image of 100 x 140 pixels.
The rival runs the whole network once per sample, without gradients, then takes mean and standard
deviation over the stacked probabilities. A sample has the same seed and dropout on both sides.
What is beyond the first dropout has to be repeated, so that counted arithmetic bounds the ratio.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lus_ray.bench.inputs import phantom_frames
from lus_ray.bench.measure import Comparison, Run, check_close, torch_threads
from lus_ray.data.transforms.view import View
from lus_ray.errors import LusError
from lus_ray.nets import MarkerUNet, ReleasedDeepLab, ReleasedUNetPlusPlus
from lus_ray.nets.mc_dropout import DROPOUTS, mc_dropout, sample_seeds
from lus_ray.nets.segmenter import Segmenter
from lus_ray.tasks import Ensemble, Segmentation

Nets = Mapping[str, Callable[..., nn.Module]]
NETS: Nets = {"U-Net": MarkerUNet, "U-Net++": ReleasedUNetPlusPlus, "DeepLab": ReleasedDeepLab}
VIEW = View(num_frames=1, height=100, width=140, num_samples=0, aspect=1.3)
NUM_CHECKED = 4
TOLERANCE = 1e-5
TARGET = 2.0

Moments = tuple[Float[Tensor, "N K H W"], ...]
"""Mean and standard deviation of probabilities, or the deviation alone."""


def compare(
    *, nets: Nets = NETS, view: View = VIEW, num_samples: int = 40
) -> Iterator[tuple[str, Comparison]]:
    """The ensemble, and each of its members, on one thread."""
    greys, _ = phantom_frames(view, num_clips=2, num_frames=1, scheme="markers")
    images = greys.float() / 255
    ensemble, frames = build_ensemble(nets, view, images), images[:1]
    sides: dict[str, tuple[str, Run, Run]] = {
        f"ensemble of {len(nets)}": (
            "whole passes",
            partial(task_deviation, ensemble, frames),
            partial(whole_passes_deviation, ensemble, frames),
        )
    }
    for name, member in zip(nets, ensemble.net, strict=True):
        inputs = (member.net, member.to_images(frames))
        rival = f"whole passes (at most {bound_ratio(*inputs, num_samples):.3g})"
        sides[name] = (
            rival,
            partial(mc_dropout, *inputs, generator_seed=0),
            partial(whole_passes, *inputs),
        )
    with torch_threads(1):
        for name, (rival, *both) in sides.items():
            ours, whole = (partial(side, num_samples=num_samples) for side in both)
            # No warm-up: the check has run both sides.
            yield name, Comparison(ours, {rival: whole}, check_equal, TARGET, repeats=2, warmup=0)


def bound_ratio(net: Segmenter, images: Float[Tensor, "N C H W"], num_samples: int) -> float:
    """The ratio of the arithmetic of whole passes to that of one stem and the rest of each."""
    with torch.no_grad(), FlopCounterMode(display=False) as before:
        stem = net.stem(images)
    with torch.no_grad(), FlopCounterMode(display=False) as repeated:
        net.rest(stem, (images.shape[2], images.shape[3]))
    once, each = before.get_total_flops(), repeated.get_total_flops()
    return num_samples * (once + each) / (once + num_samples * each)


def build_ensemble(nets: Nets, view: View, frames: Float[Tensor, "N 1 H W"]) -> Ensemble:
    """Reproducible networks after one training pass, without which normalisation hides dropout."""
    member = partial(
        Segmentation, scheme="markers", view=view, channels=3, centred=True, monitor="union_dice"
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        ensemble = Ensemble([partial(member, net) for net in nets.values()])
        for module in ensemble.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        for part in ensemble.net:
            part.net(part.to_images(frames))
    return ensemble.eval()


def whole_passes(
    net: nn.Module, images: Float[Tensor, "N C H W"], *, num_samples: int, seed: int = 0
) -> Moments:
    """Mean and deviation of the softmax over samples of dropout of the whole network."""
    dropouts = [module for module in net.modules() if isinstance(module, DROPOUTS)]
    samples = []
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        for dropout in dropouts:
            dropout.train()
        for sample_seed in sample_seeds(seed, num_samples):
            torch.manual_seed(sample_seed)
            samples.append(net(images).softmax(dim=1))
        for dropout in dropouts:
            dropout.eval()
        probabilities = torch.stack(samples)
        return probabilities.mean(dim=0), probabilities.std(dim=0, correction=0)


def task_deviation(
    ensemble: Ensemble, frames: Float[Tensor, "N 1 H W"], *, num_samples: int
) -> Moments:
    deviation = ensemble.estimate_uncertainty(frames, num_samples=num_samples)
    assert deviation is not None
    return (torch.from_numpy(deviation),)


def whole_passes_deviation(
    ensemble: Ensemble, frames: Float[Tensor, "N 1 H W"], *, num_samples: int
) -> Moments:
    """The deviation over all samples of all members; member n has seed n."""
    moments = [
        whole_passes(member.net, member.to_images(frames), num_samples=num_samples, seed=number)
        for number, member in enumerate(ensemble.net)
    ]
    means, deviations = zip(*moments, strict=True)
    within = torch.stack(deviations).square().mean(dim=0)
    return ((within + torch.stack(means).var(dim=0, correction=0)).sqrt(),)


def check_equal(ours: Run, theirs: Run, name: str) -> None:
    """Raise LusError if moments differ by more than 1e-5, or if dropout has no effect."""
    moments, others = (run(num_samples=NUM_CHECKED) for run in (ours, theirs))
    if not moments[-1].max() > 100 * TOLERANCE:
        raise LusError("mcdropout: all samples are alike; no ratio is given")
    check_close([f"mcdropout: {name}"] * 2, moments, others, atol=TOLERANCE)
