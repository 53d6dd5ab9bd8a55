"""Monte Carlo dropout: the spread of the probabilities of a pixel while dropout is active.

Source: Gal and Ghahramani 2016, "Dropout as a Bayesian approximation"; Roy et al. 2020, section
IV-C, takes 40 samples and the standard deviation of each pixel and class.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm  # of all dimensions, and synced

from lus_ray.errors import InputError
from lus_ray.nets.segmenter import Segmenter, Stem

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@torch.no_grad()
def mc_dropout(
    net: Segmenter, images: Float[Tensor, "N C H W"], *, num_samples: int = 40,
    generator_seed: int, batch_statistics: bool = False,
) -> tuple[Float[Tensor, "N K H W"], Float[Tensor, "N K H W"]]:  # fmt: skip
    """Mean and standard deviation of the probabilities over samples of dropout, both float32.

    Probabilities are the softmax over the outputs, or the sigmoid of a single output. The deviation
    divides by the number of samples. Sample s draws its masks with seed s of `sample_seeds`; they
    depend on the position in the batch. Everything but dropout is in evaluation mode. The stem runs
    once. Afterwards modes and the state of the random generator are as before.

    With `batch_statistics`, batch norms normalise by the images given here, and with each sample's
    dropout. The released code of Roy 2020 does so, because it switches the whole network to
    training. It is odd: the network is then another one than that which predicts, and the numbers
    of an image depend on the images beside it.

    Raises:
        InputError: fewer than 1 sample, or the network has no dropout.
    """
    if num_samples < 1:
        raise InputError(f"Monte Carlo dropout: {num_samples} samples; give 1 or more")
    if not any(isinstance(module, DROPOUTS) and module.p > 0 for module in net.modules()):
        raise InputError(
            f"Monte Carlo dropout: {type(net).__name__} has no dropout; build it with some"
        )
    size = (images.shape[2], images.shape[3])
    gpus = [images.get_device()] if images.is_cuda else []
    generator = torch.cuda.default_generators[gpus[0]] if gpus else torch.default_generator
    norms = [m for m in net.modules() if isinstance(m, BatchNorm)] if batch_statistics else []
    kinds = (*DROPOUTS, BatchNorm) if norms else DROPOUTS
    with train_only(kinds, net.modules()), _untracked(norms), torch.random.fork_rng(gpus):
        stem = _stem(net, images, doubled=bool(norms) and len(images) == 1)
        mean = squares = torch.zeros((), device=images.device)
        for number, seed in enumerate(sample_seeds(generator_seed, num_samples), start=1):
            generator.manual_seed(seed)
            probabilities = _probabilities(net.rest(stem, size))
            # Welford's sums lose no digits where all samples agree.
            off = probabilities - mean
            mean = mean + off / number
            squares = squares + off * (probabilities - mean)
    return mean, (squares / num_samples).sqrt()


def sample_seeds(generator_seed: int, num_samples: int) -> list[int]:
    """A seed for each sample; the first ones do not depend on the number of samples."""
    generator = torch.Generator().manual_seed(generator_seed)
    return [int(torch.randint(1 << 31, (), generator=generator)) for _ in range(num_samples)]


def _stem(net: Segmenter, images: Float[Tensor, "N C H W"], *, doubled: bool) -> Stem:
    """The stem; a single image twice, as torch takes no statistics of one value per channel."""
    if not doubled:
        return net.stem(images)
    return tuple(maps[:1] for maps in net.stem(images.repeat(2, 1, 1, 1)))


@contextmanager
def _untracked(norms: Iterable[BatchNorm]) -> Iterator[None]:
    """Batch norms in training mode leave their running statistics alone."""
    before = [(norm, norm.track_running_stats) for norm in norms]
    for norm, _ in before:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, tracks in before:
            norm.track_running_stats = tracks


def _probabilities(logits: Tensor) -> Tensor:
    logits = logits.float()
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


@contextmanager
def train_only(kinds: tuple[type[nn.Module], ...], modules: Iterable[nn.Module]) -> Iterator[None]:
    """Set only modules of some kinds to training mode; restore all modes at the end."""
    before = [(module, module.training) for module in modules]
    for module, _ in before:
        module.training = isinstance(module, kinds)
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
