"""What every deployment of models says of itself, beside its own work.

Why a stage keeps the outcome of its parity gate: an ingress that starts anew asks the stages and
need not replay clips that were replayed before.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lus_ray.errors import ServeError
from lus_ray.service.models import Model, fingerprint

About = tuple[tuple[Model, ...], str | None, dict[str, float] | None]


class Stage:
    """Base of the deployments that hold models.

    `reads` is the fingerprint of the model whose answers this stage reads, None for one that reads
    frames: two stages fit together only where these agree.
    """

    def __init__(self, models: Sequence[Model], reads: str | None = None) -> None:
        self.models, self.reads = tuple(models), reads
        self.parity: dict[str, float] | None = None

    async def about(self) -> About:
        """Models, the fingerprint of what they read, and their parity where it is known."""
        return self.models, self.reads, self.parity

    async def admit(self, parity: dict[str, float]) -> None:
        """Remember how far replayed predictions are from the stored ones, by model id."""
        self.parity = parity


def held(model: Model, copies: Path | None) -> Model:
    """The model with the folder that its weights are loaded from: a copy, where there is one.

    Raises:
        ServeError: the weights are not those that were looked at; a run wrote them anew.
    """
    here = model if copies is None else replace(model, folder=copies / model.fingerprint)
    if fingerprint(here.folder) != model.fingerprint:
        raise ServeError(f"{model.id}: its checkpoint has changed; deploy it again")
    return here
