"""Video scores: the published training as a plain loop, and the prediction of a clip."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from lus_ray.data.loading.batches import Tracks
from lus_ray.data.transforms.view import Track
from lus_ray.experiment import Recipe
from lus_ray.nets import Uninorm
from lus_ray.predictor import predict
from lus_ray.tasks import VideoScore
from lus_ray.tasks.losses import POSITIONS, WIDE_GAP, sord_targets
from lus_ray.training.loop import fit

NUM_STEPS = 10
PUBLISHED = Recipe(epochs=NUM_STEPS, batch=0, lr=1e-2, select="loss")


def make_rows(num_clips=12, seed=0):
    """Rows of a prediction table: noisy frame probabilities around the score of the clip."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(num_clips):
        logits = rng.normal(size=(int(rng.integers(1, 14)), 4))
        logits[:, number % 4] += 2.0
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        rows.append({"severity": number % 4, "outputs": shares.tolist()})
    return rows


def make_batch():
    (batch,) = Tracks().epochs(make_rows(), view=Track(), columns=("severity",))(0)
    return batch


def train(task, rows, recipe=PUBLISHED):
    log = []
    batches = Tracks().epochs(rows, view=task.view, columns=task.columns)
    result = fit(
        task, batches=batches, validate=lambda task: {"score": math.nan}, recipe=recipe, seed=0,
        report=log.append,
    )  # fmt: skip
    return result, log


def reference_training(rows):
    """Neutral elements before each step and after the last, and the loss of each step."""
    net, targets = Uninorm(), sord_targets(WIDE_GAP)
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    values, losses = [], []
    for _ in range(NUM_STEPS):
        values.append(net.neutral.detach().clone())
        adam.zero_grad()
        loss = torch.zeros((), dtype=torch.float64)
        for row in rows:
            logits = torch.log_softmax(net(torch.tensor(row["outputs"], dtype=torch.float64).T), 0)
            loss = loss - (targets[row["severity"]] * logits).sum()
        loss.backward()
        losses.append(loss.item())
        adam.step()
        net.constrain()
    return [*values, net.neutral.detach()], losses


@pytest.fixture(scope="module")
def reference():
    return reference_training(make_rows())


@pytest.mark.parametrize("select", ["loss", "last"])
def test_the_published_steps_are_those_of_a_plain_loop_over_clips(reference, select):
    values, losses = reference
    task = VideoScore(Uninorm)
    result, log = train(
        task, make_rows(), Recipe(epochs=NUM_STEPS, batch=0, lr=1e-2, select=select)
    )
    assert values[-1].max() > 0.05  # they change
    assert [entry["train_loss"] for entry in log] == pytest.approx(losses, abs=1e-9)
    for entry, value in zip(log, values, strict=False):
        neutral = [entry[f"train_neutral_{score}"] for score in range(4)]
        assert neutral == pytest.approx(value.tolist(), abs=1e-9)
        assert entry["train_loss"] == pytest.approx(12 * entry["train_clip_loss"], rel=1e-12)
    kept = int(np.argmin(losses)) if select == "loss" else NUM_STEPS
    assert result.epoch == min(kept, NUM_STEPS - 1)
    assert task.net.neutral.tolist() == pytest.approx(values[kept].tolist(), abs=1e-9)


@pytest.mark.parametrize("rate", [0.5, 5.0])
def test_neutral_elements_stay_in_their_range_at_any_rate(rate):
    task = VideoScore(partial(Uninorm, initial=0.5))
    _, log = train(task, make_rows(), Recipe(epochs=10, batch=0, lr=rate, select="last"))
    neutral = [v for entry in log for name, v in entry.items() if name.startswith("train_neutral")]
    assert 0 <= min(neutral) <= max(neutral) <= 1


def test_positions_change_the_loss():
    losses = [
        VideoScore(Uninorm, positions=p)(make_batch(), "net")["loss"] for p in (WIDE_GAP, POSITIONS)
    ]
    assert losses[0] != losses[1]


def test_a_uninorm_of_one_frame_gives_the_normalised_odds():
    shares = np.array([0.1, 0.2, 0.4, 0.3])
    odds = shares / (1 - shares)
    prediction = predict(VideoScore(Uninorm), torch.from_numpy(shares)[None])
    assert prediction["outputs"].tolist() == [prediction["probability"].tolist()]
    assert prediction["probability"] == pytest.approx(odds / odds.sum(), abs=1e-6)


def test_the_score_is_that_of_the_annotated_clips():
    task = VideoScore(Uninorm)
    rows = [{"target": n % 4, "probability": np.eye(4)[n % 2]} for n in range(4)]
    assert task.score([*rows, {"target": None}])["score"] == pytest.approx(0.5)
    assert [task.target({"severity": score}) for score in (None, 3)] == [None, 3]
