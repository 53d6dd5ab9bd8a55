"""Video scores: the published training written out as a plain loop, and what is said of a clip."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from lus_ray.data.loading.batches import Tracks
from lus_ray.data.transforms.view import Track
from lus_ray.experiment import Recipe
from lus_ray.nets import ArgmaxMean, AttentionPool, MaxArgmax, MeanLogit, Uninorm
from lus_ray.predictor import predict
from lus_ray.tasks import VideoScore
from lus_ray.tasks.losses import POSITIONS
from lus_ray.training.loop import fit

AGGREGATORS = [ArgmaxMean, AttentionPool, MaxArgmax, MeanLogit, Uninorm]
PUBLISHED = Recipe(epochs=30, batch=0, lr=1e-2, select="loss")
WIDE = (-0.5, 1.0, 2.0, 3.0)


def tracks(num_clips=12, seed=0, sharpness=2.0, longest=14):
    """Rows of a prediction table: noisy frame probabilities around the score of the clip."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(num_clips):
        logits = rng.normal(size=(int(rng.integers(1, longest)), 4))
        logits[:, number % 4] += sharpness
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        rows.append({"severity": number % 4, "outputs": shares.tolist()})
    return rows


def fitted(task, rows, recipe=PUBLISHED):
    log = []
    whole = Tracks().epochs(rows, view=task.view, columns=task.columns)
    kept = fit(
        task, batches=whole, validate=lambda task: {"score": math.nan}, recipe=recipe, seed=0,
        report=log.append,
    )  # fmt: skip
    return kept, log


def pairwise(x, y, e):
    """The uninorm of two numbers: product, and the smaller one off the diagonal."""
    if x >= e and y >= e:
        return e + (1 - e) * (1 - (1 - (x - e) / (1 - e)) * (1 - (y - e) / (1 - e)))
    if x <= e and y <= e:
        return e * (x / e) * (y / e)
    return torch.minimum(x, y)


def target(score):
    weights = np.exp([-2 * (WIDE[score] - place) ** 2 for place in WIDE])
    return torch.tensor(weights / weights.sum())


def plain_loop(rows, num_steps):
    """Neutral elements before each step, and the losses there; then those after the last."""
    neutral = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([neutral], lr=1e-2)
    values, losses = [], []
    for _ in range(num_steps):
        values.append(neutral.detach().clone())
        adam.zero_grad()
        loss = torch.zeros((), dtype=torch.float64)
        for row in rows:
            clip = torch.tensor(row["outputs"], dtype=torch.float64)
            said = []
            for score in range(4):
                value = clip[0, score]
                for frame in clip[1:, score]:
                    value = pairwise(value, frame, neutral[score])
                said.append(value)
            loss = loss - (target(row["severity"]) * torch.log_softmax(torch.stack(said), 0)).sum()
        loss.backward()
        losses.append(loss.item())
        adam.step()
        with torch.no_grad():
            neutral.clamp_(0, 1)
    return [*values, neutral.detach()], losses


def test_thirty_published_steps_are_those_of_a_plain_loop_over_pairs_of_frames():
    rows = tracks()
    values, losses = plain_loop(rows, 30)
    task = VideoScore(Uninorm)
    kept, log = fitted(task, rows)
    assert values[30].max() > 0.05  # they did move
    assert [entry["train_loss"] for entry in log] == pytest.approx(losses, abs=1e-9)
    best = int(np.argmin(losses))
    assert kept.epoch == best
    assert task.net.neutral.tolist() == pytest.approx(values[best].tolist(), abs=1e-9)


def test_the_last_neutral_elements_are_those_of_the_plain_loop_too():
    rows = tracks(seed=3)
    values, _ = plain_loop(rows, 30)
    task = VideoScore(Uninorm)
    fitted(task, rows, Recipe(epochs=30, batch=0, lr=1e-2, select="last"))
    assert task.net.neutral.tolist() == pytest.approx(values[30].tolist(), abs=1e-9)


def test_every_epoch_reports_the_neutral_elements_that_its_loss_belongs_to():
    rows = tracks()
    values, _ = plain_loop(rows, 30)
    _, log = fitted(VideoScore(Uninorm), rows)
    for entry, value in zip(log, values[:30], strict=True):
        said = [entry[f"train_neutral_{score}"] for score in range(4)]
        assert said == pytest.approx(value.tolist(), abs=1e-9)


def test_the_loss_is_the_sum_over_clips_and_the_mean_is_told_beside_it():
    rows = tracks()
    _, log = fitted(VideoScore(Uninorm), rows, Recipe(epochs=1, batch=0, lr=1e-2))
    assert log[0]["train_loss"] == pytest.approx(12 * log[0]["train_clip_loss"], rel=1e-12)


def test_what_pads_a_short_clip_teaches_nothing():
    rows = tracks()
    (batch,) = Tracks().epochs(rows, view=Track(), columns=("severity",))(0)
    beyond = torch.arange(batch["tracks"].shape[2]) >= batch["lengths"][:, None, None]
    task = VideoScore(partial(Uninorm, initial=0.3))
    one = task(batch, "net")["loss"]
    spoiled = {**batch, "tracks": torch.where(beyond, 0.9, batch["tracks"])}
    assert beyond.any()
    assert task(spoiled, "net")["loss"] == one


def test_neutral_elements_are_put_back_between_zero_and_one():
    task = VideoScore(Uninorm)
    with torch.no_grad():
        task.net.neutral.copy_(torch.tensor([-0.2, 0.5, 1.2, 1.0]))
    task.constrain()
    assert task.net.neutral.tolist() == [0.0, 0.5, 1.0, 1.0]
    VideoScore(AttentionPool).constrain()  # has nothing to put back


@pytest.mark.parametrize("rate", [0.5, 5.0])
def test_neutral_elements_stay_in_their_range_at_any_rate(rate):
    task = VideoScore(partial(Uninorm, initial=0.5))
    _, log = fitted(task, tracks(), Recipe(epochs=10, batch=0, lr=rate, select="last"))
    said = [v for entry in log for name, v in entry.items() if name.startswith("train_neutral")]
    assert min(said) >= 0
    assert max(said) <= 1


def test_other_positions_are_other_targets():
    rows = tracks()
    (batch,) = Tracks().epochs(rows, view=Track(), columns=("severity",))(0)
    wide, plain = VideoScore(Uninorm), VideoScore(Uninorm, positions=POSITIONS)
    assert wide(batch, "net")["loss"] != plain(batch, "net")["loss"]


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize("num_frames", [1, 3, 300])
def test_a_clip_has_one_line_of_probabilities(aggregator, num_frames):
    rng = np.random.default_rng(0)
    track = torch.from_numpy(rng.dirichlet([1, 1, 1, 1], num_frames))
    said = predict(VideoScore(aggregator), track)
    assert said["outputs"].shape == (1, 4)
    assert said["probability"] == pytest.approx(said["outputs"][0])
    assert said["probability"].sum() == pytest.approx(1, abs=1e-6)


def test_the_decision_is_by_the_odds_where_uninorms_tie_in_float32():
    shares = torch.tensor([0.05, 0.3, 0.34, 0.31], dtype=torch.float64)
    track = shares.expand(400, 4)
    task = VideoScore(partial(Uninorm, initial=0.0))
    aggregated = task.net(track.mT).float()
    assert len(set(aggregated.tolist())) == 1  # noisy or: all are 1
    assert predict(task, track)["probability"].argmax() == 2


def test_a_uninorm_of_one_frame_gives_the_normalised_odds_of_its_probabilities():
    shares = np.array([0.1, 0.2, 0.4, 0.3])
    odds = shares / (1 - shares)
    said = predict(VideoScore(Uninorm), torch.from_numpy(shares)[None])
    assert said["probability"] == pytest.approx(odds / odds.sum(), abs=1e-6)


def test_scores_are_those_of_the_annotated_clips():
    task = VideoScore(Uninorm)
    rows = [{"target": n % 4, "probability": np.eye(4)[n % 2]} for n in range(4)]
    assert task.score([*rows, {"target": None}])["score"] == pytest.approx(0.5)
    assert task.target({"severity": None}) is None
    assert task.target({"severity": 3}) == 3
