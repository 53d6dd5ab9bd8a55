"""Each stage gives what the predictor of its checkpoint gives."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lus_ray.clip import frames_of, make
from lus_ray.data import store
from lus_ray.errors import ServeError
from lus_ray.inference import frame_sheets
from lus_ray.inference.stages import Aggregators, Backbone, Experts, Outliner, Scorer
from lus_ray.predictor import Predictor
from lus_ray.tasks.task import to_unit_range
from tests.inference.made_runs import PADDED


@pytest.fixture
def clips(runs):
    """The frames of three stored clips."""
    return [frames_of(row) for row in list(store.read(runs / "clips"))[:3]]


@pytest.fixture
def one(offered):
    """The first model of a kind."""
    return lambda kind: next(model for model in offered if model.kind == kind)


def row(frames):
    return make(frames, clip="t/1", patient="t/1", source="t")


def test_the_backbone_says_what_its_predictor_says(clips, one):
    said, expected = (
        Backbone(one("backbone"))(clips[0]),
        Predictor(one("backbone").folder)(row(clips[0])),
    )
    assert set(said) == {"outputs", "features", "probability"} == set(expected)
    for name, array in expected.items():
        assert said[name] == pytest.approx(array, abs=1e-6)


def test_clips_of_any_size_and_length_in_one_batch_are_answered_as_one_by_one(one):
    rng = np.random.default_rng(0)
    shapes = ((1, 20, 30), (7, 64, 64), (90, 33, 21), (4, 24, 24))
    clips = [rng.integers(0, 255, shape, np.uint8) for shape in shapes]
    backbone = Backbone(one("backbone"))
    for clip, said in zip(clips, backbone.many(clips), strict=True):
        for name, array in backbone(clip).items():
            assert said[name].shape == array.shape
            assert said[name] == pytest.approx(array, abs=1e-5)


def test_experts_are_grouped_by_label_and_each_says_what_its_predictor_says(clips, one, offered):
    experts = [model for model in offered if model.kind == "expert"]
    said = Backbone(one("backbone"))(clips[0])
    severity, ratio = Experts(experts)(said)
    assert [severity[key] for key in ("label", "title")] == ["severity", "Severity"]
    assert [ratio[key] for key in ("label", "title")] == ["sf_ratio", "S/F ratio"]
    assert severity["classes"] == ["0", "1", "2", "3"]
    assert [answer["name"] for answer in severity["answers"]] == ["tree", "tree, cross-fitted"]
    for answer, model in zip([*severity["answers"], *ratio["answers"]], experts, strict=True):
        assert answer["model"] == model.id
        assert answer["probability"] == Predictor(model.folder)(said)["probability"].tolist()


def test_experts_that_are_asked_for_many_clips_say_of_each_what_they_say_of_it_alone(
    clips, one, offered
):
    experts = Experts([model for model in offered if model.kind == "expert"])
    signs = Backbone(one("backbone")).many(clips)
    assert experts.many(signs) == [experts(said) for said in signs]
    assert experts.many([]) == []


def test_frames_are_scored_as_by_the_predictor_and_boxes_lie_where_the_crop_does(clips, one):
    predictor = Predictor(one("frames").folder)
    scored = Scorer(one("frames"))(clips[0])
    assert scored.probability == pytest.approx(predictor(row(clips[0]))["outputs"], abs=1e-6)
    frames = to_unit_range(torch.from_numpy(predictor.task.view.resize(clips[0]))[:, None])
    expected = [look.quads[0] for look in predictor.task.find_attention(frames)]
    assert scored.boxes == pytest.approx(np.stack(expected), abs=1e-6)


def test_aggregators_say_what_their_predictors_say_and_which_elements_are_neutral(
    clips, one, offered
):
    models = [model for model in offered if model.kind == "aggregator"]
    probability = Scorer(one("frames"))(clips[0]).probability
    mean, uninorm = Aggregators(models)(probability)
    for answer, model in zip((mean, uninorm), models, strict=True):
        said = Predictor(model.folder)({"outputs": probability})["probability"]
        assert answer["probability"] == said.tolist()
        assert answer["score"] == said.argmax()
    assert mean["neutral"] is None
    assert len(uninorm["neutral"]) == 4


def test_masks_lie_over_the_frame_without_the_black_that_the_view_adds(clips, one):
    said = Outliner(one("segmenter"))(clips[0])
    whole = Predictor(one("segmenter").folder)(row(clips[0]))["masks"]
    assert whole.shape[1:] == (PADDED.height, PADDED.width) == (20, 30)
    # 64 x 64 becomes 64 x 83: columns 9 to 72 are the frame, 3.3 to 26.4 of the view.
    assert (said["height"], said["width"]) == (20, 23)
    masks = frame_sheets.read(said["sprite"], said["num_frames"])
    assert (masks == whole[:, :, 3:26]).all()
    assert sum(said["share"]) == pytest.approx(1)
    assert said["share"][0] == pytest.approx((masks == 0).mean())
    assert len(said["colours"]) == len(said["classes"]) - 1


def test_frames_that_need_no_black_are_outlined_whole(one):
    frames = np.zeros((2, 40, 52), np.uint8)
    said = Outliner(one("segmenter"))(frames)
    assert (said["height"], said["width"], said["num_frames"]) == (20, 30, 2)


def test_of_a_long_clip_every_second_frame_is_outlined(one):
    frames = np.random.default_rng(0).integers(0, 255, (97, 40, 52), np.uint8)
    outliner = Outliner(one("segmenter"))
    said = outliner(frames)
    assert said["num_frames"] == 49
    assert said["sprite"] == outliner(frames[::2])["sprite"]


def test_uncertainty_is_told_when_it_is_asked_for_and_is_that_of_the_members(clips, one):
    outliner = Outliner(one("segmenter"))
    assert outliner(clips[0])["uncertainty"] is None
    said = outliner(clips[0], num_samples=2)["uncertainty"]
    given = to_unit_range(torch.from_numpy(PADDED.resize(clips[0]))[:, None])
    whole = outliner.predictor.task.estimate_uncertainty(given, num_samples=2)
    assert said == pytest.approx(whole[..., 3:26].mean(axis=(0, 2, 3)), abs=1e-6)
    assert said == Outliner(one("segmenter"), 2)(clips[0])["uncertainty"]


def test_masks_that_are_asked_for_while_dropout_is_sampled_are_those_of_a_network_at_rest(one):
    frames = np.random.default_rng(0).integers(0, 255, (8, 60, 78), np.uint8)
    outliner = Outliner(one("segmenter"))
    alone = outliner(frames)["sprite"]
    with ThreadPoolExecutor(4) as threads:
        said = list(threads.map(lambda n: outliner(frames, num_samples=n), [40, 0, 0, 0] * 4))
    assert {one["sprite"] for one in said} == {alone}
    assert len({tuple(one["uncertainty"]) for one in said if one["uncertainty"]}) == 1


def test_a_model_that_does_not_outline_is_refused(one):
    with pytest.raises(ServeError, match="signs/biomarkers: does not outline"):
        Outliner(one("backbone"))
