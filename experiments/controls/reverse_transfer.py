"""Control of reverse transfer: a disease that follows from areas, and one that does not.

Claim    A network that learned to segment diagnoses better, after dense labels more than after
         sparse ones (Gare et al. 2021).
Worlds   "areas": the share of unhealthy lung decides the disease. Dense masks label it; in sparse
         ones it is background. Healthy and unhealthy lung have speckle of the same brightness.
         "unrelated", its twin: the disease does not depend on the share.
Checks   Accuracy of test frames, one fold. The last layer learns at 100 times the rate of the
         network: with seven shares of an area as inputs, a few hundred steps at the published rate
         never leave the most frequent class.
Broken   The networks start from random weights instead of those of the segmenters.
Time     About a minute on two cores.
"""

from dataclasses import replace
from typing import Any

from experiments import reverse_transfer as study
from lus_ray.control import Check, Control, Difference, Score, World
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Experiment, Size, shrink

ARMS = NONE, SPARSE, DENSE = "none", "from sparse", "from dense"
METRIC = "frame_accuracy"
BEATS_NONE, BEATS_SPARSE = (Difference(METRIC, DENSE, than) for than in (NONE, SPARSE))

SMALL = Size(
    recipe={"batch": 16, "draws": 0, "lr": 2e-3, "plateau": None, "val_samples": 0, "epochs": 12},
    net={"widths": (8, 16, 32)},
    task={"view": View(num_frames=1, height=40, width=40, num_samples=0), "head_rate": 100.0},
)
SHORT: dict[str, Any] = {"epochs": 4}  # the segmenters train three times as long


def diagnosing_shortly(experiment: Experiment) -> Experiment:
    return experiment.with_arms(
        tuple(
            replace(arm, recipe=replace(arm.recipe, **SHORT))
            if arm.recipe and arm.name in ARMS
            else arm
            for arm in experiment.arms
        )
    )


EXPERIMENT = diagnosing_shortly(shrink(study.EXPERIMENT.only(ARMS), SMALL))


def without_starts(experiment: Experiment) -> Experiment:
    return experiment.with_arms(tuple(replace(arm, start=None) for arm in experiment.arms))


def areas(experiment: Experiment) -> World:
    return World(
        name="areas",
        text="The share of unhealthy lung decides the disease, and only dense labels contain it.",
        experiment=experiment,
        clips={"world": "areas"},
        checks=(
            Check("Dense labels first improve the diagnosis over none.", BEATS_NONE, least=0.25),
            Check("Dense labels improve it over sparse labels.", BEATS_SPARSE, least=0.25),
        ),
        folds=(0,),
    )


CONTROL = Control(
    claim="A network that learned to segment diagnoses better, most after dense labels.",
    worlds=(
        areas(EXPERIMENT),
        World(
            name="unrelated",
            text="The disease has nothing to do with the masks.",
            experiment=EXPERIMENT,
            clips={"world": "areas", "related": False},
            checks=(
                Check("Dense labels first are no better than none.", BEATS_NONE, most=0.25),
                Check("Nothing diagnoses what frames do not show.", Score(METRIC, DENSE), most=0.6),
            ),
            folds=(0,),
        ),
    ),
    broken={"no start weights": areas(without_starts(EXPERIMENT))},
)
