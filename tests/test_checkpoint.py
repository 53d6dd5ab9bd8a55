"""Checkpoints: every task comes back as it was, and nothing unsafe comes back at all."""

import json
from functools import partial

import numpy as np
import pytest
import skops.io
import torch
from sklearn.gaussian_process import GaussianProcessClassifier

from lus_ray import checkpoint
from lus_ray.clip import make
from lus_ray.errors import CheckpointError
from lus_ray.nets import (
    I3D,
    STN,
    TSM,
    ArgmaxMean,
    AttentionPool,
    FrameCNN,
    MaxArgmax,
    MeanLogit,
    RandomCrops,
    RegSTN,
    Uninorm,
    resnet18,
)
from lus_ray.predictor import Predictor, predict
from lus_ray.tasks import Biomarkers, ClipLabel, Expert, FrameScore, Intensity, VideoScore
from lus_ray.tasks.expert import EXPERTS, PLAIN
from lus_ray.tasks.sord import WIDE_GAP
from lus_ray.views import Track, View

VIEW = View(num_frames=4, height=16, width=16, num_samples=2)
NETWORKS = {
    "biomarkers": partial(Biomarkers, backbone=partial(TSM, width=8), view=VIEW),
    "severity": partial(ClipLabel, backbone=partial(TSM, width=8), label="severity", view=VIEW),
    "i3d": partial(ClipLabel, backbone=I3D, label="disease", view=VIEW),
    "intensity": partial(Intensity, view=VIEW),
}

FRAME = View(num_frames=1, height=40, width=48, num_samples=0)
own_translation = partial(RegSTN, width=8, own_translation=True)
FRAME_SCORES = {
    "cnn": partial(FrameScore, net=partial(FrameCNN, width=8), loss="cross-entropy"),
    "resnet18": partial(FrameScore, net=partial(resnet18, width=8)),
    "stn": partial(FrameScore, net=partial(STN, width=8)),
    "random crops": partial(FrameScore, net=partial(RandomCrops, width=8)),
    "reg-stn": partial(FrameScore, net=partial(RegSTN, width=8), positions=WIDE_GAP),
    "fixed scale": partial(FrameScore, net=partial(RegSTN, width=8, transform="fixed scale")),
    "own translation": partial(FrameScore, net=own_translation, consistency=0.5),
}
VIDEO_SCORES = {
    "max-argmax": partial(VideoScore, aggregator=MaxArgmax),
    "argmax-mean": partial(VideoScore, aggregator=ArgmaxMean),
    "mean-logit": partial(VideoScore, aggregator=MeanLogit),
    "attention": partial(VideoScore, aggregator=partial(AttentionPool, num_hidden=3)),
    "uninorm": partial(VideoScore, aggregator=Uninorm),
    "8 frames": partial(VideoScore, aggregator=Uninorm, track=Track(max_frames=8)),
    "lukasiewicz": partial(
        VideoScore, aggregator=partial(Uninorm, t_norm="lukasiewicz", off_diagonal="max")
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_predicts_the_same_bits_after_a_round_trip(tmp_path, name):
    torch.manual_seed(0)
    task = NETWORKS[name]().eval()
    checkpoint.save(tmp_path / "c", task, checkpoint.describe(NETWORKS[name]), seed=0)
    frames = np.random.default_rng(0).integers(0, 255, (6, 16, 16), np.uint8)
    one, two = predict(task, frames), predict(Predictor(tmp_path / "c").task, frames)
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", FRAME_SCORES)
def test_scores_of_frames_are_the_same_bits_after_a_round_trip(tmp_path, name):
    torch.manual_seed(0)
    factory = partial(FRAME_SCORES[name], view=FRAME)
    task = factory().eval()
    checkpoint.save(tmp_path / "c", task, checkpoint.describe(factory), seed=0)
    loaded = Predictor(tmp_path / "c")
    frames = np.random.default_rng(0).integers(0, 255, (5, 40, 48), np.uint8)
    clip = make(frames, clip="t/c", patient="t/p", source="t")
    one, two = predict(task, frames), loaded(clip)
    assert one["outputs"].shape == (5, 4)
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert torch.equal(task.targets, loaded.task.targets)
    assert loaded.task.view == FRAME
    assert loaded.task.consistency == task.consistency


@pytest.mark.parametrize("name", VIDEO_SCORES)
def test_scores_of_clips_are_the_same_bits_after_a_round_trip(tmp_path, name):
    torch.manual_seed(0)
    factory = VIDEO_SCORES[name]
    task = factory().eval()
    if name in ("uninorm", "8 frames", "lukasiewicz"):
        with torch.no_grad():
            task.net.neutral.copy_(torch.tensor([0.1, 0.2, 1 / 3, 0.9], dtype=torch.float64))
    checkpoint.save(tmp_path / "c", task, checkpoint.describe(factory), seed=0)
    loaded = Predictor(tmp_path / "c")
    outputs = np.random.default_rng(0).dirichlet([1, 1, 1, 1], 20)
    one = predict(task, torch.from_numpy(task.view.sample(outputs)))
    two = loaded({"outputs": outputs.tolist()})
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert loaded.task.view == task.view
    assert torch.equal(task.targets, loaded.task.targets)
    state, again = task.state_dict(), loaded.task.state_dict()
    assert all(torch.equal(state[key], again[key]) for key in state)


def test_a_track_that_is_none_is_refused(tmp_path):
    factory = VIDEO_SCORES["uninorm"]
    checkpoint.save(tmp_path / "c", factory(), checkpoint.describe(factory), seed=0)
    rewrite(tmp_path / "c", arguments={"track": {"track": {"frames": 3}}})
    with pytest.raises(CheckpointError, match="not a view"):
        checkpoint.load(tmp_path / "c")


def test_a_network_of_frames_begins_with_the_weights_of_an_earlier_one(tmp_path):
    factory = partial(FRAME_SCORES["cnn"], view=FRAME)
    torch.manual_seed(1)
    checkpoint.save(tmp_path / "c", factory(), checkpoint.describe(factory), seed=0)
    torch.manual_seed(2)
    task = factory()
    copied = checkpoint.start_from(task, tmp_path / "c")
    assert set(copied) == {name for name, _ in task.net.named_parameters()} | {
        name for name, _ in task.net.named_buffers()
    }
    source = checkpoint.load(tmp_path / "c")
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in task.state_dict().items())


def rows(num=40):
    rng = np.random.default_rng(0)
    return [
        {"severity": int(n % 4), "outputs": (rng.random((2, 38)) + n % 4).tolist()}
        for n in range(num)
    ]


@pytest.mark.parametrize("kind", [*EXPERTS, *PLAIN])
def test_an_expert_predicts_the_same_after_a_round_trip(tmp_path, kind):
    factory = partial(Expert, kind=kind, label="severity", fits=2)
    expert = factory()
    scores = expert.learn(rows(), rows(8), seed=0)
    assert 0 <= scores["score"] <= 1
    checkpoint.save(tmp_path / "c", expert, checkpoint.describe(factory), seed=0)
    loaded = Predictor(tmp_path / "c")
    for row in rows(8):
        one, two = expert.predict(row), loaded(row)
        assert one["probability"] == pytest.approx(two["probability"], abs=0)
        assert one["probability"].sum() == pytest.approx(1, abs=1e-5)


def saved(tmp_path):
    factory = NETWORKS["severity"]
    checkpoint.save(tmp_path / "c", factory(), checkpoint.describe(factory), seed=0)
    return tmp_path / "c"


def rewrite(folder, **changes):
    about = json.loads((folder / "task.json").read_text())
    about["task"].update(changes)
    (folder / "task.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "system"},
        {"name": "os.system"},
        {"arguments": {"backbone": {"net": {"name": "eval", "arguments": {}}}}},
        {"arguments": {"surprise": 1}},
        {"arguments": {"view": {"view": {"colour": 1}}}},
        {"arguments": 3},
    ],
)
def test_a_task_file_can_name_tasks_and_networks_of_the_package_only(tmp_path, changes):
    folder = saved(tmp_path)
    rewrite(folder, **changes)
    with pytest.raises(CheckpointError):
        checkpoint.load(folder)


def test_weights_of_another_network_are_refused(tmp_path):
    folder = saved(tmp_path)
    other = checkpoint.describe(NETWORKS["biomarkers"])
    rewrite(folder, **other)
    with pytest.raises(CheckpointError, match="do not fit"):
        checkpoint.load(folder)


def test_a_missing_or_cut_file_says_which_and_what_to_do(tmp_path):
    folder = saved(tmp_path)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        checkpoint.load(folder)
    (folder / "task.json").unlink()
    with pytest.raises(CheckpointError, match=r"task\.json"):
        checkpoint.load(folder)


def test_an_estimator_of_a_type_that_is_not_trusted_is_refused(tmp_path):
    factory = partial(Expert, kind="DT", label="severity")
    expert = factory()
    expert.learn(rows(), [], seed=0)
    checkpoint.save(tmp_path / "c", expert, checkpoint.describe(factory), seed=0)
    stranger = GaussianProcessClassifier().fit(np.eye(4), [0, 1, 0, 1])
    skops.io.dump(stranger, tmp_path / "c" / "expert.skops")
    with pytest.raises(CheckpointError, match="not trusted"):
        checkpoint.load(tmp_path / "c")


def test_an_argument_without_a_json_form_is_refused():
    with pytest.raises(CheckpointError, match="label"):
        checkpoint.describe(partial(ClipLabel, backbone=TSM, label=object()))


def test_starting_weights_change_all_but_the_last_layer(tmp_path):
    factory = NETWORKS["biomarkers"]
    torch.manual_seed(1)
    checkpoint.save(tmp_path / "c", factory(), checkpoint.describe(factory), seed=0)
    torch.manual_seed(2)
    task = NETWORKS["severity"]()
    head = task.net.fc.weight.clone()
    copied = checkpoint.start_from(task, tmp_path / "c")
    source = checkpoint.load(tmp_path / "c")
    assert torch.equal(task.net.conv1.weight, source.net.conv1.weight)
    assert torch.equal(task.net.fc.weight, head)
    assert not any(name.startswith("fc.") for name in copied)
