"""Segmentation of SIFA's source frames after translation to the target domain.

Why: the segmenter was trained on translated images, but the released code tests on originals.
"""

from collections.abc import Callable, Iterator, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from lus_ray.errors import ArmError
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.tasks.sifa import Sifa
from lus_ray.tasks.task import GreyFrames


class TranslatedSegmentation(Segmentation):
    """Predictions of a trained SIFA, the only member, for translated frames of its source."""

    def __init__(self, members: Sequence[Callable[[], Sifa]]) -> None:
        if len(members) != 1:
            raise ArmError(f"TranslatedSegmentation: {len(members)} members; give one SIFA")
        sifa = members[0]()
        super().__init__(
            lambda num_outputs: nn.ModuleList([sifa]),
            sifa.scheme,
            view=sifa.view,  # type: ignore[arg-type]
            monitor=sifa.monitor,
        )

    def predict_probabilities(self, frames: GreyFrames) -> Iterator[Float[Tensor, "n K H W"]]:
        for part in frames.split(self.samples_per_pass(frames[0].numel())):
            yield from self.net[0].predict_probabilities(self.net[0].translate_to_target(part))
