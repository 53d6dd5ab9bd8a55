"""Control of marker segmentation: does the mean of networks correct the errors of each?

Claim     An ensemble of networks segments the markers better than its members.
World     Every member trains on one of three hospitals. Each hospital lacks marks of one
          appearance, and its member misses those. Of three members, two find every mark.
Twin      One member is untrained: it stops after 20 steps, when it finds no mark. Marks that only
          one of the other two finds are lost.
Time      About two minutes on two cores.
"""

from dataclasses import replace

from experiments import marker_segmentation as study
from lus_ray.control import Check, Control, Difference, Score, World
from lus_ray.data.phantom.worlds.hospitals import HOSPITALS
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment, Rows, Size, shrink
from lus_ray.folds import one_split

METRIC = "union_dice"
SIZE = Size(
    recipe={"epochs": 8, "batch": 8, "lr": 2e-3, "draws": 400, "oversample": None},
    as_published=("untrained",),  # it has its own recipe
    net={"width": 8},
    task={"view": View(num_frames=1, height=40, width=40, num_samples=0), "smooth": 0},
)
CLIPS = {"world": "hospitals", "patients": 90}

UNET = study.EXPERIMENT.arm("unet")
assert UNET.recipe is not None
MEMBERS = tuple(
    replace(UNET, name=f"unet {hospital}", rows=Rows(learns={"site": hospital}))
    for hospital in HOSPITALS
)
UNTRAINED = replace(
    MEMBERS[-1],
    name="untrained",
    recipe=replace(UNET.recipe, epochs=1, batch=8, lr=1e-3, draws=160, oversample=None),
)


def experiment(*members: Arm) -> Experiment:
    """The members, each once, and their ensemble."""
    together = replace(study.together("ensemble", *members), rows=Rows())
    chosen = replace(study.EXPERIMENT, folds=one_split(train=0.6, val=0.1, test=0.3))
    once = {member.name: member for member in members}.values()
    return shrink(chosen.with_arms((*once, together)), SIZE)


HOSPITAL_WORLD = World(
    "hospitals",
    "Each member misses marks of the appearance that its hospital lacks; two find every mark.",
    experiment(*MEMBERS),
    CLIPS,
    (
        Check("The ensemble finds the marks.", Score(METRIC, "ensemble"), least=0.8),
        *(
            Check(
                f"The ensemble beats {arm.name} clearly.",
                Difference(METRIC, "ensemble", arm.name),
                least=0.05,
            )
            for arm in MEMBERS
        ),
    ),
)

UNTRAINED_WORLD = World(
    "untrained member",
    "One of three members finds no mark; marks that only one of the others finds are lost.",
    experiment(*MEMBERS[:2], UNTRAINED),
    CLIPS,
    (
        Check("The untrained member finds next to nothing.", Score(METRIC, "untrained"), most=0.05),
        *(
            Check(
                f"The ensemble is worse than {arm.name}.",
                Difference(METRIC, "ensemble", arm.name),
                most=-0.05,
            )
            for arm in MEMBERS[:2]
        ),
    ),
)

CONTROL = Control(
    claim="An ensemble of networks segments the markers of severity better than each member.",
    worlds=(HOSPITAL_WORLD, UNTRAINED_WORLD),
    broken={
        "one member three times": replace(
            HOSPITAL_WORLD,
            experiment=experiment(*[MEMBERS[0]] * 3),
            checks=HOSPITAL_WORLD.checks[:2],
        ),
        "shuffled masks": replace(HOSPITAL_WORLD, clips={**CLIPS, "shuffled": True}),
    },
)
