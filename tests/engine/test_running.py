"""One cell: whom it learns from, by whom it is judged, and on which frames."""

from functools import partial

import numpy as np
import pytest

from lus_ray.batches import InMemory
from lus_ray.engine import running
from lus_ray.engine import sides as dealing
from lus_ray.experiment import Arm, Recipe, Rows
from lus_ray.folds import Fold
from lus_ray.nets import FrameCNN
from lus_ray.predictor import predict
from lus_ray.tasks import FrameScore
from lus_ray.tasks.frame_score import frame_scores
from lus_ray.views import View

VIEW = View(num_frames=1, height=32, width=32, num_samples=0)
FOLD = Fold(0, train=("t/a",), val=("t/b",), test=("t/c",))


def row(patient, severity=None):
    return {"patient": f"t/{patient}", "severity": severity}


def sides(rows, *clips):
    return [dealing.side_of(rows, clip, FOLD) for clip in clips]


def test_a_clip_is_on_the_side_of_its_patient():
    assert sides(Rows(), row("a"), row("b", 1), row("c")) == ["train", "val", "test"]


def test_clips_without_the_label_that_an_arm_trains_without_can_train_and_nothing_else():
    apart = Rows(train_without="severity")
    assert sides(apart, row("a"), row("b"), row("c")) == ["train", None, None]
    assert sides(apart, row("a", 0), row("b", 0), row("c", 0)) == ["train", "val", "test"]


def test_where_patients_overlap_they_train_whoever_they_are_of():
    overlap = Rows(train_without="severity", overlap=True)
    assert sides(overlap, row("a"), row("b"), row("c")) == ["train"] * 3
    assert sides(overlap, row("a", 0), row("b", 0), row("c", 0)) == ["train", "val", "test"]


def test_an_arm_that_trains_without_a_label_learns_from_the_clips_that_lack_it():
    arm = Arm("frames", FrameScore, rows=Rows(train_without="severity"))
    both = [row("a"), row("a", 2)]
    assert dealing.teaching(arm, both) == ([both[0]], ())
    assert dealing.teaching(Arm("all", FrameScore), both) == (both, ())


def test_where_every_training_clip_has_the_label_all_of_them_teach_and_a_note_says_so():
    arm = Arm("frames", FrameScore, rows=Rows(train_without="severity"))
    chosen, (note,) = dealing.teaching(arm, [row("a", 2)])
    assert chosen == [row("a", 2)]
    assert "every training clip has a severity" in note


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    rows = [
        {"clip": f"t/{n}", "frame_severity": [0, 1, 2, 3, 3, 1, 0], "severity": 3} for n in range(3)
    ]
    frames = {one["clip"]: rng.integers(0, 255, (7, 32, 32), np.uint8) for one in rows}
    return rows, InMemory({(32, 32): frames})


@pytest.mark.parametrize(("num_samples", "seen"), [(0, range(7)), (2, [1, 5]), (7, range(7))])
def test_validation_holds_the_frames_that_it_looks_at_against_their_own_scores(
    clips, num_samples, seen
):
    rows, pixels = clips
    recipe = Recipe(epochs=1, batch=7, lr=1e-3, select="last", val_samples=num_samples)
    make = partial(FrameScore, net=partial(FrameCNN, width=8), view=VIEW)
    arm, task = Arm("cnn", make, recipe, label="frame_severity"), make()
    fitted = running.fit_here(
        task, rows, rows, arm=arm, pixels=pixels, seed=0, report=lambda values: None, device="cpu"
    )
    expected = []
    for one in rows:
        outputs = predict(task, pixels.frames[32, 32][one["clip"]])["outputs"]
        target = [one["frame_severity"][number] for number in seen]
        expected.append({"target": target, "outputs": outputs[list(seen)]})
    assert fitted.scores == pytest.approx(frame_scores(expected))
