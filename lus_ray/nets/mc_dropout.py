"""Monte Carlo dropout: the spread of the probabilities of a pixel while dropout is active.

Letters: N images, C channels, H rows, W columns, K outputs.
Source: Gal and Ghahramani 2016, "Dropout as a Bayesian approximation"; Roy et al. 2020, section
IV-C, takes 40 samples and the standard deviation of each pixel and class.
The part of a network before its first dropout runs once (`Segmenter.stem`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lus_ray.errors import InputError
from lus_ray.nets.segmenter import Segmenter

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@torch.no_grad()
def mc_dropout(
    net: Segmenter, images: Float[Tensor, "N C H W"], *, num_samples: int = 40, generator_seed: int
) -> tuple[Float[Tensor, "N K H W"], Float[Tensor, "N K H W"]]:
    """Mean and standard deviation of the probabilities over samples of dropout, both float32.

    The probabilities are the softmax over the outputs, or the sigmoid where there is one output.
    The deviation is that of the samples themselves (divided by their number). Sample s draws its
    masks with seed s of `sample_seeds`; they belong to a place in the batch, so the same images
    in other batches have other samples. Everything but dropout is in evaluation mode. Modes and
    the state of the random generator are as before when this returns.

    Raises:
        InputError: fewer than one sample, or the network has no dropout.
    """
    if num_samples < 1:
        raise InputError(f"Monte Carlo dropout: {num_samples} samples; give 1 or more")
    if not any(isinstance(module, DROPOUTS) and module.p > 0 for module in net.modules()):
        raise InputError(
            f"Monte Carlo dropout: {type(net).__name__} has no dropout; build it with some"
        )
    size = (images.shape[2], images.shape[3])
    with _only_dropout_training(net), _generator(images.device) as generator:
        stem = net.stem(images)
        mean = squares = torch.zeros((), device=images.device)
        for number, seed in enumerate(sample_seeds(generator_seed, num_samples), start=1):
            generator.manual_seed(seed)
            probabilities = _probabilities(net.rest(stem, size))
            # Welford's sums: no digits are lost where all samples agree.
            off = probabilities - mean
            mean = mean + off / number
            squares = squares + off * (probabilities - mean)
    return mean, (squares / num_samples).sqrt()


def sample_seeds(generator_seed: int, num_samples: int) -> list[int]:
    """One seed for each sample; the first are the same however many there are."""
    generator = torch.Generator().manual_seed(generator_seed)
    return [int(torch.randint(1 << 31, (), generator=generator)) for _ in range(num_samples)]


def _probabilities(logits: Tensor) -> Tensor:
    logits = logits.float()
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


@contextmanager
def _only_dropout_training(net: nn.Module) -> Iterator[None]:
    before = [(module, module.training) for module in net.modules()]
    for module, _ in before:
        module.training = isinstance(module, DROPOUTS)
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def _generator(device: torch.device) -> Iterator[torch.Generator]:
    """The generator of dropout on a device; its state is restored."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generator = torch.cuda.default_generators[index]
    else:
        generator = torch.default_generator
    state = generator.get_state()
    try:
        yield generator
    finally:
        generator.set_state(state)
