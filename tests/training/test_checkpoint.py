"""Checkpoints: every task comes back as it was, and nothing unsafe comes back at all."""

import json
from functools import partial

import numpy as np
import pytest
import skops.io
import torch
from safetensors.torch import save_file
from sklearn.gaussian_process import GaussianProcessClassifier

from lus_ray.clip import MASK_SCHEMES, frames_of, make_row
from lus_ray.data.transforms.view import Track, View
from lus_ray.errors import CheckpointError
from lus_ray.nets import (
    I3D,
    STN,
    TSM,
    ArgmaxMean,
    AttentionPool,
    FrameCNN,
    MarkerUNet,
    MaxArgmax,
    MeanLogit,
    PositionPrior,
    RandomCrops,
    RegSTN,
    ReleasedDeepLab,
    ReleasedUNetPlusPlus,
    ReverseTransfer,
    UNet,
    UNetPlusPlus,
    Uninorm,
    resnet18,
)
from lus_ray.predictor import Predictor, predict
from lus_ray.tasks import (
    BinarySegmentation,
    Biomarkers,
    ClipLabel,
    Ensemble,
    Expert,
    FrameDiagnosis,
    FrameScore,
    IntensityFeatures,
    MatchedSegmentation,
    MergedClasses,
    Segmentation,
    Sifa,
    TranslatedSegmentation,
    VideoScore,
)
from lus_ray.tasks.losses import WIDE_GAP
from lus_ray.tasks.sklearn_expert import EXPERTS, PLAIN
from lus_ray.training import checkpoint

VIEW = View(num_frames=4, height=16, width=16, num_samples=2)
NETWORKS = {
    "biomarkers": partial(Biomarkers, backbone=partial(TSM, width=8), view=VIEW),
    "severity": partial(ClipLabel, backbone=partial(TSM, width=8), label="severity", view=VIEW),
    "i3d": partial(ClipLabel, backbone=I3D, label="disease", view=VIEW),
    "intensity": partial(IntensityFeatures, view=VIEW),
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
    clip = make_row(frames, clip="t/c", patient="t/p", source="t")
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
    copied = checkpoint.initialize_from_checkpoint(task, tmp_path / "c")
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
    scores = expert.fit_rows(rows(), rows(8), seed=0)
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


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "arguments",
    [
        {"label": "severity"},
        {"label": "severity", "backbone": "TSM"},
        {"label": "severity", "backbone": {"net": {"name": "TSM", "arguments": {"width": "8"}}}},
        {"label": "severity", "backbone": {"net": {"name": "TSM", "arguments": {"width": -8}}}},
        {"label": "cats", "backbone": {"net": {"name": "TSM", "arguments": {}}}},
        {"label": [], "backbone": {"net": {"name": "TSM", "arguments": {}}}},
        {"label": "severity", "backbone": {"net": {"name": "TSM", "arguments": {}}}, "view": 3},
    ],
)
def test_arguments_that_are_missing_or_of_another_kind_are_one_line(tmp_path, arguments):
    folder = saved(tmp_path)
    rewrite(folder, name="ClipLabel", arguments=arguments)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(folder)
    assert str(caught.value).startswith(f"{folder}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", [{}, {"name": 3, "arguments": {}}, {"name": "Expert"}])
def test_a_task_file_without_a_task_is_one_line(tmp_path, task):
    folder = saved(tmp_path)
    (folder / "task.json").write_text(json.dumps({"task": task}))
    with pytest.raises(CheckpointError, match=r"no readable task\.json"):
        checkpoint.read_description(folder)


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
    expert.fit_rows(rows(), [], seed=0)
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
    copied = checkpoint.initialize_from_checkpoint(task, tmp_path / "c")
    source = checkpoint.load(tmp_path / "c")
    assert torch.equal(task.net.conv1.weight, source.net.conv1.weight)
    assert torch.equal(task.net.fc.weight, head)
    assert not any(name.startswith("fc.") for name in copied)


OUTLINE = View(num_frames=1, height=40, width=60, num_samples=0, bicubic=True)
outlining = partial(Segmentation, view=OUTLINE)
colours = {"channels": 3, "centred": True, "monitor": "union_dice", "smooth": 3}
MASKS = {
    "dense": partial(outlining, scheme="dense", net=partial(UNet, widths=(4, 8))),
    "bline": partial(
        outlining, scheme="bline", net=partial(UNet, widths=[4, 8], dropout=0.5, bias=True),
        monitor="dice",
    ),
    "place": partial(outlining, scheme="sparse", net=partial(PositionPrior, rows=4, columns=4)),
    "markers": partial(
        outlining, scheme="markers", net=partial(ReleasedUNetPlusPlus, width=8), **colours
    ),
    "boosted": partial(
        outlining, scheme="markers", net=partial(ReleasedDeepLab, width=8),
        boost=(1, 1, 8, 8, 1), **colours,
    ),
}  # fmt: skip
bline_unet = partial(UNet, widths=(4, 8), dropout=0.5, bias=True)
MASKS |= {
    "outline": partial(BinarySegmentation, net=bline_unet, view=OUTLINE),
    "two outputs": partial(
        BinarySegmentation, net=bline_unet, num_outputs=2, view=OUTLINE, centred=True
    ),
    "histogram": partial(MatchedSegmentation, net=bline_unet, view=OUTLINE),
    "fourier": partial(
        MatchedSegmentation, net=bline_unet, how="fourier", num_outputs=2, view=OUTLINE
    ),
}
MASKS["ensemble"] = partial(
    Ensemble,
    members=(
        MASKS["markers"],
        MASKS["boosted"],
        partial(outlining, scheme="markers", net=partial(MarkerUNet, width=4), **colours),
    ),
    boost=(1, 1, 2, 2, 2),
)
DIAGNOSIS = partial(FrameDiagnosis, view=OUTLINE, net=partial(ReverseTransfer, widths=(4, 8)))


def outlined_clip():
    frames = np.random.default_rng(0).integers(0, 255, (3, 40, 60), np.uint8)
    return make_row(frames, clip="t/c", patient="t/p", source="t")


def stirred(factory):
    """A task with parameters that no constructor gives."""
    torch.manual_seed(0)
    task = factory()
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return task.eval()


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_the_same_bits_after_a_round_trip(tmp_path, name):
    factory = MASKS[name]
    task = stirred(factory)
    checkpoint.save(tmp_path / "c", task, checkpoint.describe(factory), seed=0)
    loaded, clip = Predictor(tmp_path / "c"), outlined_clip()
    said = loaded(clip)["masks"]
    assert said.shape == (3, 40, 60)
    assert np.array_equal(said, predict(task, frames_of(clip))["masks"])
    frames = torch.from_numpy(frames_of(clip))[:, None] / 255
    one, two = (torch.cat(list(t.predict_probabilities(frames))) for t in (task, loaded.task))
    assert torch.equal(one, two)
    about = ("scheme", "view", "monitor", "boost", "smooth", "channels", "centred", "classes")
    assert all(getattr(task, field) == getattr(loaded.task, field) for field in about)


def test_how_frames_are_matched_and_how_many_outputs_there_are_are_kept(tmp_path):
    factory = MASKS["fourier"]
    checkpoint.save(tmp_path / "c", factory(), checkpoint.describe(factory), seed=0)
    loaded = checkpoint.load(tmp_path / "c")
    assert (loaded.how, loaded.num_outputs) == ("fourier", 2)


def test_diagnoses_are_the_same_bits_after_a_round_trip(tmp_path):
    task = stirred(DIAGNOSIS)
    checkpoint.save(tmp_path / "c", task, checkpoint.describe(DIAGNOSIS), seed=0)
    loaded, clip = Predictor(tmp_path / "c"), outlined_clip()
    one, two = predict(task, frames_of(clip)), loaded(clip)
    assert one.keys() == two.keys() == {"outputs", "probability"}
    assert all(np.array_equal(one[key], two[key]) for key in one)


def test_collapsed_counts_need_no_weights(tmp_path):
    factory = partial(MergedClasses, source="dense", scheme="sparse")
    checkpoint.save(tmp_path / "c", factory(), checkpoint.describe(factory), seed=0)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["task.json"]
    loaded = Predictor(tmp_path / "c")
    counts = np.arange(2 * 49).reshape(2, 49)
    said, expected = loaded({"counts": counts}), factory().predict({"counts": counts})
    assert np.array_equal(said["counts"], expected["counts"])
    assert loaded.task.classes == MASK_SCHEMES["sparse"]


def test_members_are_described_within_the_task_that_joins_them(tmp_path):
    described = checkpoint.describe(MASKS["ensemble"])
    members = described["arguments"]["members"]
    assert [member["task"]["name"] for member in members] == ["Segmentation"] * 3
    assert json.loads(json.dumps(described)) == described
    again = checkpoint.build(described)
    assert [type(m.net).__name__ for m in again.net] == [
        "ReleasedUNetPlusPlus", "ReleasedDeepLab", "MarkerUNet",
    ]  # fmt: skip


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "member",
    [
        {"task": {"name": "system", "arguments": {}}},
        {"task": {"name": "Segmentation", "arguments": {"net": {"net": {"name": "eval"}}}}},
        {"task": 3},
    ],
)
def test_a_member_can_be_a_task_of_the_package_only(member):
    with pytest.raises(CheckpointError):
        checkpoint.build({"name": "Ensemble", "arguments": {"members": [member]}})


@pytest.mark.parametrize(("scheme", "with_head"), [("dense", True), ("sparse", False)])
def test_a_segmenter_goes_on_from_one_with_its_last_layer_where_the_scheme_is_its_own(
    tmp_path, scheme, with_head
):
    earlier = stirred(MASKS["dense"])
    checkpoint.save(tmp_path / "c", earlier, checkpoint.describe(MASKS["dense"]), seed=0)
    task = stirred(partial(MASKS["dense"], scheme=scheme))
    head = task.net.out.weight.clone()
    copied = checkpoint.initialize_from_checkpoint(task, tmp_path / "c")
    assert ("out.weight" in copied) == with_head
    own = earlier.net.out.weight if with_head else head
    assert torch.equal(task.net.out.weight, own)
    assert torch.equal(task.net.descent[0][0][0].weight, earlier.net.descent[0][0][0].weight)


def test_an_outline_goes_on_from_one_of_another_domain_whole(tmp_path):
    earlier = stirred(MASKS["outline"])
    checkpoint.save(tmp_path / "c", earlier, checkpoint.describe(MASKS["outline"]), seed=0)
    task = MASKS["outline"]()
    checkpoint.initialize_from_checkpoint(task, tmp_path / "c")
    state = earlier.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in task.state_dict().items())


def test_a_file_of_weights_is_for_the_encoder_of_a_segmenter_that_has_one(tmp_path):
    factory = partial(
        outlining, scheme="dense", channels=3,
        net=partial(UNetPlusPlus, encoder="resnet18", width=8),
    )  # fmt: skip
    torch.manual_seed(0)
    source = resnet18(num_outputs=4, width=8)
    save_file(source.state_dict(), tmp_path / "encoder.safetensors")
    task = factory()
    decoder = {n: v.clone() for n, v in task.net.state_dict().items() if "encoder" not in n}
    checkpoint.initialize_from(task, tmp_path / "encoder.safetensors")
    given = source.state_dict()
    for name, value in task.net.encoder.state_dict().items():
        assert torch.equal(value, given[name]), name
    own = task.net.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in decoder.items())


@pytest.mark.parametrize("old", checkpoint.RENAMED)
def test_a_checkpoint_with_an_old_name_loads(old, tmp_path):
    tasks = {
        "Collapsed": partial(MergedClasses, source="dense", scheme="sparse"),
        "Intensity": partial(IntensityFeatures, view=VIEW),
        "Matched": partial(MatchedSegmentation, net=partial(UNet, widths=(4, 8))),
        "Outline": partial(BinarySegmentation, net=partial(UNet, widths=(4, 8))),
        "Translated": partial(TranslatedSegmentation, members=(partial(Sifa, num_units=1),)),
    }
    factory = tasks[old]
    assert factory.func.__name__ == checkpoint.RENAMED[old]
    checkpoint.save(tmp_path / "c", factory(), checkpoint.describe(factory), seed=0)
    path = tmp_path / "c" / "task.json"
    path.write_text(path.read_text().replace(f'"{checkpoint.RENAMED[old]}"', f'"{old}"'))
    assert isinstance(checkpoint.load(tmp_path / "c"), factory.func)
    assert checkpoint.read_description(tmp_path / "c") == checkpoint.describe(factory)
