"""A study with a control that needs no network: one scanner shows severity as brightness."""

from experiments import classify
from lus_ray.control import Check, Control, Difference, Measured, Score, Trained, World
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Size, shrink
from lus_ray.folds import one_split

SMALL = Size(
    task={"view": View(num_frames=1, height=32, width=32, num_samples=1)},
    leave_out=("network",),
    folds=one_split(train=0.6, val=0.1, test=0.3),
)
EXPERIMENT = shrink(classify.EXPERIMENT, SMALL)
CLIPS = {"source": "phantom", "patients": 60, "clips": 1, "frames": 2, "size": 64, "masks": "none"}


def count_clips(cell: Trained) -> float:
    """Test clips, which have frames and a label, by the model that predicts them."""
    assert all(row["severity"] is not None and len(row["frames"]) for row in cell.clips)
    assert cell.predictor.task is not None
    return float(len(cell.clips))


def world(name: str, *checks: Check, **clips: object) -> World:
    return World(name, "Brightness tells.", EXPERIMENT, {**CLIPS, **clips}, checks)


GAIN = Difference("auc", "logistic on intensity", "prior on intensity")
ABOVE_CHANCE = Check("Brightness tells the severity", GAIN, least=0.1)
CONTROL = Control(
    claim="Intensity tells the severity.",
    worlds=(
        world(
            "one scanner",
            ABOVE_CHANCE,
            Check(
                "The test part has clips", Measured("logistic on intensity", count_clips), 12, 24
            ),
            scanners="same",
        ),
        world(
            "no labels learned",
            Check(
                "The prior is at chance", Score("auc", "prior on intensity"), least=0.5, most=0.5
            ),
        ),
    ),
    broken={
        "no headroom": world(
            "no headroom", Check("Brightness tells everything", GAIN, least=0.5), scanners="same"
        )
    },
)
