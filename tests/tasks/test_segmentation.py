"""Segmentation: loss and counts by hand, in chunks and at once, in its own scheme and others."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data import masks
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError, CellError
from lus_ray.metrics import calibration
from lus_ray.metrics import segmentation as overlap
from lus_ray.nets import PositionPrior, UNet
from lus_ray.predictor import predict
from lus_ray.tasks import Segmentation, segmentation

VIEW = View(num_frames=1, height=8, width=12, num_samples=0)


class Bands(nn.Module):
    """Logits that are the grey of a pixel times a number for each class, plus another."""

    def __init__(self, num_outputs):
        super().__init__()
        self.slope = nn.Parameter(torch.arange(num_outputs) * 2.0)
        self.shift = nn.Parameter(-((torch.arange(num_outputs) / 2.0) ** 2))

    def forward(self, images):
        grey = images.mean(dim=1, keepdim=True)
        return grey * self.slope[:, None, None] + self.shift[:, None, None]


def task(scheme="dense", net=Bands, **arguments):
    torch.manual_seed(0)
    return Segmentation(net, scheme, view=VIEW, **arguments).eval()


def greys(num_frames=5, seed=0):
    return torch.rand(num_frames, 1, 8, 12, generator=torch.Generator().manual_seed(seed))


def truth(num_frames=5, num_classes=7, seed=1):
    return np.random.default_rng(seed).integers(0, num_classes, (num_frames, 8, 12), np.uint8)


def test_the_loss_is_the_mean_of_minus_the_log_of_what_the_true_class_got():
    made, frames, true = task(), greys(), truth()
    loss = made({"frames": frames, "masks": torch.from_numpy(true)[:, None]}, "net")["loss"]
    grey = frames[:, 0].double().numpy()[:, None]
    slope, shift = (p.detach().double().numpy()[:, None, None] for p in made.net.parameters())
    powers = np.exp(grey * slope + shift)
    chance = np.take_along_axis(powers, true[:, None].astype(int), 1)[:, 0] / powers.sum(axis=1)
    assert loss.item() == pytest.approx(-np.log(chance).mean(), rel=1e-6)


def test_the_loss_reaches_every_parameter():
    made = task(net=partial(UNet, widths=(4, 8)))
    made.train()({"frames": greys(), "masks": torch.from_numpy(truth())[:, None]}, "net")[
        "loss"
    ].backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_images_are_repeated_and_centred_where_the_network_wants_them_so():
    frames = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 1, 3)
    assert torch.equal(task().to_images(frames), frames)
    three = task(channels=3, centred=True).to_images(frames)
    assert three.shape == (1, 3, 1, 3)
    assert three[0, :, 0].tolist() == [[-1.0, 0.0, 1.0]] * 3


def test_every_pixel_gets_its_most_probable_class():
    made, frames = task(), greys()
    (probability,) = made.predict_probabilities(frames)
    assert probability.sum(dim=1) == pytest.approx(torch.ones(5, 8, 12).numpy(), abs=1e-6)
    assert not probability.requires_grad
    said = made.predict(frames)["masks"]
    assert said.dtype == np.uint8
    assert (said == probability.argmax(dim=1).numpy()).all()
    assert len(np.unique(said)) > 2


def test_what_is_measured_is_what_is_predicted():
    made, frames, true = task(), greys(), truth()
    found = made.count_pixels(frames, true)
    counted = overlap.count_pixels(true, made.predict(frames)["masks"], num_classes=7)
    assert found["counts"].dtype == np.int32
    assert (found["counts"] == counted.reshape(5, 49)).all()
    (probability,) = made.predict_probabilities(frames)
    by_frame = calibration.pixel_histograms(probability.numpy(), true)
    assert found["bins"] == pytest.approx(by_frame.sum(axis=0))


@pytest.mark.parametrize("pixels", [1, 96, 2 * 96, 4 * 96 - 1, 5 * 96, 1000 * 96])
def test_a_clip_in_chunks_is_a_clip_at_once(monkeypatch, pixels):
    made, frames, true = task(), greys(), truth()
    whole, masks_of_all = made.count_pixels(frames, true), made.predict(frames)["masks"]
    monkeypatch.setattr(segmentation, "CHUNK_PIXELS", pixels)
    parts = list(made.predict_probabilities(frames))
    assert max(len(part) for part in parts) == min(5, max(1, pixels // 96))
    assert (made.predict(frames)["masks"] == masks_of_all).all()
    again = made.count_pixels(frames, true)
    assert (again["counts"] == whole["counts"]).all()
    assert again["bins"] == pytest.approx(whole["bins"])


def pixel(*chances):
    return torch.tensor(chances).reshape(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("chances", "plain", "boosted"),
    [
        ((0.5, 0.1, 0.3, 0.05, 0.05), 0, 2),  # 0.5 against 0.6
        ((0.7, 0.1, 0.1, 0.05, 0.05), 0, 0),
        ((0.1, 0.2, 0.3, 0.0, 0.4), 4, 4),  # 2 x 0.3 is more, but the last class keeps its pixels
        ((0.4, 0.0, 0.0, 0.3, 0.3), 0, 3),  # and wins none that it did not have
        ((0.1, 0.45, 0.1, 0.1, 0.25), 1, 4),
    ],
)
def test_boosts_by_hand(chances, plain, boosted):
    probability = pixel(*chances)
    assert task("markers", monitor="union_dice").classify_pixels(probability).item() == plain
    boosting = task("markers", monitor="union_dice", boost=(1, 1, 2, 2, 2))
    assert boosting.classify_pixels(probability).item() == boosted


@given(st.integers(0, 2**31))
def test_pixels_of_the_last_class_keep_it_whatever_the_boosts(seed):
    generator = torch.Generator().manual_seed(seed)
    probability = torch.softmax(3 * torch.randn(2, 5, 3, 3, generator=generator), dim=1)
    made = task("markers", monitor="union_dice", boost=(1, 1, 5, 3.5, 1))
    plain, boosted = probability.argmax(dim=1), made.classify_pixels(probability)
    assert (boosted[plain == 4] == 4).all()
    times = probability * torch.tensor([1, 1, 5, 3.5, 1])[:, None, None]
    assert (boosted[plain != 4] == times.argmax(dim=1)[plain != 4]).all()


def test_boosts_of_one_change_nothing_and_boosts_are_counted_as_they_are_said():
    frames, true = greys(), truth(num_classes=5)
    plain = task("markers", monitor="union_dice")
    ones = task("markers", monitor="union_dice", boost=(1.0,) * 5)
    assert (plain.predict(frames)["masks"] == ones.predict(frames)["masks"]).all()
    high = task("markers", monitor="union_dice", boost=(1, 9, 1, 1, 1))
    said = high.predict(frames)["masks"]
    assert (said != plain.predict(frames)["masks"]).any()
    counted = overlap.count_pixels(true, said, num_classes=5).reshape(5, 25)
    assert (high.count_pixels(frames, true)["counts"] == counted).all()


def test_a_probability_that_is_no_number_ends_the_cell_in_one_line():
    made = task()
    with torch.no_grad():
        made.net.shift[3] = torch.nan
    with pytest.raises(CellError, match="not a number") as caught:
        made.predict(greys())
    assert "\n" not in str(caught.value)


def test_masks_of_a_finer_scheme_are_read_as_those_of_the_task():
    dense = truth()
    row = {"mask_scheme": "dense"}
    assert task("sparse").target(row) == "dense"
    assert (task("sparse").prepare_truth(dense, row) == masks.to_sparse(dense)).all()
    assert (task("dense").prepare_truth(dense, row) == dense).all()


def test_truth_is_smoothed_where_something_is_held_against_it_and_learned_from_as_drawn():
    drawn = truth(num_classes=5)
    row = {"mask_scheme": "markers"}
    made = task("markers", monitor="union_dice", smooth=3)
    true = made.prepare_truth(drawn, row)
    assert (true == masks.smooth_masks(drawn, 3)).all()
    assert (true != drawn).any()
    frames = greys()
    plain = task("markers", monitor="union_dice")
    assert (
        made.count_pixels(frames, true)["counts"] == plain.count_pixels(frames, true)["counts"]
    ).all()
    batch = {"frames": frames, "masks": torch.from_numpy(drawn)[:, None]}
    assert torch.equal(made(batch, "net")["loss"], plain(batch, "net")["loss"])


@pytest.mark.parametrize(
    ("scheme", "given", "target"),
    [
        ("dense", "dense", "dense"),
        ("bline", "sparse", "sparse"),
        ("dense", "sparse", None),
        ("bline", "markers", None),
        ("markers", "dense", None),
        ("sparse", None, None),
    ],
)
def test_masks_that_cannot_be_read_are_no_target(scheme, given, target):
    monitor = overlap.METRICS[scheme][0]
    assert task(scheme, monitor=monitor).target({"mask_scheme": given}) == target


def test_the_score_is_the_monitored_metric_over_all_frames_that_were_counted():
    made = task("sparse", monitor="iou B-line")
    true, said = truth(6, 4), truth(6, 4, seed=2)
    counts = overlap.count_pixels(true, said, num_classes=4).reshape(6, 16)
    rows = [{"counts": counts[:4]}, {"counts": None}, {}, {"counts": counts[4:].tolist()}]
    found = made.score(rows)
    both = ((true == 2) & (said == 2)).sum()
    assert found["score"] == found["iou B-line"]
    assert found["score"] == pytest.approx(both / ((true == 2) | (said == 2)).sum())


def test_without_a_counted_frame_there_is_no_score():
    assert np.isnan(task().score([])["score"])
    assert np.isnan(task().score([{"target": None}])["score"])


def test_a_clip_is_predicted_as_masks_of_its_frames():
    made = task()
    clip = np.random.default_rng(0).integers(0, 255, (3, 8, 12), np.uint8)
    said = predict(made, clip)
    given = torch.from_numpy(clip)[:, None].float() / 255
    assert said.keys() == {"masks"}
    assert (said["masks"] == made.predict(given)["masks"]).all()


def test_uncertainty_is_there_where_dropout_is_and_repeats_with_its_seed():
    assert task(net=partial(UNet, widths=(4, 8))).estimate_uncertainty(greys()) is None
    assert task(net=PositionPrior).estimate_uncertainty(greys()) is None
    made = task(net=partial(UNet, widths=(4, 8), dropout=0.5))
    one = made.estimate_uncertainty(greys(), num_samples=4)
    assert one.shape == (5, 7, 8, 12)
    assert one.min() >= 0
    assert one.max() > 0
    assert np.array_equal(one, made.estimate_uncertainty(greys(), num_samples=4))
    assert not np.array_equal(one, made.estimate_uncertainty(greys(), num_samples=4, seed=1))
    assert not any(module.training for module in made.modules())


def test_the_network_has_an_output_for_each_class_of_its_scheme():
    for scheme, classes in MASK_SCHEMES.items():
        made = task(scheme, monitor=overlap.METRICS[scheme][0])
        assert len(made.net.slope) == len(made.classes) == len(classes)
        assert made.label == f"{scheme} masks"


def test_what_cannot_be_a_segmentation_is_refused_in_one_line():
    for wrong in (
        partial(Segmentation, Bands, "dense", view=View(num_frames=4)),
        partial(Segmentation, Bands, "hazy", view=VIEW),
        partial(Segmentation, Bands, "dense", view=VIEW, monitor="union_dice"),
        partial(Segmentation, Bands, "dense", view=VIEW, boost=(1, 2)),
        partial(Segmentation, Bands, "dense", view=VIEW, smooth=4),
        partial(Segmentation, Bands, "dense", view=VIEW, smooth=-1),
    ):
        with pytest.raises(ArmError) as caught:
            wrong()
        assert "\n" not in str(caught.value)


def test_a_few_steps_learn_where_things_are():
    made = task("bline", PositionPrior, monitor="dice")
    true = np.zeros((4, 8, 12), np.uint8)
    true[:, :, 6:] = 1
    batch = {"frames": greys(4), "masks": torch.from_numpy(true)[:, None]}
    optimizer = torch.optim.Adam(made.parameters(), lr=0.3)
    for _ in range(30):
        optimizer.zero_grad()
        made(batch, "net")["loss"].backward()
        optimizer.step()
    counts = made.count_pixels(batch["frames"], true)["counts"]
    assert made.score([{"counts": counts}])["score"] > 0.9
