"""Control of B-line adaptation: SIFA closes a gap of appearance, and no gap of another kind.

Claim    SIFA adapts labels of one domain to another without labels there (Mason et al. 2021).
Worlds   "appearance": the second domain has another machine (gain that fades with depth, bent grey
         curve, coarser speckle), the same anatomy and the same rule for masks. SIFA's segmenter
         trained on labels of the first finds nothing there, trained on labels of the second nearly
         all.
         "masks", its twin: one machine, but masks of the second domain cover only the lowest third
         of a B-line. Labels of the second domain are better there, and no translation can show
         what its masks cover.
Checks   Dice per image on the second domain, one fold, 120 steps: the headroom, and the share of it
         that SIFA closes.
Broken   Without its adversarial losses SIFA still matches the statistics of its batch norms to both
         domains, which closes a quarter of the headroom, and with a grey curve alone most of it.
         Hence the gain that fades with depth.
Time     About three minutes on two cores.
"""

from experiments import bline_adaptation as study
from lus_ray.control import Check, Closed, Control, Difference, World
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Experiment, Size, shrink
from lus_ray.folds import across_domains

ARMS = LOWER, UPPER, SIFA = "encoder covid", "encoder cap", "sifa covid→cap"
METRIC = "dice_per_image, cap"
HEADROOM = Check(
    "Labels of the second domain are better there than those of the first.",
    Difference(METRIC, UPPER, LOWER),
    least=0.2,
)
CLOSED = Closed(METRIC, SIFA, low=LOWER, high=UPPER)


def experiment(**task: float) -> Experiment:
    size = Size(
        recipe={"epochs": 6, "batch": 4, "draws": 80, "augment": None},
        net={"width": 4, "dropout": 0.0},
        task={
            "view": View(num_frames=1, height=64, width=64, num_samples=0),
            "num_units": 3, "pool": 20, **task,
        },
        folds=across_domains(k=3, val=False),
    )  # fmt: skip
    return shrink(study.EXPERIMENT.only(ARMS), size)


def appearance(**task: float) -> World:
    return World(
        name="appearance",
        text="The domains have different machines, the same anatomy and the same rule for masks.",
        experiment=experiment(**task),
        clips={"world": "appearance", "pair": "machine"},
        checks=(HEADROOM, Check("SIFA closes at least half of this gap.", CLOSED, least=0.5)),
        folds=(0,),
    )


CONTROL = Control(
    claim="SIFA adapts labels of one domain to another without labels there.",
    worlds=(
        appearance(),
        World(
            name="masks",
            text="The domains have the same machine, but masks cover other parts of B-lines.",
            experiment=experiment(),
            clips={"world": "appearance", "pair": "masks"},
            checks=(
                HEADROOM,
                Check("SIFA closes no more than a quarter of this gap.", CLOSED, most=0.25),
            ),
            folds=(0,),
        ),
    ),
    broken={"no adversarial losses": appearance(adversarial=0.0)},
)
