"""Checkpoints: every task is restored bit for bit, and nothing unsafe is loaded."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.dummy import DummyClassifier
from sklearn.gaussian_process import GaussianProcessClassifier

from lus_ray import nets, tasks
from lus_ray.clip import MASK_SCHEMES, frames_of, make_row
from lus_ray.data.transforms.view import Track, View
from lus_ray.errors import CheckpointError
from lus_ray.nets import TSM, FrameCNN, RegSTN, Uninorm
from lus_ray.predictor import Predictor, predict
from lus_ray.tasks.losses import WIDE_GAP
from lus_ray.tasks.sklearn_expert import EXPERTS, PLAIN
from lus_ray.training import checkpoint, description, estimators

CLIP = View(num_frames=4, height=16, width=16, num_samples=2)
FRAME = View(num_frames=1, height=40, width=60, num_samples=0, bicubic=True)

tsm = partial(TSM, width=8)
i3d = partial(nets.I3D, width=8, layers=(1, 1, 1, 1))
sifa = partial(tasks.Sifa, net=partial(nets.SifaSegmenter, width=1), num_units=1)
severity = partial(tasks.ClipLabel, backbone=tsm, label="severity", view=CLIP)
biomarkers = partial(tasks.Biomarkers, backbone=tsm, view=CLIP)

scores = partial(tasks.FrameScore, view=FRAME)
cnn = partial(scores, net=partial(FrameCNN, width=8), loss="cross-entropy")
unet = partial(nets.UNet, widths=(4, 8))
bline_unet = partial(unet, dropout=0.5, bias=True)
segmentation = partial(tasks.Segmentation, view=FRAME)
dense = partial(segmentation, scheme="dense", net=unet)
markers = partial(
    segmentation, scheme="markers", channels=3, centred=True, monitor="union_dice", smooth=3
)
members = (
    partial(markers, net=partial(nets.ReleasedUNetPlusPlus, width=8)),
    partial(markers, net=partial(nets.ReleasedDeepLab, width=8), boost=(1, 1, 8, 8, 1)),
    partial(markers, net=partial(nets.MarkerUNet, width=4)),
)
ensemble = partial(tasks.Ensemble, members=members, boost=(1, 1, 2, 2, 2))
binary = partial(tasks.BinarySegmentation, net=bline_unet, view=FRAME)
matched = partial(tasks.MatchedSegmentation, net=bline_unet, view=FRAME)
fourier = partial(matched, how="fourier", num_outputs=2)
video = partial(tasks.VideoScore, aggregator=Uninorm)

TASKS = {
    "biomarkers": biomarkers,
    "severity": severity,
    "i3d": partial(tasks.ClipLabel, backbone=i3d, label="disease", view=CLIP),
    "intensity": partial(tasks.IntensityFeatures, view=CLIP),
    "cnn": cnn,
    "resnet18": partial(scores, net=partial(nets.resnet18, width=8)),
    "random crops": partial(scores, net=partial(nets.RandomCrops, width=8)),
    "reg-stn": partial(scores, net=partial(RegSTN, width=8), positions=WIDE_GAP),
    "own translation": partial(
        scores, net=partial(RegSTN, width=8, own_translation=True), consistency=0.5
    ),
    "attention": partial(video, aggregator=partial(nets.AttentionPool, num_hidden=3)),
    "uninorm": video,
    "8 frames": partial(video, track=Track(max_frames=8)),
    "dense": dense,
    "place": partial(
        segmentation, scheme="sparse", net=partial(nets.PositionPrior, rows=4, columns=4)
    ),
    "ensemble": ensemble,
    "binary": binary,
    "histogram": matched,
    "fourier": fourier,
    "diagnosis": partial(
        tasks.FrameDiagnosis, view=FRAME, net=partial(nets.ReverseTransfer, widths=(4, 8))
    ),
}
FIELDS = ("view", "label", "classes", "monitor", "scheme", "boost", "smooth", "channels", "centred",
          "num_outputs", "how", "consistency", "prior", "localiser")  # fmt: skip


def save(folder, factory, task=None):
    """Write a checkpoint; its task."""
    task, description = task or make(factory), checkpoint.describe(factory)
    assert json.loads(json.dumps(description)) == description
    checkpoint.save(folder, task, description, seed=0)
    return task


def make(factory, seed=0):
    torch.manual_seed(seed)
    task = factory()
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(0.01 * torch.rand_like(parameter))
    return task.eval()


def input_of(task):
    rng = np.random.default_rng(0)
    if isinstance(task.view, Track):
        return {"outputs": rng.dirichlet([1, 1, 1, 1], 20).tolist()}
    frames = rng.integers(0, 255, (3, task.view.height, task.view.width), np.uint8)
    return make_row(frames, clip="t/c", patient="t/p", source="t")


def assert_equal(tensors, expected):
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in tensors)


@pytest.mark.parametrize("name", TASKS)
def test_a_restored_task_has_the_same_settings_weights_and_predictions(tmp_path, name):
    factory = TASKS[name]
    task = save(tmp_path / "c", factory)
    loaded = Predictor(tmp_path / "c")
    assert type(loaded.task) is type(task)
    for field in FIELDS:
        assert getattr(loaded.task, field, None) == getattr(task, field, None), field
    assert_equal(loaded.task.state_dict(), task.state_dict())
    assert_equal(dict(loaded.task.named_buffers()), dict(task.named_buffers()))
    row = input_of(task)
    if isinstance(task.view, Track):
        expected = predict(task, torch.from_numpy(task.view.sample(np.array(row["outputs"]))))
    else:
        expected = predict(task, frames_of(row))
    prediction = loaded(row)
    assert prediction.keys() == expected.keys()
    assert all(np.array_equal(prediction[key], expected[key]) for key in expected)
    if task.scheme:
        frames = torch.from_numpy(frames_of(row))[:, None] / 255
        pair = (task, loaded.task)
        assert torch.equal(*(torch.cat(list(t.predict_probabilities(frames))) for t in pair))


def rows(num=40):
    rng = np.random.default_rng(0)
    return [
        {"severity": int(n % 4), "outputs": (rng.random((2, 38)) + n % 4).tolist()}
        for n in range(num)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*EXPERTS, *PLAIN])
def test_a_restored_expert_predicts_the_same(tmp_path, kind):
    factory = partial(tasks.Expert, kind=kind, label="severity", fits=2)
    expert = factory()
    assert 0 <= expert.fit_rows(rows(), rows(8), seed=0)["score"] <= 1
    save(tmp_path / "c", factory, expert)
    loaded = Predictor(tmp_path / "c")
    for row in rows(8):
        assert np.array_equal(expert.predict(row)["probability"], loaded(row)["probability"])


def test_merged_classes_need_no_weights(tmp_path):
    factory = partial(tasks.MergedClasses, source="dense", scheme="sparse")
    save(tmp_path / "c", factory)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["task.json"]
    loaded, row = Predictor(tmp_path / "c"), {"counts": np.arange(2 * 49).reshape(2, 49)}
    assert np.array_equal(loaded(row)["counts"], factory().predict(row)["counts"])
    assert loaded.task.classes == MASK_SCHEMES["sparse"]


@pytest.mark.parametrize(
    ("earlier", "later", "head"),
    [
        *((TASKS[name], TASKS[name], ()) for name in ("cnn", "binary", "dense", "diagnosis")),
        (biomarkers, severity, "fc."),
        (dense, partial(dense, scheme="sparse"), "out."),
    ],
)
def test_a_task_starts_with_all_weights_but_the_last_layer_of_another_kind(
    tmp_path, earlier, later, head
):
    source, task = save(tmp_path / "c", earlier).net.state_dict(), make(later, seed=1)
    before = {name: value.clone() for name, value in task.net.state_dict().items()}
    copied = checkpoint.initialize_from_checkpoint(task, tmp_path / "c")
    assert set(copied) == {name for name in before if not name.startswith(head)}
    for name, value in task.net.state_dict().items():
        assert torch.equal(value, (before if name.startswith(head) else source)[name]), name


def test_a_weights_file_is_for_the_encoder_of_a_segmenter_that_has_one(tmp_path):
    net = partial(nets.UNetPlusPlus, encoder="resnet18", width=8)
    task = make(partial(segmentation, scheme="dense", channels=3, net=net))
    source = nets.resnet18(num_outputs=4, width=8).state_dict()
    save_file(source, tmp_path / "encoder.safetensors")
    decoder = {n: v.clone() for n, v in task.net.state_dict().items() if "encoder" not in n}
    checkpoint.initialize_from(task, tmp_path / "encoder.safetensors")
    for name, value in task.net.encoder.state_dict().items():
        assert torch.equal(value, source[name]), name
    changed = task.net.state_dict()
    assert_equal({name: changed[name] for name in decoder}, decoder)


def rewrite(folder, **changes):
    info = json.loads((folder / "task.json").read_text())
    info["task"].update(changes)
    (folder / "task.json").write_text(json.dumps(info))


def network(name, **arguments):
    return {"net": {"name": name, "arguments": arguments}}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "changes",
    [
        {"name": "system"},
        {"name": "os.system"},
        {"arguments": 3},
        {"arguments": {"surprise": 1}},
        {"arguments": {"view": {"view": {"colour": 1}}}},
        {"arguments": {"backbone": network("eval")}},
        {"arguments": {"label": "severity"}},
        {"arguments": {"label": "severity", "backbone": "TSM"}},
        {"arguments": {"label": "severity", "backbone": network("TSM", width="8")}},
        {"arguments": {"label": "severity", "backbone": network("TSM", width=-8)}},
        {"arguments": {"label": "cats", "backbone": network("TSM")}},
        {"arguments": {"label": [], "backbone": network("TSM")}},
        {"arguments": {"label": "severity", "backbone": network("TSM"), "view": 3}},
        {"name": "Ensemble", "arguments": {"members": [{"task": {"name": "system"}}]}},
        {"name": "Ensemble", "arguments": {"members": [{"task": 3}]}},
        {"name": "Segmentation", "arguments": {"net": {"net": {"name": "eval"}}}},
        {"name": "VideoScore", "arguments": {"track": {"track": {"frames": 3}}}},
        {"name": 3},
    ],
)
def test_a_task_file_that_cannot_be_built_is_refused_in_one_line(tmp_path, changes):
    save(tmp_path / "c", severity)
    rewrite(tmp_path / "c", **changes)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(tmp_path / "c")
    assert str(caught.value).startswith(f"{tmp_path / 'c'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", [{}, {"name": 3, "arguments": {}}, {"name": "Expert"}])
def test_a_task_file_without_a_task_is_refused(tmp_path, task):
    (tmp_path / "task.json").write_text(json.dumps({"task": task}))
    with pytest.raises(CheckpointError, match=r"no readable task\.json"):
        checkpoint.read_description(tmp_path)


def test_a_cut_missing_or_foreign_file_is_named(tmp_path):
    save(tmp_path, severity)
    rewrite(tmp_path, **checkpoint.describe(biomarkers))
    with pytest.raises(CheckpointError, match="do not fit"):
        checkpoint.load(tmp_path)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        checkpoint.load(tmp_path)
    (tmp_path / "task.json").unlink()
    with pytest.raises(CheckpointError, match=r"task\.json"):
        checkpoint.load(tmp_path)


def test_an_estimator_of_an_untrusted_type_is_refused(tmp_path):
    factory = partial(tasks.Expert, kind="DT", label="severity")
    expert = factory()
    expert.fit_rows(rows(), [], seed=0)
    save(tmp_path / "c", factory, expert)
    untrusted = GaussianProcessClassifier().fit(np.eye(4), [0, 1, 0, 1])
    estimators.dump(untrusted, tmp_path / "c" / "expert.skops")
    with pytest.raises(CheckpointError, match="not trusted"):
        checkpoint.load(tmp_path / "c")


@pytest.mark.slow
def test_other_users_of_skops_keep_the_types_that_it_trusts():
    private = estimators.import_skops()
    import skops.io

    data = skops.io.dumps(DummyClassifier())
    assert skops.io.get_untrusted_types(data=data) == []
    assert private.get_untrusted_types(data=data) == ["sklearn.dummy.DummyClassifier"]


def test_only_arguments_with_a_json_form_are_described():
    with pytest.raises(CheckpointError, match="label"):
        checkpoint.describe(partial(tasks.ClipLabel, backbone=TSM, label=object()))
    bare = checkpoint.describe(partial(tasks.FrameScore, net=nets.resnet18))
    assert bare == checkpoint.describe(partial(tasks.FrameScore, net=partial(nets.resnet18)))


@pytest.mark.parametrize("old", description.RENAMED)
def test_a_checkpoint_with_an_old_name_loads(old, tmp_path):
    factory = {
        "Collapsed": partial(tasks.MergedClasses, source="dense", scheme="sparse"),
        "Intensity": partial(tasks.IntensityFeatures, view=CLIP),
        "Matched": matched,
        "Outline": binary,
        "Translated": partial(tasks.TranslatedSegmentation, members=(sifa,)),
    }[old]
    assert factory.func.__name__ == description.RENAMED[old]
    save(tmp_path / "c", factory)
    path = tmp_path / "c" / "task.json"
    path.write_text(path.read_text().replace(f'"{description.RENAMED[old]}"', f'"{old}"'))
    assert isinstance(checkpoint.load(tmp_path / "c"), factory.func)
    assert checkpoint.read_description(tmp_path / "c") == checkpoint.describe(factory)
