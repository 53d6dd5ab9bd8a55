"""Video scores: from the scores of all frames to the score of the clip.

Table     Roy et al. 2020 (IEEE TMI), Tables II and III.
Question  Does a uninorm with learned neutral elements beat fixed rules and recent aggregators?
Data      one clip table with severity, and frame_severity for the frame model. Unit: patient.
Splits    five patient folds. As published, everybody who is not tested trains (80 %); only the
          attention arms select their epoch on validation patients. The frame model is never
          trained on a patient that its fold tests; the published protocol, in which it is, has
          arms of its own.
          Folds are balanced in severity; `--splits published` assigns patients in turn, hospital by
          hospital (the column `site`), as the released code does.
Run       lus run video_scores --data clips/phantom      (--weak where only clips have a score)
Try       lus run video_scores --smoke          2 CPUs, about a minute, phantom clips
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from optuna.distributions import FloatDistribution, IntDistribution
from torch import nn

import experiments
from experiments import frame_scores
from lus_ray.data.transforms.view import Track
from lus_ray.experiment import Arm, Claim, Experiment, Gap, Recipe, Rows, Search
from lus_ray.folds import rotating, round_robin
from lus_ray.nets import (
    ArgmaxMean,
    AttentionPool,
    MaxArgmax,
    MeanLogit,
    PairwiseUninorm,
    RegSTN,
    Uninorm,
)
from lus_ray.tasks import FrameScore, VideoScore

frame_model = partial(FrameScore, net=RegSTN, view=frame_scores.frames)

# Nobody validates, so that the frame model keeps its last epoch.
frame_recipe = replace(frame_scores.balanced, select="last")
# One step an epoch on the gradients of all clips, summed.
full_batch = Recipe(epochs=30, batch=0, lr=1e-2, select="loss")
attentive = Recipe(epochs=200, batch=0, lr=1e-2, select="best")

# What is searched: how far score 0 lies from the others, and what each aggregator learns from.
of_clips = {
    "lr": FloatDistribution(1e-3, 1.0, log=True), "task.positions.0": FloatDistribution(-1.5, 0.5),
}  # fmt: skip
of_uninorms = Search(
    of_clips
    | {
        "task.aggregator.initial": FloatDistribution(0.0, 1.0),
        "task.sharpness": FloatDistribution(0.5, 20.0, log=True),
    }
)
of_attention = Search(
    of_clips
    | {
        "task.aggregator.num_hidden": IntDistribution(2, 32, log=True),
        "l2": experiments.l2_penalties,
    }
)
of_frames = Search(frame_scores.learned_scales)


def aggregated(
    name: str,
    aggregator: Callable[..., nn.Module],
    recipe: Recipe | None = None,
    *,
    reads: str = "frames",
    track: Track = Track(),  # noqa: B008  (frozen)
    baseline: bool = False,
) -> Arm:
    """A clip score from the frame probabilities of an earlier arm.

    It trains on validation patients too, unless they select its epoch.
    """
    task = partial(VideoScore, aggregator=aggregator, track=track)
    is_attentive = recipe is not None and recipe.follows_validation
    rows = Rows(with_val=not is_attentive)
    learned = None if recipe is None else of_attention if is_attentive else of_uninorms
    return Arm(
        name, task, recipe, label="severity", rows=rows, reads=reads, search=learned,
        baseline=baseline,
    )  # fmt: skip


def published_arms(suffix: str = "") -> tuple[Arm, ...]:
    """A frame model, trained on clips without a score of their own, and Table II on it.

    With a suffix as published: the model was trained on other clips of the tested patients.
    """
    reads = f"frames{suffix}"
    rows = Rows(train_without="severity", overlap=bool(suffix), with_val=True)
    return (
        Arm(reads, frame_model, frame_recipe, label="frame_severity", rows=rows, search=of_frames),
        aggregated(f"max-argmax{suffix}", MaxArgmax, reads=reads, baseline=not suffix),
        aggregated(f"argmax-mean{suffix}", ArgmaxMean, reads=reads, baseline=not suffix),
        aggregated(f"uninorm{suffix}", Uninorm, full_batch, reads=reads),
        # As released: scores of long clips tie in float32, and the first of them decides.
        aggregated(f"uninorm, float32{suffix}", PairwiseUninorm, full_batch, reads=reads),
    )


OVERLAP = ", patients overlap"
CROSSFITTED = "frames, cross-fitted"
lukasiewicz = partial(Uninorm, t_norm="lukasiewicz")
# It depends on the order of the frames: a balanced binary tree joins neighbours, as released.
mean_of_pairs = partial(PairwiseUninorm, off_diagonal="mean", precision="float64")

ARMS = (
    *published_arms(),
    # Variants and recent aggregators.
    aggregated("uninorm, 32 frames", Uninorm, full_batch, track=Track(max_frames=32)),
    aggregated("uninorm, small gradients too", Uninorm, replace(full_batch, eps=1e-15)),
    aggregated("uninorm, max off the diagonal", partial(Uninorm, off_diagonal="max"), full_batch),
    aggregated("uninorm, mean off the diagonal", mean_of_pairs, full_batch),
    aggregated("uninorm, Łukasiewicz", lukasiewicz, full_batch),
    aggregated("mean-logit", MeanLogit),
    aggregated("attention", AttentionPool, attentive),
    # Where every clip has a score, the frame model is overconfident on the clips that aggregators
    # are trained on. Here it was trained without the clip that it predicts.
    Arm(
        CROSSFITTED,
        frame_model,
        frame_recipe,
        label="frame_severity",
        rows=Rows(with_val=True),
        reads="frames",
        crossfit=2,
        search=of_frames,
    ),
    aggregated("uninorm on cross-fitted frames", Uninorm, full_batch, reads=CROSSFITTED),
    aggregated("attention on cross-fitted frames", AttentionPool, attentive, reads=CROSSFITTED),
    *published_arms(OVERLAP),
)

# F1, precision and recall in percent with their standard deviation over folds.
TABLE_2 = {
    "max-argmax": ((46, 21), (55, 27), (49, 18)),
    "argmax-mean": ((51, 12), (56, 19), (53, 9)),
    "uninorm": ((61, 12), (70, 19), (60, 7)),
}
TABLE_2["uninorm, float32"] = TABLE_2["uninorm"]  # the printed values are of the released code

PUBLISHED = {
    f"{name}{suffix}": {
        metric: (mean / 100, std / 100)
        for metric, (mean, std) in zip(("f1", "precision", "recall"), row, strict=True)
    }
    for suffix in ("", OVERLAP)
    for name, row in TABLE_2.items()
}

CLAIMS = tuple(
    Claim(f"A uninorm beats {name}.", metric="f1", better="uninorm", than=name)
    for name in ("max-argmax", "argmax-mean")
)

GAPS = tuple(
    Gap(f"{name}: frame model with and without the patients it is tested on",
        leaky=f"{name}{OVERLAP}", clean=name)
    for name in TABLE_2
)  # fmt: skip

# Aggregators are small enough for their published recipe at every size.
AGGREGATORS = tuple(arm.name for arm in ARMS if arm.label == "severity")
SIZES = frame_scores.EXPERIMENT.sizes.items()

EXPERIMENT = Experiment(
    name="video_scores",
    title="Video scores: uninorms and their rivals over the scores of all frames",
    folds=rotating(5, stratify="severity"),
    protocols={"published": round_robin(5, by="site")},
    arms=ARMS,
    metrics=("f1", "precision", "recall", "macro_f1", "weighted_kappa", "auc", "setting_1"),
    published=PUBLISHED,
    claims=CLAIMS,
    gaps=GAPS,
    sizes={name: replace(size, as_published=AGGREGATORS) for name, size in SIZES},
)
