"""Frame diagnosis: three classes, the network by hand, activation maps, and the start weights."""

from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from lus_ray.clip import DISEASES
from lus_ray.data.labels import PNEUMONIA_DIAGNOSIS
from lus_ray.errors import CheckpointError
from lus_ray.nets import ReverseTransfer, UNet
from lus_ray.predictor import predict
from lus_ray.tasks import FrameDiagnosis, Segmentation
from lus_ray.training import checkpoint
from tests.tasks.conftest import VIEW, assert_equal, greys

NET = partial(ReverseTransfer, widths=(4, 8))


def make(num_maps=7, **arguments):
    torch.manual_seed(0)
    return FrameDiagnosis(partial(NET, num_maps=num_maps), view=VIEW, **arguments).eval()


def test_logits_are_a_linear_layer_over_the_share_of_each_map():
    net, frames = make().net, greys()
    with torch.no_grad():
        maps = torch.softmax(net.segmenter(frames), dim=1)
        shares = maps.mean(dim=(2, 3))
        expected = shares @ net.out.weight.T + net.out.bias
        assert shares.sum(dim=1).numpy() == pytest.approx(1, abs=1e-5)
        assert net(frames).numpy() == pytest.approx(expected.numpy(), abs=1e-6)
        assert net.features(frames).numpy() == pytest.approx(shares.numpy(), abs=1e-6)


def test_the_loss_is_the_cross_entropy_of_frames_and_trains_the_whole_network():
    task, frames, true = make(), greys(3), torch.tensor([0, 2, 1])
    loss = task({"frames": frames, "diagnosis": true}, "net")["loss"]
    assert loss.item() == pytest.approx(cross_entropy(task.net(frames), true).item())
    loss.backward()
    for name, parameter in task.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_a_clip_is_the_mean_over_its_frames():
    task = make()
    clip = np.random.default_rng(0).integers(0, 255, (4, 16, 24), np.uint8)
    with torch.no_grad():
        logits = task.net(torch.from_numpy(clip)[:, None].float() / 255)
    prediction = predict(task, clip)
    assert prediction["outputs"] == pytest.approx(torch.softmax(logits, dim=1).numpy(), abs=1e-6)
    assert prediction["probability"] == pytest.approx(prediction["outputs"].mean(axis=0))


def test_every_disease_of_the_lung_has_one_of_three_diagnoses():
    task = make()
    assert task.classes == ("healthy", "other lung disease", "COVID-19 pneumonia")
    expected = dict.fromkeys(DISEASES, 1) | {
        "healthy": 0, "COVID-19 pneumonia": 2, "other non-lung disease": None, None: None,
    }  # fmt: skip
    for disease, diagnosis in expected.items():
        assert task.target({"disease": disease, "etiology": None}) == diagnosis, disease


def test_a_pneumonia_is_another_disease_with_an_etiology_and_other_diseases_have_no_diagnosis():
    task = make(classes=PNEUMONIA_DIAGNOSIS.classes)
    assert task.classes == ("healthy", "pneumonia", "COVID-19 pneumonia")
    expected = dict.fromkeys(DISEASES, None) | {"healthy": 0, "COVID-19 pneumonia": 2}
    for disease, diagnosis in expected.items():
        assert task.target({"disease": disease, "etiology": None}) == diagnosis, disease
    assert task.target({"disease": "other lung disease", "etiology": "bacterial"}) == 1


def test_the_score_omits_rows_without_a_diagnosis():
    rows = [
        {"target": target, "outputs": outputs, "probability": np.mean(outputs, axis=0)}
        for target, outputs in (
            (0, [[0.8, 0.1, 0.1], [0.5, 0.4, 0.1]]),
            (2, [[0.7, 0.1, 0.2], [0.6, 0.0, 0.4], [0.4, 0.1, 0.5], [0.2, 0.2, 0.6]]),
            (None, [[0.1, 0.1, 0.8]]),
        )
    ]
    scores = make().score(rows)
    assert scores["score"] == scores["frame_accuracy"] == 4 / 6
    assert scores["accuracy"] == make(monitor="accuracy").score(rows)["score"] == 1 / 2
    assert np.isnan(make().score(rows[2:])["score"])


def test_an_activation_map_is_the_positive_sum_of_maps_times_centred_weights():
    net, frames, classes = make().net, greys(3), torch.tensor([0, 1, 2])
    with torch.no_grad():
        net.out.weight.copy_((torch.arange(21.0) % 4 - 1).reshape(3, 7))
        heat = net.activation_map(frames, classes).numpy()
        maps, weights = net.maps(frames).numpy(), net.out.weight.numpy().copy()
        net.out.weight.add_(5)
        shifted = net.activation_map(frames, classes).numpy()
        net.out.weight.fill_(-1)
        empty = net.activation_map(frames, classes)
    assert shifted == pytest.approx(heat, abs=1e-3)
    assert empty.abs().max() == 0
    weights = weights - weights.mean(axis=1, keepdims=True)
    positive = np.maximum(np.einsum("nm,nmhw->nhw", weights, maps), 0)
    highest = positive.max(axis=(1, 2), keepdims=True)
    assert heat == pytest.approx(positive / np.where(highest > 0, highest, 1), abs=1e-4)
    assert heat.max() == pytest.approx(1)


def test_the_attention_of_a_frame_is_for_its_predicted_class():
    task = make()
    attentions = task.find_attention(greys(3))
    outputs = task.predict(greys(3))["outputs"]
    with torch.no_grad():
        heat = task.net.activation_map(greys(3), torch.from_numpy(outputs.argmax(axis=1))).numpy()
    for number, attention in enumerate(attentions):
        assert attention.probability == pytest.approx(outputs[number])
        assert attention.heat == pytest.approx(heat[number])


def save_segmenter(folder, scheme):
    """A checkpoint of a small U-Net with running statistics of its own."""
    torch.manual_seed(3)
    factory = partial(Segmentation, net=partial(UNet, widths=(4, 8)), scheme=scheme, view=VIEW)
    task = factory().train()
    task.net(greys())
    checkpoint.save(folder, task, checkpoint.describe(factory), seed=0)
    return task.eval()


@pytest.mark.parametrize(("scheme", "num_maps"), [("dense", 7), ("sparse", 4)])
def test_it_starts_with_every_tensor_of_the_segmenter(tmp_path, scheme, num_maps):
    trained, task = save_segmenter(tmp_path / "c", scheme), make(num_maps)
    linear = deepcopy(task.net.out.state_dict())
    copied = checkpoint.initialize_from_checkpoint(task, tmp_path / "c")
    assert set(copied) == set(trained.net.state_dict())
    assert_equal(task.net.segmenter.state_dict(), trained.net.state_dict())
    assert_equal(task.net.out.state_dict(), linear)
    shares = torch.cat(list(trained.predict_probabilities(greys()))).mean(dim=(2, 3))
    with torch.no_grad():
        assert torch.equal(task.net.features(greys()), shares)


def test_a_segmenter_of_other_classes_is_refused_and_changes_nothing(tmp_path):
    save_segmenter(tmp_path / "c", "sparse")
    task = make(num_maps=7)
    before = deepcopy(task.state_dict())
    with pytest.raises(CheckpointError, match="another shape than UNet") as caught:
        checkpoint.initialize_from_checkpoint(task, tmp_path / "c")
    assert "\n" not in str(caught.value)
    assert_equal(task.state_dict(), before)
