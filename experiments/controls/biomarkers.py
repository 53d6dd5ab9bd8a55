"""Control of `biomarkers`: experts win where severity follows from signs and few clips train it.

Claim   Experts on predicted biomarkers are as good as networks trained end to end, or better.
Worlds  1,200 clips of 32 x 32 pixels with six faint signs; severity is the number of three of them.
        All training clips train the biomarkers, one in twenty trains severity; all test patients
        are scored on it. In the twin, severity is the brightness of a corner, and no sign predicts
        it.
Time    Two minutes on two cores.
"""

from dataclasses import replace
from functools import partial

from experiments import biomarkers
from lus_ray.control import Check, Control, Difference, Score, World
from lus_ray.data.phantom.worlds.signs import GRADING
from lus_ray.data.transforms.augment import Augment
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Experiment, Rows, Size, shrink
from lus_ray.folds import one_split
from lus_ray.nets import TSM

SIGNS, NETWORK = "biomarkers", "e2e severity"
MLP, SVM = "MLP on biomarkers, severity", "SVM-pairwise on biomarkers, severity"

SIZE = Size(
    recipe={
        "epochs": 30, "batch": 16, "lr": 3e-3, "weight_decay": 0.01, "warmup": 0.1, "cosine": True,
        "plateau": None, "select": "last", "val_samples": 1,
        "augment": Augment(rotate_deg=0, scale=0, translate=0),
    },
    task={
        "backbone": partial(TSM, width=8, layers=(1, 1, 1, 1), dropout=0.1),
        "view": View(num_frames=2, height=32, width=32, num_samples=1),
        "monitor": "auc",
        "fits": 1,
    },
    folds=one_split(train=0.6, val=0.1, test=0.3),
)  # fmt: skip
LONGER = Size(recipe={"epochs": 100}, as_published=(SIGNS,))
"""Networks of severity have a twentieth of the clips, so an epoch is short."""


def few_grades(experiment: Experiment) -> Experiment:
    """The experiment with arms that learn severity from the clips of one site; all are tested."""
    rows = Rows(learns={"site": GRADING})
    arms = (replace(arm, rows=rows) if arm.label == "severity" else arm for arm in experiment.arms)
    return experiment.with_arms(tuple(arms))


EXPERIMENT = shrink(
    shrink(few_grades(biomarkers.EXPERIMENT.only((MLP, SVM, NETWORK))), SIZE), LONGER
)


def world(name: str, text: str, *checks: Check, **options: object) -> World:
    return World(name, text, EXPERIMENT, {"world": "signs", **options}, checks)


FINDS_SIGNS = Check("The network finds the signs.", Score("auc", SIGNS), least=0.9)
WINS = tuple(
    Check(f"{expert} beats {NETWORK}.", Difference("auc", expert, NETWORK), least=0.1)
    for expert in (MLP, SVM)
)
LOSES = tuple(
    Check(f"{expert} does not beat {NETWORK}.", Difference("auc", expert, NETWORK), most=0.0)
    for expert in (MLP, SVM)
)

FROM_SIGNS = world(
    "signs", "Severity is the number of three signs, and few clips train it.", FINDS_SIGNS, *WINS
)
FROM_CORNER = world(
    "corner",
    "Severity is the brightness of a corner, which no sign describes.",
    FINDS_SIGNS,
    Check("The network learns the corner.", Score("auc", NETWORK), least=0.8),
    Check("Signs do not predict the severity.", Score("auc", MLP), most=0.65),
    *LOSES,
    rule="corner",
)
SHUFFLED = replace(
    FROM_SIGNS, name="shuffled", text="Each clip has the biomarkers of another clip.",
    clips={**FROM_SIGNS.clips, "shuffled": True},
)  # fmt: skip

CONTROL = Control(
    claim="Experts on predicted biomarkers do better than end-to-end training.",
    worlds=(FROM_SIGNS, FROM_CORNER),
    broken={"shuffled biomarkers": SHUFFLED},
)
