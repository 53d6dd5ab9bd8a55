"""Pictures of what a network saw: examples that nobody picked, and one file for each."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from lus_ray.batches import InMemory
from lus_ray.engine import pictures
from lus_ray.nets import FrameCNN, RegSTN
from lus_ray.tasks import FrameScore
from lus_ray.views import View

VIEW = View(num_frames=1, height=40, width=48, num_samples=0)
TASK = FrameScore(partial(FrameCNN, width=8), view=VIEW)


def row(clip, patient, scores, split="test"):
    return {"clip": clip, "patient": patient, "frame_severity": scores, "split": split}


def chosen(*rows):
    return [(one["clip"], frame) for one, frame in pictures.examples(TASK, rows)]


def test_there_is_a_frame_for_each_score_that_occurs_in_the_order_of_the_scores():
    assert chosen(row("a", "p", [3, 3, 0]), row("b", "q", [2])) == [("a", 2), ("b", 0), ("a", 1)]


def test_the_frame_is_the_middle_one_of_those_with_its_score():
    assert chosen(row("a", "p", [1, 1, 0, 1, 1, 1])) == [("a", 2), ("a", 3)]


def test_patients_are_shown_in_turn_by_the_names_of_their_clips():
    rows = [row(f"c{n}", f"p{n}", [0, 1, 2, 3]) for n in reversed(range(4))]
    assert chosen(*rows) == [("c0", 0), ("c1", 1), ("c2", 2), ("c3", 3)]


def test_a_patient_is_shown_again_only_where_no_other_has_the_score():
    rows = [row("a", "p", [0, 1]), row("b", "p", [1]), row("c", "q", [1])]
    assert chosen(*rows) == [("a", 0), ("c", 0)]
    assert chosen(*rows[:2]) == [("a", 0), ("a", 1)]


def test_clips_that_are_not_tested_or_not_scored_are_never_shown():
    rows = [row("a", "p", [0], "train"), row("b", "q", [0], "val"), row("c", "r", None)]
    assert chosen(*rows) == []


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    rows = [row(f"t/c{n}", f"t/p{n}", [n, n, 3]) for n in range(3)]
    frames = {one["clip"]: rng.integers(0, 255, (3, 40, 48), np.uint8) for one in rows}
    return rows, InMemory({(40, 48): frames})


@pytest.mark.parametrize("net", [FrameCNN, RegSTN])
def test_every_example_has_a_file_and_a_caption_that_says_what_was_said(tmp_path, clips, net):
    torch.manual_seed(0)
    task = FrameScore(partial(net, width=8), view=VIEW).eval()
    rows, pixels = clips
    pictures.draw(task, rows, pixels, tmp_path / "pictures", device="cpu")
    captions = json.loads((tmp_path / "pictures" / "captions.json").read_text())
    assert [c["file"] for c in captions] == ["0.svg", "1.svg", "2.svg", "3.svg"]
    assert [c["example"] for c in captions] == ["t/c0#1", "t/c1#1", "t/c2#1", "t/c0#2"]
    for score, caption in enumerate(captions):
        clip, _, frame = caption["example"].partition("#")
        picture = pixels.frames[40, 48][clip][int(frame)]
        with torch.no_grad():
            said = task.predict(torch.from_numpy(picture / np.float32(255))[None, None])
        (shares,) = said["outputs"]
        best = int(shares.argmax())
        expected = f"score {score}, said {best} with probability {shares[best]:.2f}"
        assert caption["caption"] == expected
        assert (tmp_path / "pictures" / caption["file"]).read_text().startswith("<svg")
    assert len(list((tmp_path / "pictures").iterdir())) == 5


def test_the_same_network_draws_the_same_pictures(tmp_path, clips):
    task = FrameScore(partial(RegSTN, width=8), view=VIEW).eval()
    rows, pixels = clips
    for name in ("one", "two"):
        pictures.draw(task, rows, pixels, tmp_path / name, device="cpu")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_without_a_test_clip_there_is_an_empty_list_of_captions(tmp_path, clips):
    task = FrameScore(partial(FrameCNN, width=8), view=VIEW).eval()
    pictures.draw(task, [], clips[1], tmp_path / "pictures", device="cpu")
    assert json.loads((tmp_path / "pictures" / "captions.json").read_text()) == []
