"""A recipe: how a network is trained, and which values such settings may have."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lus_ray.data.transforms.augment import Augment, refuse_unsound
from lus_ray.data.transforms.augment_gare2021 import SIX_COPIES
from lus_ray.data.transforms.augment_roy2020 import SixSteps


def _whole(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(value: Any, least: float = 0.0, most: float = math.inf) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and least <= value <= most


_COLUMNS = ("severity", "sf_ratio", "disease", "diagnosis", "frame_severity", "markers")
_SELECT = ("best", "last", "loss", "test")
_SOUND: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("epochs workers", "a whole number, 1 or more", lambda v: _whole(v, 1)),
    ("batch draws patience val_samples", "a whole number, 0 or more", lambda v: _whole(v, 0)),
    ("copies", f"a whole number, 1 to {len(SIX_COPIES)}", lambda v: _whole(v, 1, len(SIX_COPIES))),
    ("lr", "a number above 0", lambda v: _number(v) and v > 0),
    ("weight_decay l2 eps", "a number, 0 or more", _number),
    ("warmup", "a share from 0 to 1", lambda v: _number(v, 0, 1)),
    ("gpus", "a share from 0 to 1, or a whole number",
     lambda v: _number(v, 0, 1) or (_number(v) and v == int(v))),
    ("cosine", "true or false", lambda v: isinstance(v, bool)),
    ("plateau", "a factor between 0 and 1, or null",
     lambda v: v is None or (_number(v, 0, 1) and 0 < v < 1)),
    ("milestones", "a list of epochs, 1 or more each",
     lambda v: isinstance(v, tuple | list) and all(_whole(epoch, 1) for epoch in v)),
    ("select", f"one of {', '.join(_SELECT)}", lambda v: v in _SELECT),
    ("oversample", f"one of {', '.join(_COLUMNS)}, or null", lambda v: v is None or v in _COLUMNS),
)  # fmt: skip
"""Fields of a recipe, what each needs, and whether a value is that."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Frozen; a variant is a copy (`dataclasses.replace`).

    `batch` counts clips, or frames where a task learns from single frames; tracks of an earlier
    arm are one batch. `draws` above 0 is the number of frames of an epoch (all, where it is 0).
    `weight_decay` is that of AdamW and spares norms and biases; `l2`, which excludes it, is added
    to the gradient of every parameter, as Adam did before; `eps` is Adam's.
    The rate falls by one rule at most: `milestones` are epochs after which it falls to a tenth;
    `plateau` is the factor of ReduceLROnPlateau on the validation score, with `patience` epochs;
    `warmup` is the share of epochs in which it rises, `cosine` lets it fall to nothing after them.
    `oversample` names the column whose classes are drawn equally often, or None; of single frames
    also "markers", which draws half of a batch with score 0 and a sixth with each other score, and
    spreads them over the clips (Roy 2020, segmentation).
    `copies` above 1 trains on that many of the copies of `six_copies` of every image.
    `select` keeps the best epoch by validation score, the last one, or the parameters that had
    the lowest training loss. "test" keeps the best by the score of the test side: a leak, there
    to reproduce a published protocol, and named by the report.
    `val_samples` above 0 validates on so many samples a clip, to save time between epochs.
    `workers` above 1 trains with that many Ray Train workers, each on a share of the batch.
    `gpus` is the share of a GPU per worker; fractions let several folds use one.

    Raises:
        ArmError: a value is none that a training can have, or two of them exclude each other.
    """

    epochs: int
    batch: int
    lr: float
    draws: int = 0
    weight_decay: float = 0.0
    l2: float = 0.0
    eps: float = 1e-8
    milestones: Sequence[int] = ()
    warmup: float = 0.0
    cosine: bool = False
    plateau: float | None = None
    patience: int = 10
    oversample: str | None = None
    copies: int = 1
    augment: Augment | SixSteps | None = None
    select: Literal["best", "last", "loss", "test"] = "best"
    val_samples: int = 0
    workers: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        sound = {
            rule: {name: holds(getattr(self, name)) for name in names.split()}
            for names, rule, holds in _SOUND
        }
        by_epoch = bool(self.warmup or self.cosine)
        alone = {
            "0 beside l2": {"weight_decay": not (self.l2 and self.weight_decay)},
            "null beside milestones, warmup or cosine": {
                "plateau": self.plateau is None or not (self.milestones or by_epoch)
            },
            "to be empty beside warmup or cosine": {
                "milestones": not (self.milestones and by_epoch)
            },
        }
        refuse_unsound(self, sound | alone)
