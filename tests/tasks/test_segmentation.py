"""Segmentation: what holds of every task that predicts masks, and the task of any scheme."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data import masks
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError, CellError
from lus_ray.metrics import calibration
from lus_ray.metrics import segmentation as metrics
from lus_ray.nets import PositionPrior, SifaSegmenter, UNet
from lus_ray.tasks import (
    BinarySegmentation,
    Ensemble,
    MatchedSegmentation,
    Segmentation,
    Sifa,
    TranslatedSegmentation,
)
from tests.tasks.conftest import SIZE, VIEW, greys


class Bands(nn.Module):
    """Logits that are linear in the grey of a pixel, with a slope and a shift for each class."""

    def __init__(self, num_outputs):
        super().__init__()
        self.slope = nn.Parameter(torch.arange(num_outputs) * 2.0)
        self.shift = nn.Parameter(-((torch.arange(num_outputs) / 2.0) ** 2))

    def forward(self, images):
        grey = images.mean(dim=1, keepdim=True)
        return grey * self.slope[:, None, None] + self.shift[:, None, None]


bands = partial(Segmentation, Bands, view=VIEW)
dense, sparse = partial(bands, "dense"), partial(bands, "sparse")
markers = partial(bands, "markers", monitor="union_dice")
unet = partial(UNet, widths=(4, 8))
binary = partial(BinarySegmentation, unet, view=VIEW)
matched = partial(MatchedSegmentation, unet, view=VIEW)
sifa = partial(Sifa, partial(SifaSegmenter, width=1), view=VIEW, num_units=1, pool=2)
TRAINED = {
    "unet": partial(Segmentation, unet, "dense", view=VIEW),
    "one output": binary,
    "two outputs": partial(binary, num_outputs=2),
    "histogram": matched,
    "fourier": partial(matched, how="fourier", num_outputs=2),
}
TASKS = TRAINED | {
    "bands": dense,
    "ensemble": partial(Ensemble, (markers, partial(markers, channels=3, centred=True))),
    "sifa": sifa,
    "translated": partial(TranslatedSegmentation, (sifa,)),
}


def make(factory, **arguments):
    torch.manual_seed(0)
    return factory(**arguments).eval()


def make_truth(num_frames=5, num_classes=7, seed=1):
    return np.random.default_rng(seed).integers(0, num_classes, (num_frames, *SIZE), np.uint8)


def make_batch(num_classes=2):
    truth = torch.from_numpy(make_truth(num_classes=num_classes))[:, None]
    return {"frames": greys(), "masks": truth, "target_frames": greys(4, seed=1) * 0.3}


@pytest.mark.parametrize("name", TASKS)
def test_pixels_get_the_most_probable_class_and_are_counted_so(name):
    task, frames = make(TASKS[name]), greys()
    num_classes = len(task.classes)
    truth = make_truth(num_classes=num_classes)
    probability = torch.cat(list(task.predict_probabilities(frames)))
    assert probability.shape == (5, num_classes, *SIZE)
    assert not probability.requires_grad
    assert probability.sum(dim=1).numpy() == pytest.approx(np.ones((5, *SIZE)), abs=1e-5)
    predicted = task.predict(frames)["masks"]
    assert predicted.dtype == np.uint8
    assert (predicted == probability.argmax(dim=1).numpy()).all()
    counted = task.count_pixels(frames, truth)
    expected = metrics.count_pixels(truth, predicted, num_classes=num_classes)
    assert counted["counts"].dtype == np.int32
    assert (counted["counts"] == expected.reshape(5, -1)).all()
    bins = calibration.pixel_histograms(probability.numpy(), truth).sum(axis=0)
    assert counted["bins"] == pytest.approx(bins)
    assert task.score([{"counts": counted["counts"]}])["score"] == pytest.approx(
        metrics.score(expected, task.scheme)[task.monitor], nan_ok=True
    )


@pytest.mark.parametrize("name", ["unet", "ensemble", "translated"])
@pytest.mark.parametrize("frames_per_chunk", [0, 2])
def test_chunks_change_nothing(monkeypatch, name, frames_per_chunk):
    task, frames = make(TASKS[name]), greys()
    truth = make_truth(num_classes=len(task.classes))
    whole, predicted = task.count_pixels(frames, truth), task.predict(frames)["masks"]
    monkeypatch.setattr("lus_ray.tasks.task.CPU_PIXELS", frames_per_chunk * 16 * 24)
    sizes = [len(part) for part in task.predict_probabilities(frames)]
    assert sizes == ([2, 2, 1] if frames_per_chunk else [1] * 5)
    assert (task.predict(frames)["masks"] == predicted).mean() > 0.999
    chunked = task.count_pixels(frames, truth)
    assert np.abs(chunked["counts"] - whole["counts"]).max() <= 1
    assert chunked["bins"] == pytest.approx(whole["bins"], rel=1e-3, abs=1)


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_reaches_every_parameter_and_is_precise(name):
    task = make(TRAINED[name])
    batch, state = make_batch(len(task.classes)), torch.get_rng_state()
    losses = task.train()(batch, "net")
    losses["loss"].backward()
    for parameter_name, parameter in task.named_parameters():
        assert parameter.grad.abs().max() > 0, parameter_name
    torch.set_rng_state(state)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = task(batch, "net")
    assert {loss.dtype for loss in mixed.values()} == {torch.float32}
    assert mixed["loss"].item() == pytest.approx(losses["loss"].item(), rel=0.03)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Segmentation, {"scheme": "bline", "monitor": "dice"}),
        *((BinarySegmentation, {"num_outputs": n}) for n in (1, 2)),
    ],
)
def test_a_few_steps_train_a_position_prior(kind, arguments):
    task = make(kind, net=PositionPrior, view=VIEW, **arguments)
    truth = np.zeros((4, *SIZE), np.uint8)
    truth[:, :, 18:] = 1
    batch = {"frames": greys(4), "masks": torch.from_numpy(truth)[:, None]}
    optimizer = torch.optim.Adam(task.parameters(), lr=0.3)
    for _ in range(30):
        optimizer.zero_grad()
        task(batch, "net")["loss"].backward()
        optimizer.step()
    counts = task.count_pixels(batch["frames"], truth)["counts"]
    assert task.score([{"counts": counts}])["score"] > 0.9


def test_the_loss_is_the_mean_cross_entropy_of_pixels():
    task, batch = make(dense), make_batch(7)
    loss = task(batch, "net")["loss"]
    probability = torch.cat(list(task.predict_probabilities(batch["frames"])))
    expected = -probability.gather(1, batch["masks"].long()).log().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_images_are_repeated_and_centred():
    frames = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 1, 3)
    assert torch.equal(make(dense).to_images(frames), frames)
    images = make(dense, channels=3, centred=True).to_images(frames)
    assert images.shape == (1, 3, 1, 3)
    assert images[0, :, 0].tolist() == [[-1.0, 0.0, 1.0]] * 3


@pytest.mark.parametrize(
    ("probability", "plain", "boosted"),
    [
        ((0.5, 0.1, 0.3, 0.05, 0.05), 0, 2),  # 0.5 against 0.6
        ((0.7, 0.1, 0.1, 0.05, 0.05), 0, 0),
        ((0.1, 0.2, 0.3, 0.0, 0.4), 4, 4),  # 2 x 0.3 is more, but the last class keeps its pixels
        ((0.4, 0.0, 0.0, 0.3, 0.3), 0, 3),  # and gains none
        ((0.1, 0.45, 0.1, 0.1, 0.25), 1, 4),
    ],
)
def test_boosts_by_hand(probability, plain, boosted):
    pixel = torch.tensor(probability).reshape(1, -1, 1, 1)
    assert make(markers).classify_pixels(pixel).item() == plain
    assert make(markers, boost=(1, 1, 2, 2, 2)).classify_pixels(pixel).item() == boosted


def test_boosted_masks_are_counted():
    task, truth = make(markers, boost=(1, 9, 1, 1, 1)), make_truth(num_classes=5)
    predicted = task.predict(greys())["masks"]
    assert (predicted != make(markers).predict(greys())["masks"]).any()
    counts = metrics.count_pixels(truth, predicted, num_classes=5).reshape(5, 25)
    assert (task.count_pixels(greys(), truth)["counts"] == counts).all()


@pytest.mark.parametrize("factory", [dense, partial(Ensemble, (dense, dense))])
def test_a_probability_that_is_not_finite_fails_the_cell(factory):
    task = make(factory)
    with torch.no_grad():
        next(task.parameters())[3] = torch.nan
    with pytest.raises(CellError, match="not a number"):
        task.predict(greys())


def test_truth_is_converted_and_smoothed_for_evaluation_but_not_for_training():
    truth = make_truth()
    row = {"mask_scheme": "dense"}
    expected = masks.convert_masks(truth, "dense", "sparse")
    assert (make(sparse).prepare_truth(truth, row) == expected).all()
    assert (make(dense).prepare_truth(truth, row) == truth).all()
    truth, row = make_truth(num_classes=5), {"mask_scheme": "markers"}
    task, plain = make(markers, smooth=3), make(markers)
    smoothed = task.prepare_truth(truth, row)
    assert (smoothed == masks.smooth_masks(truth, 3)).all()
    assert (smoothed != truth).any()
    counts = (t.count_pixels(greys(), smoothed)["counts"] for t in (task, plain))
    assert np.array_equal(*counts)
    assert torch.equal(*(t(make_batch(5), "net")["loss"] for t in (task, plain)))


@pytest.mark.parametrize(
    ("scheme", "annotated", "target"),
    [
        ("dense", "dense", "dense"),
        ("sparse", "dense", "dense"),
        ("bline", "sparse", "sparse"),
        ("dense", "sparse", None),
        ("bline", "markers", None),
        ("markers", "dense", None),
        ("sparse", None, None),
    ],
)
def test_masks_that_cannot_be_converted_are_no_target(scheme, annotated, target):
    task = make(bands, scheme=scheme, monitor=metrics.METRICS[scheme][0])
    assert task.target({"mask_scheme": annotated}) == target
    assert len(task.net.slope) == len(task.classes) == len(MASK_SCHEMES[scheme])
    assert task.label == f"{scheme} masks"


def test_the_score_is_the_monitored_metric_over_all_counted_frames():
    task = make(sparse, monitor="iou B-line")
    true, predicted = make_truth(6, 4), make_truth(6, 4, seed=2)
    counts = metrics.count_pixels(true, predicted, num_classes=4).reshape(6, 16)
    rows = [{"counts": counts[:4]}, {"counts": None}, {}, {"counts": counts[4:].tolist()}]
    scores = task.score(rows)
    overlap = ((true == 2) & (predicted == 2)).sum() / ((true == 2) | (predicted == 2)).sum()
    assert scores["score"] == scores["iou B-line"] == pytest.approx(overlap)
    assert np.isnan(task.score(rows[1:3])["score"])
    assert np.isnan(task.score([])["score"])


@pytest.mark.parametrize(
    ("factory", "num_classes"),
    [
        (partial(Segmentation, scheme="dense"), 7),
        (BinarySegmentation, 2),
        (partial(BinarySegmentation, num_outputs=2), 2),
    ],
)
def test_uncertainty_needs_dropout_and_repeats_with_its_seed(factory, num_classes):
    for net in (unet, PositionPrior):
        assert make(factory, net=net, view=VIEW).estimate_uncertainty(greys()) is None
    task = make(factory, net=partial(unet, dropout=0.5), view=VIEW)
    deviation = task.estimate_uncertainty(greys(), num_samples=4)
    assert deviation.shape == (5, num_classes, *SIZE)
    assert deviation.min() >= 0
    assert deviation.max() > 0
    if num_classes == 2:
        assert deviation[:, 0] == pytest.approx(deviation[:, 1], abs=1e-6)
    assert np.array_equal(deviation, task.estimate_uncertainty(greys(), num_samples=4))
    assert not np.array_equal(deviation, task.estimate_uncertainty(greys(), num_samples=4, seed=1))
    assert not any(module.training for module in task.modules())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (partial(Segmentation, Bands, "dense", view=View(num_frames=4)), "num_frames=1"),
        (partial(bands, "hazy"), "no scheme 'hazy'"),
        (partial(dense, monitor="union_dice"), "metric 'union_dice'"),
        (partial(dense, boost=(1, 2)), "2 boosts for 7 classes"),
        (partial(dense, smooth=4), "odd number"),
        (partial(dense, smooth=-1), "odd number"),
        (partial(binary, num_outputs=3), "one or two outputs"),
        (partial(binary, scheme="dense", monitor="mean_iou"), "two classes"),
        (partial(binary, scheme="hazy"), "no scheme 'hazy'"),
        (partial(binary, monitor="mean_iou"), "metric 'mean_iou'"),
        (partial(matched, how="gamma"), "no matching 'gamma'; use one of"),
        (partial(sifa, version=3), "no version 3; use 1 or 2"),
        *(
            (partial(Ensemble, members), "same scheme, view and smoothing")
            for members in (
                *((), (dense, sparse), (dense, partial(dense, smooth=3))),
                (dense, partial(Segmentation, Bands, "dense")),
            )
        ),
        *(
            (partial(TranslatedSegmentation, (sifa,) * n), f"{n} members; give one SIFA")
            for n in (0, 2)
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_one_line(factory, message):
    with pytest.raises(ArmError, match=message) as caught:
        factory()
    assert "\n" not in str(caught.value)
