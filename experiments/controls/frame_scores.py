"""Control of `frame_scores`: a crop with a learned position leaves out misleading clutter.

Claim   A regularised spatial transformer finds where the score is visible, and scores frames better
        than the same network on whole frames.
Worlds  48 patients of 48 frames of 48 x 48 pixels. A faint mark at the left shows the score; spots
        at the top identify the patient, whose frames all have one score. The edge of the first crop
        goes through the mark. In the twin the whole frame shows the score, and there are no spots.
Recipe  1,100 steps at thirty times the published rate, twice that for the localiser. The rate rises
        over a quarter of them: a crop that moves before the scores are learnt drifts away.
Time    Three minutes on two cores.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from experiments import frame_scores
from lus_ray.clip import frames_of, masks_of
from lus_ray.control import Check, Control, Difference, Measured, Score, Trained, World
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Size, shrink
from lus_ray.folds import one_split
from lus_ray.tasks.task import to_unit_range

CROPS, PLAIN = "reg-stn-sord", "cnn-sord"

SIZE = Size(
    recipe={
        "epochs": 22, "batch": 16, "lr": 3e-3, "l2": 0.0, "milestones": (), "warmup": 0.25,
        "cosine": True, "draws": 800, "select": "last", "augment": None, "gpus": 0,
    },
    net={"width": 8},
    task={"view": View(num_frames=1, height=48, width=48, num_samples=0), "localiser": 2.0},
    folds=one_split(train=0.5, val=0, test=0.5),
)  # fmt: skip
EXPERIMENT = shrink(frame_scores.EXPERIMENT.only((PLAIN, CROPS)), SIZE)
FROZEN = shrink(EXPERIMENT, Size(task={"localiser": 0.0}))


def find_marks(trained: Trained) -> float:
    """The share of test frames whose whole mark is inside the small crop."""
    task, found = trained.predictor.task, []
    for clip in trained.clips:
        masks = masks_of(clip)
        assert masks is not None
        frames = torch.from_numpy(task.view.resize(frames_of(clip))[:, None])
        attention = task.find_attention(to_unit_range(frames))
        found += [is_inside(m > 0, a.quads[0]) for m, a in zip(masks, attention, strict=True)]
    return float(np.mean(found))


def is_inside(mark: Bool[np.ndarray, "H W"], quad: Float[np.ndarray, "4 2"]) -> bool:
    """Whether a crop (corners as fractions of the frame) contains every pixel of the mark."""
    rows, columns = np.nonzero(mark)
    height, width = mark.shape
    points = np.stack([(columns + 0.5) / width, (rows + 0.5) / height], axis=1)
    edges = np.stack([quad[1] - quad[0], quad[3] - quad[0]], axis=1)
    shares = np.linalg.solve(edges, (points - quad[0]).T)
    return bool(((shares >= 0) & (shares <= 1)).all())


MARKS = World(
    "marks",
    "The score is a faint mark that the first crop cuts, and spots elsewhere mislead.",
    EXPERIMENT,
    {"world": "marks"},
    (
        Check(
            "The small crop contains the whole mark in four of five test frames.",
            Measured(CROPS, find_marks),
            least=0.8,
        ),
        Check(f"{CROPS} beats {PLAIN}.", Difference("accuracy", CROPS, PLAIN), least=0.05),
    ),
)
SPREAD = World(
    "spread",
    "The score is spread over the frame: a crop has nothing to leave out.",
    EXPERIMENT,
    {"world": "marks", "spread": True},
    (
        Check("The network on whole frames learns the score.", Score("accuracy", PLAIN), least=0.8),
        Check(f"{CROPS} does not beat {PLAIN}.", Difference("accuracy", CROPS, PLAIN), most=0.05),
    ),
)

CONTROL = Control(
    claim="Regularised crops find where the score is visible, and beat whole frames.",
    worlds=(MARKS, SPREAD),
    broken={
        "frozen crop": replace(
            MARKS, name="frozen", text="The crop stays where it starts.", experiment=FROZEN
        )
    },
)
