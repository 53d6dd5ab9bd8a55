"""An ensemble: the mean of the probabilities of separately trained networks.

Source: Roy et al. 2020, section IV-C: the unweighted mean of the softmax outputs of three networks.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lus_ray.errors import ArmError
from lus_ray.nets.mc_dropout import mc_dropout
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.tasks.task import GreyFrames


class Ensemble(Segmentation):
    """The mean of the class probabilities of `members`, whose own boosts are not used.

    `batch_statistics` changes the uncertainty alone, as in `mc_dropout`.

    Raises:
        ArmError: there are no members, or they differ in scheme, view or smoothing.
    """

    def __init__(
        self, members: Sequence[Callable[[], Segmentation]], boost: Sequence[float] = (),
        batch_statistics: bool = False,
    ) -> None:  # fmt: skip
        built = [member() for member in members]
        if len({(task.scheme, task.view, task.smooth) for task in built}) != 1:
            raise ArmError("an ensemble needs members of the same scheme, view and smoothing")
        first = built[0]
        super().__init__(
            lambda num_outputs: nn.ModuleList(built),
            first.scheme,
            view=first.view,  # type: ignore[arg-type]
            monitor=first.monitor,
            boost=boost,
            smooth=first.smooth,
        )
        self.batch_statistics = batch_statistics

    def predict_probabilities(self, frames: GreyFrames) -> Iterator[Float[Tensor, "n K H W"]]:
        members = (member.predict_probabilities(frames) for member in self.net)
        for parts in zip(*members, strict=True):
            yield torch.stack(parts).mean(dim=0)

    @torch.no_grad()
    def estimate_uncertainty(
        self, frames: GreyFrames, *, num_samples: int = 40, seed: int = 0
    ) -> Float[np.ndarray, "N K H W"] | None:
        """Standard deviation over the samples of all members, equal ones without dropout."""
        means, squares = [], []
        for number, member in enumerate(self.net):
            if any(getattr(part, "p", 0) for part in member.net.modules()):
                mean, deviation = mc_dropout(
                    member.net, member.to_images(frames), num_samples=num_samples,
                    generator_seed=seed + number, batch_statistics=self.batch_statistics,
                )  # fmt: skip
            else:
                mean = torch.cat(list(member.predict_probabilities(frames)))
                deviation = torch.zeros_like(mean)
            means.append(mean)
            squares.append(deviation**2 + mean**2)
        variance = torch.stack(squares).mean(dim=0) - torch.stack(means).mean(dim=0) ** 2
        return variance.clamp(min=0).sqrt().cpu().numpy()
