"""Each stage predicts what the predictor of its checkpoint predicts."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lus_ray.clip import frames_of, make_row
from lus_ray.data import store
from lus_ray.errors import ServeError
from lus_ray.inference import frame_sheets
from lus_ray.inference.stages import (
    AggregatorsStage,
    BackboneStage,
    ExpertsStage,
    ScorerStage,
    SegmenterStage,
)
from lus_ray.predictor import Predictor
from lus_ray.tasks.task import to_unit_range
from tests.inference.fixture_runs import PADDED

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def clips(runs):
    return [frames_of(row) for row in list(store.read(runs / "clips"))[:3]]


@pytest.fixture(scope="module")
def by_kind(models):
    return {m.kind: [model for model in models if model.kind == m.kind] for m in models}


@pytest.fixture(scope="module")
def backbone(by_kind):
    return BackboneStage(by_kind["backbone"][0])


@pytest.fixture(scope="module")
def segmenter(by_kind):
    return SegmenterStage(by_kind["segmenter"][0])


def predict(model, frames):
    return Predictor(model.folder)(make_row(frames, clip="t/1", patient="t/1", source="t"))


def noise(*shape):
    return RNG.integers(0, 255, shape, np.uint8)


def test_the_backbone_predicts_what_its_predictor_predicts(clips, by_kind, backbone):
    outputs, expected = backbone(clips[0]), predict(by_kind["backbone"][0], clips[0])
    assert set(outputs) == {"outputs", "features", "probability"} == set(expected)
    for name, array in expected.items():
        assert outputs[name] == pytest.approx(array, abs=1e-6)


def test_clips_of_any_size_and_length_in_one_batch_are_predicted_as_one_by_one(backbone):
    clips = [noise(*shape) for shape in ((1, 20, 30), (7, 64, 64), (90, 33, 21), (4, 24, 24))]
    for clip, outputs in zip(clips, backbone.predict_batch(clips), strict=True):
        for name, array in backbone(clip).items():
            assert outputs[name].shape == array.shape
            assert outputs[name] == pytest.approx(array, abs=1e-5)


def test_experts_are_grouped_by_label_and_agree_with_their_predictors(clips, by_kind, backbone):
    outputs = backbone(clips[0])
    severity, ratio = ExpertsStage(by_kind["expert"])(outputs)
    assert [group.label for group in (severity, ratio)] == ["severity", "sf_ratio"]
    assert [group.title for group in (severity, ratio)] == ["Severity", "S/F ratio"]
    assert severity.classes == ["0", "1", "2", "3"]
    assert [expert.name for expert in severity.answers] == ["tree", "tree, cross-fitted"]
    experts = [*severity.answers, *ratio.answers]
    for expert, model in zip(experts, by_kind["expert"], strict=True):
        assert expert.model == model.id
        assert expert.probability == Predictor(model.folder)(outputs)["probability"].tolist()


def test_experts_predict_many_clips_as_one_by_one(clips, by_kind, backbone):
    experts = ExpertsStage(by_kind["expert"])
    outputs = backbone.predict_batch(clips)
    assert experts.predict_batch(outputs) == list(map(experts, outputs))
    assert experts.predict_batch([]) == []


def test_frames_are_scored_as_by_the_predictor_and_boxes_are_its_crops(clips, by_kind):
    (model,) = by_kind["frames"]
    outputs, task = ScorerStage(model)(clips[0]), Predictor(model.folder).task
    expected = predict(model, clips[0])["outputs"]
    assert outputs.probability == pytest.approx(expected, abs=1e-6)
    frames = to_unit_range(torch.from_numpy(task.view.resize(clips[0]))[:, None])
    corners = np.stack([look.quads[0] for look in task.find_attention(frames)])
    assert outputs.boxes == pytest.approx(corners, abs=1e-6)


def test_aggregators_agree_with_their_predictors_and_give_neutral_elements(clips, by_kind):
    probability = ScorerStage(by_kind["frames"][0])(clips[0]).probability
    scores = AggregatorsStage(by_kind["aggregator"])(probability)
    for score, model in zip(scores, by_kind["aggregator"], strict=True):
        expected = Predictor(model.folder)({"outputs": probability})["probability"]
        assert score.probability == expected.tolist()
        assert score.score == expected.argmax()
    mean, uninorm = scores
    assert mean.neutral is None
    assert len(uninorm.neutral) == 4


def test_masks_cover_the_frame_without_the_padding_of_the_view(clips, by_kind, segmenter):
    sheet, padded = segmenter(clips[0]), predict(by_kind["segmenter"][0], clips[0])["masks"]
    assert padded.shape[1:] == (PADDED.height, PADDED.width) == (20, 30)
    # 64 x 64 becomes 64 x 83: columns 9 to 72 are the frame, 3.3 to 26.4 of the view.
    assert (sheet.height, sheet.width) == (20, 23)
    masks = frame_sheets.decode_sheet(sheet.sprite, sheet.num_frames)
    assert (masks == padded[:, :, 3:26]).all()
    assert sum(sheet.share) == pytest.approx(1)
    assert sheet.share[0] == pytest.approx((masks == 0).mean())
    assert len(sheet.colours) == len(sheet.classes) - 1


def test_frames_without_padding_are_segmented_whole_and_every_second_of_many(segmenter):
    frames = noise(97, 40, 52)
    sheet = segmenter(frames)
    assert (sheet.height, sheet.width, sheet.num_frames) == (20, 30, 49)
    assert sheet.sprite == segmenter(frames[::2]).sprite


def test_uncertainty_comes_on_request_and_is_that_of_the_members(clips, by_kind, segmenter):
    assert segmenter(clips[0]).uncertainty is None
    uncertainty = segmenter(clips[0], num_samples=2).uncertainty
    frames = to_unit_range(torch.from_numpy(PADDED.resize(clips[0]))[:, None])
    padded = segmenter.predictor.task.estimate_uncertainty(frames, num_samples=2)
    assert uncertainty == pytest.approx(padded[..., 3:26].mean(axis=(0, 2, 3)), abs=1e-6)
    assert uncertainty == SegmenterStage(by_kind["segmenter"][0], 2)(clips[0]).uncertainty


def test_sampling_dropout_does_not_disturb_masks_of_other_threads(segmenter):
    frames = noise(8, 60, 78)
    alone = segmenter(frames).sprite
    with ThreadPoolExecutor(4) as threads:
        sheets = list(threads.map(lambda n: segmenter(frames, num_samples=n), [20, 0, 0, 0] * 3))
    assert {sheet.sprite for sheet in sheets} == {alone}
    assert len({tuple(sheet.uncertainty) for sheet in sheets if sheet.uncertainty}) == 1


def test_a_model_that_is_not_a_segmenter_is_rejected(by_kind):
    with pytest.raises(ServeError, match="labels/biomarkers: is not a segmenter"):
        SegmenterStage(by_kind["backbone"][0])
