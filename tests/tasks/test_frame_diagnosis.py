"""Diagnosis by reverse transfer: three classes, the formula by hand, what speaks for a class."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from lus_ray.clip import DISEASES
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError, CheckpointError
from lus_ray.nets import ReverseTransfer, UNet
from lus_ray.predictor import predict
from lus_ray.tasks import FrameDiagnosis, Segmentation, frame_diagnosis
from lus_ray.training import checkpoint

VIEW = View(num_frames=1, height=8, width=12, num_samples=0)
SMALL = {"widths": (4, 8)}
factory = partial(FrameDiagnosis, net=partial(ReverseTransfer, **SMALL), view=VIEW)


def made(seed=0, num_maps=7):
    torch.manual_seed(seed)
    net = partial(ReverseTransfer, num_maps=num_maps, **SMALL)
    return FrameDiagnosis(net, view=VIEW).eval()


def greys(num_frames=5):
    return torch.rand(num_frames, 1, 8, 12, generator=torch.Generator().manual_seed(0))


def test_logits_are_a_linear_layer_over_the_share_of_each_map():
    net, frames = made().net, greys()
    with torch.no_grad():
        maps = torch.softmax(net.segmenter(frames), dim=1)
        shares = maps.sum(dim=(2, 3)) / 96
        expected = shares @ net.out.weight.T + net.out.bias
        assert shares.sum(dim=1).numpy() == pytest.approx(1, abs=1e-5)
        assert net(frames).numpy() == pytest.approx(expected.numpy(), abs=1e-6)
        assert net.features(frames).numpy() == pytest.approx(shares.numpy(), abs=1e-6)


def test_the_loss_is_the_cross_entropy_of_frames_and_the_whole_network_learns():
    task, frames, true = made(), greys(3), torch.tensor([0, 2, 1])
    loss = task({"frames": frames, "diagnosis": true}, "net")["loss"]
    assert loss.item() == pytest.approx(cross_entropy(task.net(frames), true).item())
    loss.backward()
    for name, parameter in task.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_a_clip_is_the_mean_over_its_frames():
    task = made()
    clip = np.random.default_rng(0).integers(0, 255, (4, 8, 12), np.uint8)
    said = predict(task, clip)
    with torch.no_grad():
        logits = task.net(torch.from_numpy(clip)[:, None].float() / 255)
    assert said["outputs"] == pytest.approx(torch.softmax(logits, dim=1).numpy(), abs=1e-6)
    assert said["probability"] == pytest.approx(said["outputs"].mean(axis=0))


@pytest.mark.parametrize("pixels", [1, 2 * 96, 1000 * 96])
def test_a_clip_in_chunks_is_a_clip_at_once(monkeypatch, pixels):
    task = made()
    whole = task.predict(greys())["outputs"]
    monkeypatch.setattr(frame_diagnosis, "CHUNK_PIXELS", pixels)
    assert task.predict(greys())["outputs"] == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize(
    ("disease", "expected"),
    [
        ("healthy", 0),
        ("COVID-19 pneumonia", 2),
        ("interstitial lung disease", 1),
        ("cardiogenic pulmonary oedema", 1),
        ("other non-lung disease", None),
        (None, None),
    ],
)
def test_a_disease_is_one_of_three_diagnoses_or_none(disease, expected):
    assert made().target({"disease": disease}) == expected


def test_every_disease_of_the_lung_has_a_diagnosis():
    task = made()
    lacking = {d for d in DISEASES if task.target({"disease": d}) is None}
    assert lacking == {"other non-lung disease"}
    assert task.classes == ("healthy", "other lung disease", "COVID-19 pneumonia")


def test_the_score_leaves_out_rows_without_a_diagnosis():
    rows = [
        said(0, [[0.8, 0.1, 0.1], [0.5, 0.4, 0.1]]),
        said(2, [[0.7, 0.1, 0.2], [0.6, 0.0, 0.4], [0.4, 0.1, 0.5], [0.2, 0.2, 0.6]]),
        said(None, [[0.1, 0.1, 0.8]]),
    ]
    found = made().score(rows)
    assert found["score"] == found["frame_accuracy"] == 4 / 6
    assert found["accuracy"] == 1 / 2
    by_clip = partial(ReverseTransfer, num_maps=7, **SMALL)
    assert FrameDiagnosis(by_clip, view=VIEW, monitor="accuracy").score(rows)["score"] == 1 / 2
    assert np.isnan(made().score(rows[2:])["score"])


def said(target, outputs):
    """A prediction row of one clip."""
    return {"target": target, "outputs": outputs, "probability": np.mean(outputs, axis=0)}


def test_what_speaks_for_a_class_are_the_maps_times_its_weights():
    net, frames, classes = made().net, greys(3), torch.tensor([0, 1, 2])
    with torch.no_grad():
        net.out.weight.copy_((torch.arange(21.0) % 4 - 1).reshape(3, 7))
        heat = net.activation_map(frames, classes).numpy()
        maps, weights = net.maps(frames).numpy(), net.out.weight.numpy()
        weights = weights - weights.mean(axis=1, keepdims=True)
        net.out.weight.add_(5)
        moved = net.activation_map(frames, classes).numpy()
    assert moved == pytest.approx(heat, abs=1e-3)
    for image, (one, k) in enumerate(zip(heat, classes.tolist(), strict=True)):
        plain = sum(weights[k, m] * maps[image, m] for m in range(7))
        positive = np.maximum(plain, 0)
        assert one == pytest.approx(positive / (positive.max() or 1), abs=1e-4)
        assert one.min() >= 0
    assert heat.max() == pytest.approx(1)


def test_where_nothing_speaks_for_a_class_its_map_is_empty():
    net = made().net
    with torch.no_grad():
        net.out.weight.fill_(-1)
        heat = net.activation_map(greys(1), torch.tensor([1]))
    assert heat.abs().max() == 0


def test_the_looks_of_a_frame_are_for_the_class_that_was_said():
    task = made()
    looks = task.find_attention(greys(3))
    outputs = task.predict(greys(3))["outputs"]
    with torch.no_grad():
        heat = task.net.activation_map(greys(3), torch.from_numpy(outputs.argmax(axis=1))).numpy()
    for number, look in enumerate(looks):
        assert look.probability == pytest.approx(outputs[number])
        assert look.heat == pytest.approx(heat[number])


def segmenter(folder, scheme):
    """A checkpoint of a small U-Net for a scheme, which has seen pictures."""
    torch.manual_seed(3)
    make = partial(Segmentation, net=partial(UNet, **SMALL), scheme=scheme, view=VIEW)
    task = make().train()
    task.net(greys())  # running statistics of its own
    checkpoint.save(folder, task, checkpoint.describe(make), seed=0)
    return task


@pytest.mark.parametrize(("scheme", "num_maps"), [("dense", 7), ("sparse", 4)])
def test_it_begins_as_the_segmenter_that_was_trained_to_the_last_tensor(tmp_path, scheme, num_maps):
    trained = segmenter(tmp_path / "c", scheme)
    task = made(seed=4, num_maps=num_maps)
    linear = {name: value.clone() for name, value in task.net.out.state_dict().items()}
    copied = checkpoint.initialize_from_checkpoint(task, tmp_path / "c")
    own, given = task.net.segmenter.state_dict(), trained.net.state_dict()
    assert own.keys() == given.keys() == set(copied)
    assert all(torch.equal(own[name], given[name]) for name in given)
    assert all(
        torch.equal(value, linear[name]) for name, value in task.net.out.state_dict().items()
    )
    shares = torch.cat(list(trained.eval().predict_probabilities(greys()))).mean(dim=(2, 3))
    with torch.no_grad():
        assert torch.equal(task.net.features(greys()), shares)


def test_a_segmenter_of_other_classes_is_refused_in_one_line_and_changes_nothing(tmp_path):
    segmenter(tmp_path / "c", "sparse")
    task = made(num_maps=7)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    with pytest.raises(CheckpointError, match="another shape than UNet") as caught:
        checkpoint.initialize_from_checkpoint(task, tmp_path / "c")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


def test_a_diagnosis_goes_on_from_a_diagnosis_with_its_last_layer(tmp_path):
    first = made(seed=5)
    checkpoint.save(tmp_path / "c", first, checkpoint.describe(factory), seed=0)
    task = made(seed=6)
    checkpoint.initialize_from_checkpoint(task, tmp_path / "c")
    given = first.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in task.state_dict().items())


def test_a_view_of_several_frames_is_refused():
    with pytest.raises(ArmError, match="num_frames=1 and num_samples=0"):
        FrameDiagnosis(partial(ReverseTransfer, **SMALL), view=View(num_frames=4))
