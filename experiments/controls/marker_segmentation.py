"""Control of marker segmentation: does the mean of networks mend what each of them gets wrong?

Claim     An ensemble of networks segments the markers better than its members.
World     Every member learns from one of three hospitals. Each hospital lacks marks of one look,
          and its member misses those. Of three members, two know every mark.
Twin      One member is untrained: it stops after 20 steps, when it finds no mark. What only one of
          the other two knows is lost.
Takes     about 2 minutes on two cores.
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
    "Each member misses the marks of the look that its hospital lacks, and two know every mark.",
    experiment(*MEMBERS),
    CLIPS,
    (
        Check("The ensemble finds the marks.", Score(METRIC, "ensemble"), least=0.8),
        *(
            Check(
                f"The ensemble beats the {arm.name} clearly.",
                Difference(METRIC, "ensemble", arm.name),
                least=0.05,
            )
            for arm in MEMBERS
        ),
    ),
)

UNTRAINED_WORLD = World(
    "untrained member",
    "One of three members finds no mark, and outvotes whoever of the others alone knows one.",
    experiment(*MEMBERS[:2], UNTRAINED),
    CLIPS,
    (
        Check("The untrained member finds next to nothing.", Score(METRIC, "untrained"), most=0.05),
        *(
            Check(
                f"The ensemble is worse than the {arm.name}.",
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
