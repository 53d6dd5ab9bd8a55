"""Control of dense labels: clutter that only its surroundings distinguish from B-lines.

Claim    Naming every region of a frame leads to fewer false positives (Gare et al. 2021).
Worlds   "clutter": bright streaks look alike everywhere. Below a broken pleural line they are
         B-lines, below a whole one clutter. Dense labels name the lung around a streak, healthy or
         unhealthy; sparse ones call it background. "no clutter", its twin: every streak is a
         B-line.
Checks   Pixels of B-lines on test frames, three folds of 150 frames. Dense predictions are compared
         in the sparse classes.
Broken   The masks of the training frames are those of other frames.
Time     About a minute on two cores.
"""

from experiments import dense_labels as study
from lus_ray.control import Check, Control, Difference, Score, World
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Size, shrink

ARMS = DENSE, SPARSE = "dense, collapsed", "sparse"
PRECISION = Difference("precision B-line", DENSE, SPARSE)

SMALL = Size(
    recipe={"batch": 8, "draws": 0, "copies": 1, "lr": 2e-3, "plateau": None, "epochs": 25},
    net={"widths": (8, 16, 32)},
    task={"view": View(num_frames=1, height=32, width=32, num_samples=0)},
)
EXPERIMENT = shrink(study.EXPERIMENT.only(ARMS), SMALL)


def clutter(**clips: object) -> World:
    return World(
        name="clutter",
        text="Streaks below a broken pleura are B-lines, and those below a whole one are not.",
        experiment=EXPERIMENT,
        clips={"world": "streaks", "patients": 150, **clips},
        checks=(
            Check("Dense labels call less clutter B-line.", PRECISION, least=0.03),
            Check("Dense labels find B-lines.", Score("iou B-line", DENSE), least=0.4),
        ),
    )


CONTROL = Control(
    claim="Naming every region of a frame leads to fewer false positives.",
    worlds=(
        clutter(),
        World(
            name="no clutter",
            text="Every streak is a B-line.",
            experiment=EXPERIMENT,
            clips={"world": "streaks", "clutter": False, "patients": 150},
            checks=(Check("Dense labels gain little.", PRECISION, most=0.03),),
        ),
    ),
    broken={"shuffled masks": clutter(shuffled=True)},
)
