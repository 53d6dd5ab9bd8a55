"""Frame scores: the published losses written out by hand, and predictions of every frame."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax

from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.nets import STN, FrameCNN, RandomCrops, RegSTN, resnet18
from lus_ray.predictor import predict
from lus_ray.tasks import FrameScore
from lus_ray.tasks.frame_score import CHUNK, frame_scores
from lus_ray.tasks.losses import WIDE_GAP

VIEW = View(num_frames=1, height=40, width=48, num_samples=0)
NETS = {
    "cnn": FrameCNN,
    "resnet18": resnet18,
    "stn": STN,
    "random crops": RandomCrops,
    "reg-stn": RegSTN,
    "reg-stn, fixed scale": partial(RegSTN, transform="fixed scale"),
}


def task(net="reg-stn", **arguments):
    """A task whose normalisation has seen pictures: its answers differ from frame to frame."""
    torch.manual_seed(0)
    made = FrameScore(partial(NETS[net], width=8), view=VIEW, **arguments).train()
    for module in made.modules():
        if hasattr(module, "running_var"):
            module.momentum = None  # all that it has seen counts alike
    for _ in range(4):
        made(batch([0] * 16), "net")
    return made.eval()  # no dropout: the same numbers twice


def pictures(num_frames):
    """Noise with a bright spot that moves and fades from frame to frame."""
    rng = np.random.default_rng(1)
    frames = rng.random((num_frames, 40, 48), np.float32) * rng.random((num_frames, 1, 1))
    for frame in frames:
        row, column = rng.integers(0, 30, 2)
        frame[row : row + 10, column : column + 10] = rng.random()
    return frames.astype(np.float32)


def batch(scores=(0, 1, 2, 3, 1)):
    frames = torch.from_numpy(pictures(len(scores)))[:, None]
    return {"frames": frames, "frame_severity": torch.tensor(list(scores))}


def soft_target(score, positions=(0.0, 1.0, 2.0, 3.0)):
    weights = np.exp([-2 * (positions[score] - place) ** 2 for place in positions])
    return torch.tensor(weights / weights.sum(), dtype=torch.float32)


def by_hand(logits, scores, positions=(0.0, 1.0, 2.0, 3.0)):
    """Mean over the batch of the cross-entropy against soft targets."""
    target = torch.stack([soft_target(score, positions) for score in scores])
    return -(target * log_softmax(logits, dim=1)).sum(dim=1).mean()


def moved(made):
    """A task whose crops are no longer those it began with, so that no term is zero by chance."""
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if ".heads." in name:
                parameter += 0.01 * torch.randn(parameter.shape)
    return made


def test_the_loss_of_a_plain_network_is_the_mean_soft_cross_entropy():
    data, made = batch(), task("cnn")
    logits = made.net(data["frames"].expand(-1, 3, -1, -1))
    losses = made(data, "net")
    assert set(losses) == {"loss"}
    assert losses["loss"].item() == pytest.approx(by_hand(logits, (0, 1, 2, 3, 1)).item(), rel=1e-6)


def test_positions_move_the_targets():
    data, made = batch((0, 0, 1)), task("cnn", positions=WIDE_GAP)
    logits = made.net(data["frames"].expand(-1, 3, -1, -1))
    expected = by_hand(logits, (0, 0, 1), (-0.5, 1.0, 2.0, 3.0)).item()
    assert made(data, "net")["loss"].item() == pytest.approx(expected, rel=1e-6)


def test_with_cross_entropy_the_target_is_the_score_alone():
    data, made = batch(), task("cnn", loss="cross-entropy")
    logits = made.net(data["frames"].expand(-1, 3, -1, -1))
    expected = cross_entropy(logits, data["frame_severity"]).item()
    assert made(data, "net")["loss"].item() == pytest.approx(expected, rel=1e-6)


def test_two_branches_pay_for_sord_of_the_first_their_distance_and_their_scales():
    data, made = batch(), moved(task(consistency=1.0, prior=1.0))
    seen = made.net.branches(data["frames"].expand(-1, 3, -1, -1))
    first, second = seen.logits.unbind(dim=1)
    found = {name: value.item() for name, value in made(data, "net").items()}
    wanted = torch.tensor([0.5, 0.75])
    expected = {
        "first": by_hand(first, (0, 1, 2, 3, 1)).item(),
        "consistency": ((first - second) ** 2).sum().item() / (5 * 4),
        "prior": (seen.scales - wanted).abs().sum().item() / (5 * 2),
    }
    assert expected["consistency"] > 0
    assert found == pytest.approx({**expected, "loss": sum(expected.values())}, rel=1e-4)


def test_the_scales_begin_off_their_prior_by_what_the_sigmoid_adds():
    scales = 1 / (1 + np.exp([-0.5, -0.75]))
    expected = np.abs(scales - [0.5, 0.75]).mean()
    assert task()(batch(), "net")["prior"].item() == pytest.approx(expected, abs=1e-6)


def test_the_weights_of_consistency_and_prior_are_factors():
    one = moved(task(consistency=1.0, prior=1.0))(batch(), "net")
    other = moved(task(consistency=3.0, prior=0.5))(batch(), "net")
    assert other["first"] == one["first"]
    assert other["consistency"].item() == pytest.approx(3 * one["consistency"].item(), rel=1e-6)
    assert other["prior"].item() == pytest.approx(one["prior"].item() / 2, rel=1e-6)


def test_the_second_branch_has_no_target_of_its_own():
    made = moved(task(consistency=0.0, prior=0.0))
    losses = made(batch(), "net")
    assert losses["loss"] == losses["first"]


def test_fixed_scales_have_nothing_to_pay_and_a_free_map_has_no_prior():
    fixed = task("reg-stn, fixed scale")(batch(), "net")
    assert fixed["prior"] == 0
    assert set(task("stn")(batch(), "net")) == {"loss", "first"}


@pytest.mark.parametrize("net", NETS)
def test_predictions_of_a_long_clip_in_parts_equal_one_pass(net):
    made = task(net)
    frames = torch.from_numpy(pictures(CHUNK + 6))[:, None]
    with torch.no_grad():
        whole = torch.softmax(made.net(frames.expand(-1, 3, -1, -1)), dim=1).numpy()
    assert np.ptp(whole, axis=0).max() > 0.01
    assert made.predict(frames)["outputs"] == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("num_frames", [1, 10])
def test_every_frame_of_a_clip_has_its_own_probabilities(net, num_frames):
    made = task(net)
    frames = (255 * pictures(num_frames)).astype(np.uint8)
    said = predict(made, frames)
    assert said["outputs"].shape == (num_frames, 4)
    assert said["outputs"].sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert said["probability"] == pytest.approx(said["outputs"].mean(axis=0), abs=1e-7)
    for number in range(num_frames):
        alone = predict(made, frames[number : number + 1])["outputs"][0]
        assert said["outputs"][number] == pytest.approx(alone, abs=1e-5)


def test_the_answer_is_that_of_the_small_crop():
    made, data = moved(task()), batch()
    with torch.no_grad():
        seen = made.net.branches(data["frames"].expand(-1, 3, -1, -1))
    said = made.predict(data["frames"])["outputs"]
    assert said == pytest.approx(torch.softmax(seen.logits[:, 0], 1).numpy(), abs=1e-5)
    assert np.abs(said - torch.softmax(seen.logits[:, 1], 1).numpy()).max() > 0.001


@pytest.mark.parametrize("net", ["reg-stn", "random crops", "stn"])
def test_a_network_with_crops_shows_where_they_lie_and_what_it_saw(net):
    made, data = task(net), batch()
    looks = made.find_attention(data["frames"])
    num_crops = 1 if net == "stn" else 2
    assert len(looks) == 5
    for look, answer in zip(looks, made.predict(data["frames"])["outputs"], strict=True):
        assert look.probability == pytest.approx(answer, abs=1e-5)
        assert look.quads.shape == (num_crops, 4, 2)
        assert look.crops.shape == (num_crops, 32, 32)
        assert look.crops.min() >= 0
        assert look.crops.max() <= 1
        assert look.heat is None
        assert look.box is None


def test_crops_belong_to_their_own_frame():
    frames = torch.zeros(3, 1, 40, 48)
    frames[1] = 1.0
    middles = [
        look.crops[:, 16, 16].tolist() for look in task("random crops").find_attention(frames)
    ]
    assert middles == [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize("net", ["cnn", "resnet18"])
def test_a_network_of_whole_frames_shows_its_heat_and_a_box_inside_the_picture(net):
    made, data = task(net), batch()
    before = [parameter.clone() for parameter in made.parameters()]
    looks = made.find_attention(data["frames"])
    for look in looks:
        assert look.heat.shape == (40, 48)
        assert look.heat.min() >= 0
        assert look.heat.max() <= 1
        assert (look.box is None) == (look.heat.max() == 0)
        assert look.quads is None
        assert look.crops is None
    boxes = [look.box for look in looks if look.box is not None]
    assert boxes
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
    assert all(torch.equal(a, b) for a, b in zip(before, made.parameters(), strict=True))


def test_frames_of_all_clips_are_scored_together():
    def row(target, said):
        return {"target": target, "outputs": np.eye(4)[said]}

    rows = [row([0, 0, 0], [0, 0, 1]), row([3], [3]), {"target": None, "outputs": np.eye(4)}]
    scores = frame_scores(rows)
    assert scores["accuracy"] == scores["score"] == pytest.approx(3 / 4)
    # Score 0: 4/5 (precision 1, recall 2/3); score 3: 1; score 1 was said once and never true.
    monitored = frame_scores(rows, "macro_f1")
    assert monitored["score"] == monitored["macro_f1"] < 1
    assert np.isnan(frame_scores([rows[2]])["score"])


def test_a_view_of_several_frames_and_an_unknown_loss_are_refused():
    with pytest.raises(ArmError, match="num_samples=0"):
        FrameScore(FrameCNN, view=View())
    with pytest.raises(ArmError, match="num_frames=1"):
        FrameScore(FrameCNN, view=View(num_frames=2, num_samples=0))


def test_an_unknown_loss_is_refused(unchecked):
    with pytest.raises(ArmError, match="use 'sord' or 'cross-entropy'"):
        FrameScore(FrameCNN, view=VIEW, loss="hinge")
