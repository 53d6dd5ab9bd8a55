"""A recipe: how a network is trained."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lus_ray.data.transforms.augment import Augment
from lus_ray.data.transforms.augment_gare2021 import SIX_COPIES
from lus_ray.data.transforms.augment_roy2020 import SixSteps
from lus_ray.errors import ArmError
from lus_ray.settings import NonNegative, Positive, Share, settings

AtLeastOne = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]


def _check_gpus(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise ValueError("give a share from 0 to 1, or a whole number")
    return gpus


@settings
class Recipe:
    """How a network is trained. Frozen; a variant is a copy (`dataclasses.replace`).

    Attributes:
        epochs: 0 trains nothing: the arm has the weights of its `start`, with `norm_batches`.
        batch: clips, or frames where a task learns from single frames; tracks are one batch.
        draws: frames of an epoch; 0 for all.
        weight_decay: decoupled (AdamW), not for norms and biases.
        l2: added to the gradient of every parameter, as in the original Adam; excludes
            `weight_decay`.
        eps: of Adam.
        milestones: epochs after which the rate falls to a tenth.
        warmup: share of epochs in which the rate rises.
        cosine: the rate falls to zero after the warm-up.
        decay: factor on the rate after each tenth of training, at the end of an epoch.
        plateau: factor of ReduceLROnPlateau on the validation score, after `patience` epochs;
            excludes the other schedules.
        oversample: column whose classes are sampled equally often, or "label" for the label that
            the arm predicts. For single frames also "markers": half of a batch has score 0 and a
            sixth each other score, spread over the clips (Roy 2020, segmentation).
        copies: number of Gare 2021's copies of every image to train on.
        window: GB of frames, at the size that the network sees, from whose clips single frames are
            mixed at a time, so that a stream opens every clip once an epoch; 0 mixes all clips,
            which a stream then holds in memory.
        select: the epoch to keep: "best" validation score, "last", lowest training "loss" (its
            parameters from before the epoch), or best "test" score, a leak that reproduces a
            published protocol and that the report names.
        norm_batches: batches of training frames, without augmentation and dropout, from which the
            statistics of batch norms are estimated anew for the kept epoch, at most one epoch of
            them; 0 keeps the running ones. Where validation scores select the epoch or the rate,
            they are estimated before every validation, as the scores are to be those of the
            network that is kept.
        val_samples: samples of a clip in validation; 0 for the view's number.
        workers: Ray Train workers, each with a share of the batch; None lets the planner decide.
        gpus: GPUs per worker; with a fraction, several folds share one; None lets the planner
            decide. Without a GPU in the cluster both None mean one process.

    Raises:
        ArmError: a value is out of range, or two values exclude each other.
    """

    epochs: Count
    batch: Count
    lr: Positive
    draws: Count = 0
    weight_decay: NonNegative = 0.0
    l2: NonNegative = 0.0
    eps: NonNegative = 1e-8
    milestones: Sequence[AtLeastOne] = ()
    warmup: Share = 0.0
    cosine: bool = False
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    plateau: Annotated[float, Field(gt=0, lt=1)] | None = None
    patience: Count = 10
    oversample: (
        Literal[
            "label", "severity", "sf_ratio", "disease", "diagnosis", "frame_severity", "markers"
        ]
        | None
    ) = None
    copies: Annotated[int, Field(ge=1, le=len(SIX_COPIES))] = 1
    window: NonNegative = 1.0
    augment: Augment | SixSteps | None = None
    select: Literal["best", "last", "loss", "test"] = "best"
    norm_batches: Count = 0
    val_samples: Count = 0
    workers: AtLeastOne | None = None
    gpus: Annotated[NonNegative, AfterValidator(_check_gpus)] | None = None

    def __post_init__(self) -> None:
        if not (self.epochs or self.norm_batches):
            raise ArmError("Recipe: epochs is 0; give 1 or more, or 1 or more norm_batches")
        by_epoch = bool(self.warmup or self.cosine or self.decay < 1)
        if self.l2 and self.weight_decay:
            raise ArmError(f"Recipe: weight_decay is {self.weight_decay!r}; set it to 0 beside l2")
        if self.plateau is not None and (self.milestones or by_epoch):
            raise ArmError(
                f"Recipe: plateau is {self.plateau!r}; set it to null beside milestones, warmup, "
                "cosine or decay"
            )
        if self.milestones and by_epoch:
            raise ArmError(
                f"Recipe: milestones is {self.milestones!r}; leave it empty beside warmup, "
                "cosine or decay"
            )

    @property
    def follows_validation(self) -> bool:
        """Whether validation scores select the epoch or the rate."""
        return self.select in ("best", "test") or self.plateau is not None
