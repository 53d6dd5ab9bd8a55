"""Frame scores: the published losses computed by hand, and predictions of every frame."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.nets import STN, FrameCNN, RandomCrops, RegSTN, resnet18
from lus_ray.nets.gradcam import bounding_box, grad_cam
from lus_ray.predictor import predict
from lus_ray.tasks import FrameDiagnosis, FrameScore
from lus_ray.tasks.frame_score import frame_scores
from lus_ray.tasks.losses import POSITIONS, WIDE_GAP, soft_cross_entropy, sord_targets

VIEW = View(num_frames=1, height=40, width=48, num_samples=0)
NETS = {
    "cnn": FrameCNN,
    "resnet18": resnet18,
    "stn": STN,
    "random crops": RandomCrops,
    "reg-stn": RegSTN,
    "reg-stn, fixed scale": partial(RegSTN, transform="fixed scale"),
}
SCORES = (0, 1, 2, 3, 1)


def make(net="reg-stn", *, moved=False, **arguments):
    """A task with running statistics of its own; `moved` changes its crops."""
    torch.manual_seed(0)
    task = FrameScore(partial(NETS[net], width=8), view=VIEW, **arguments).train()
    for module in task.modules():
        if hasattr(module, "running_var"):
            module.momentum = None  # a plain mean over all batches
    for _ in range(4):
        task(make_batch([0] * 16), "net")
    for name, parameter in task.named_parameters():
        if moved and ".heads." in name:
            parameter.data += 0.01 * torch.randn(parameter.shape)
    return task.eval()


def make_frames(num_frames):
    """Noise with a bright spot that moves and fades from frame to frame."""
    rng = np.random.default_rng(1)
    frames = rng.random((num_frames, 40, 48), np.float32) * rng.random((num_frames, 1, 1))
    for frame in frames:
        row, column = rng.integers(0, 30, 2)
        frame[row : row + 10, column : column + 10] = rng.random()
    return frames.astype(np.float32)


def make_batch(scores=SCORES):
    frames = torch.from_numpy(make_frames(len(scores)))[:, None]
    return {"frames": frames, "frame_severity": torch.tensor(list(scores))}


def rgb(frames):
    return frames.expand(-1, 3, -1, -1)


def reference_loss(logits, scores, positions=POSITIONS):
    targets = sord_targets(positions)[torch.as_tensor(scores)]
    return soft_cross_entropy(logits, targets).mean()


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [
        ({}, reference_loss),
        ({"positions": WIDE_GAP}, partial(reference_loss, positions=WIDE_GAP)),
        ({"loss": "cross-entropy"}, lambda logits, scores: cross_entropy(logits, scores)),
    ],
    ids=["sord", "wide gap", "cross-entropy"],
)
def test_the_loss_of_a_plain_network_is_the_mean_cross_entropy(arguments, reference):
    batch, task = make_batch(), make("cnn", **arguments)
    expected = reference(task.net(rgb(batch["frames"])), batch["frame_severity"])
    losses = task(batch, "net")
    assert set(losses) == {"loss"}
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("consistency", "prior"), [(1.0, 1.0), (3.0, 0.5), (0.0, 0.0)])
def test_two_branches_have_losses_of_consistency_and_of_their_scales(consistency, prior):
    batch, task = make_batch(), make(moved=True, consistency=consistency, prior=prior)
    branches = task.net.branches(rgb(batch["frames"]))
    first, second = branches.logits.unbind(dim=1)
    deviation = (branches.scales - torch.tensor([0.5, 0.75])).abs()
    distance = (first - second) ** 2
    assert distance.mean() > 0
    expected = {
        "first": reference_loss(first, SCORES).item(),
        "consistency": consistency * distance.sum().item() / (5 * 4),
        "prior": prior * deviation.sum().item() / (5 * 2),
    }
    losses = {name: value.item() for name, value in task(batch, "net").items()}
    assert losses == pytest.approx({**expected, "loss": sum(expected.values())}, rel=1e-4)


def test_scales_that_are_not_learned_have_no_prior():
    assert make("reg-stn, fixed scale")(make_batch(), "net")["prior"] == 0
    assert set(make("stn")(make_batch(), "net")) == {"loss", "first"}


@pytest.mark.parametrize("net", NETS)
def test_every_frame_has_its_own_probabilities(net):
    task, frames = make(net), (255 * make_frames(4)).astype(np.uint8)
    prediction = predict(task, frames)
    with torch.no_grad():
        images = rgb(torch.from_numpy(frames)[:, None] / 255)
        whole = torch.softmax(task.net(images), dim=1).numpy()
    assert np.ptp(whole, axis=0).max() > 0.01
    assert prediction["outputs"] == pytest.approx(whole, abs=1e-5)
    assert prediction["outputs"].sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert prediction["probability"] == pytest.approx(whole.mean(axis=0), abs=1e-5)
    single = predict(task, frames[2:3])["outputs"]
    assert single == pytest.approx(whole[2:3], abs=1e-5)


def test_the_branch_of_the_small_crop_predicts():
    task, batch = make(moved=True), make_batch()
    with torch.no_grad():
        logits = task.net.branches(rgb(batch["frames"])).logits
    small, large = torch.softmax(logits, 2).unbind(dim=1)
    outputs = task.predict(batch["frames"])["outputs"]
    assert outputs == pytest.approx(small.numpy(), abs=1e-5)
    assert np.abs(outputs - large.numpy()).max() > 0.001


@pytest.mark.parametrize(("net", "num_crops"), [("reg-stn", 2), ("random crops", 2), ("stn", 1)])
def test_the_attention_of_a_network_with_crops_is_their_corners_and_pixels(net, num_crops):
    task, frames = make(net), torch.zeros(3, 1, 40, 48)
    frames[1] = 1.0
    attentions, outputs = task.find_attention(frames), task.predict(frames)["outputs"]
    for attention, probability, frame in zip(attentions, outputs, frames, strict=True):
        assert attention.probability == pytest.approx(probability, abs=1e-5)
        assert attention.quads.shape == (num_crops, 4, 2)
        assert attention.crops.shape == (num_crops, 32, 32)
        assert attention.crops[:, 16, 16] == pytest.approx(frame.max().item())
        assert attention.heat is attention.box is None


@pytest.mark.parametrize("net", ["cnn", "resnet18"])
def test_the_attention_of_a_network_of_whole_frames_is_a_map_and_a_box(net):
    task, frames = make(net), make_batch()["frames"]
    heat = grad_cam(task.net, rgb(frames))
    for attention, expected in zip(task.find_attention(frames), heat, strict=True):
        assert attention.heat == pytest.approx(expected.numpy(), abs=1e-5)
        assert attention.box == bounding_box(attention.heat)
        assert attention.quads is attention.crops is None


def test_the_score_counts_the_frames_of_all_annotated_clips():
    rows = [
        {"target": [0, 0, 0], "outputs": np.eye(4)[[0, 0, 1]]},
        {"target": [3], "outputs": np.eye(4)[[3]]},
        {"target": None, "outputs": np.eye(4)},
    ]
    scores = frame_scores(rows)
    assert scores["accuracy"] == scores["score"] == 3 / 4
    monitored = frame_scores(rows, "macro_f1")
    assert monitored["score"] == monitored["macro_f1"] < 1
    assert np.isnan(frame_scores([rows[2]])["score"])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (FrameScore, {"view": View()}, "num_samples=0"),
        (FrameScore, {"view": View(num_frames=2, num_samples=0)}, "num_frames=1"),
        (FrameScore, {"loss": "hinge", "view": VIEW}, "use 'sord' or 'cross-entropy'"),
        (FrameDiagnosis, {"view": View(num_frames=4)}, "num_frames=1 and num_samples=0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(kind, arguments, message):
    with pytest.raises(ArmError, match=message):
        kind(FrameCNN, **arguments)
