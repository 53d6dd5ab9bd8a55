"""The contract of a learning problem.

Shapes: B clips in a batch, S samples of a clip, T frames, H rows, W columns, M frames of a track,
K outputs, D features.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lus_ray.data.labels import class_index
from lus_ray.data.transforms.view import Track, View
from lus_ray.metrics import classification

Batch = Mapping[str, Tensor]
"""`frames` (B, T, H, W) float in [0, 1] on the training device, and one tensor per label column."""
PredictionRow = Mapping[str, Any]
GreyFrames = Float[Tensor, "N 1 H W"]
"""In [0, 1] unless stated otherwise."""
CPU_PIXELS, GPU_PIXELS = 1 << 17, 1 << 21
"""Pixels that are predicted in one pass. What larger passes allocate on a CPU goes back to the
system after every layer, and asking for it again takes up to two thirds of the time."""


class Task(nn.Module):
    """Network, losses, predictions and score of one learning problem.

    Attributes:
        view: how a clip becomes samples; a `Track` reads frame predictions of an earlier arm.
        networks: names of the submodules that are updated in turn, each by its own optimizer.
        columns: label columns that `forward` reads.
        label: the column that is predicted, with its `classes`.
        multilabel: a target has one entry of 0, 1 or -1 per class.
        by_frame: a target has one class per frame.
        inherited: every frame has the class of its clip.
        scheme: the mask scheme whose classes pixels have.
        reads_rows: predicts from rows of an earlier arm's predictions.
        fits_in_one_call: learns by `fit_rows` instead of the training loop, and keeps what it
            learned in `estimator`.
        clips_share_a_pass: every sample is predicted alone, so that those of several clips can be
            predicted at once.
        monitor: the validation score that selects the epoch.
        progress: completed share of training, set before each epoch.
    """

    networks: tuple[str, ...] = ("net",)
    columns: tuple[str, ...] = ()
    label: str = ""
    classes: tuple[str, ...] = ()
    multilabel: ClassVar[bool] = False
    by_frame: bool = False
    inherited: bool = False
    reads_rows: ClassVar[bool] = False
    fits_in_one_call: ClassVar[bool] = False
    estimator: Any = None
    clips_share_a_pass: ClassVar[bool] = False
    scheme: str | None = None
    monitor: str = "accuracy"
    view: View | Track
    progress: float = 0.0

    def forward(self, batch: Batch, network: str) -> dict[str, Tensor]:
        """Losses by name; the network minimises `loss`."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    def fit_rows(
        self, train: Sequence[PredictionRow], val: Sequence[PredictionRow], *, seed: int
    ) -> dict[str, float]:
        """Fit to prediction rows in one call; the validation scores."""
        raise TypeError(f"{type(self).__name__} does not define fit_rows")

    def predict(
        self, frames: Float[Tensor, "S T H W"] | Float[Tensor, "M K"]
    ) -> dict[str, np.ndarray]:
        """Per sample of one clip: `outputs` (S, K) probabilities and `features` (S, D)."""
        raise TypeError(f"{type(self).__name__} does not define predict")

    def predict_rows(self, rows: Sequence[PredictionRow]) -> list[dict[str, np.ndarray]]:
        return [self.predict(row) for row in rows]  # type: ignore[arg-type]

    def samples_per_pass(self, num_pixels: int) -> int:
        """How many samples of this many pixels to predict in one pass."""
        device = next(self.parameters(), torch.empty(0)).device.type
        return max(1, (CPU_PIXELS if device == "cpu" else GPU_PIXELS) // num_pixels)

    def lr_factor(self, parameter: str) -> float:
        """Factor on the learning rate of a parameter, by its name in the task."""
        return 1.0

    def estimate_statistics(self, batch: Batch) -> None:
        """Pass a batch through the batch norms as in training; all else is in evaluation mode."""
        for network in self.networks:
            self(batch, network)

    def adam_settings(self, network: str) -> dict[str, Any]:
        """Settings of a network's Adam instead of the recipe's: `betas`, `l2`, `decay`, `turn`."""
        return {}

    def find_problem(self, losses: Mapping[str, float]) -> str:
        """What the mean losses of an epoch show to be broken, or an empty string."""
        return ""

    def buffer_state(self) -> dict[str, Tensor]:
        """Tensors that training keeps between steps besides parameters and buffers."""
        return {}

    def load_buffer_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `buffer_state`."""

    def constrain(self) -> None:
        """Project parameters to their valid range; called after every step."""

    def target(self, row: PredictionRow) -> Any:
        """The target of a clip row: a class index, a list of 0 / 1 / -1, or None."""
        return class_index(self.label, row, self.classes)

    def score(self, rows: Sequence[PredictionRow]) -> dict[str, float]:
        """Validation scores of prediction rows by name; `score` is maximised."""
        return class_scores(rows, self.monitor)


def class_scores(
    rows: Sequence[PredictionRow],
    monitor: str = "accuracy",
    metric: Callable[..., Any] = classification.score,
) -> dict[str, float]:
    """Accuracy and AUC of the annotated prediction rows; `score` is the monitored one."""
    rows = [row for row in rows if row["target"] is not None]
    if not rows:
        return {"score": float("nan")}
    values = metric(*(np.array([row[name] for row in rows]) for name in ("target", "probability")))
    scores = {name: float(values[name]) for name in ("accuracy", "auc")}
    return {**scores, "score": scores[monitor]}


def mean_of_samples(outputs: Float[np.ndarray, "S K"]) -> Float[np.ndarray, "K"]:
    """The probabilities of a clip. Equal samples have their own value as the mean, however many
    they are; sums in float32 would rank the clips of a constant model by their lengths."""
    return outputs.mean(axis=0, dtype=np.float64).astype(outputs.dtype)


def to_unit_range(frames: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Grey 0-255 as float in [0, 1]."""
    return frames.to(torch.float32).div_(255.0)


def with_arguments(task: Callable[..., Any], arguments: Mapping[str, Any]) -> partial[Any]:
    """The task or network with those arguments that it accepts; the rest go to its members."""
    if not isinstance(task, partial):
        task = partial(task)
    accepted = inspect.signature(task.func).parameters
    bound = {**task.keywords, **{n: value for n, value in arguments.items() if n in accepted}}
    if "members" in bound:
        rest = {name: value for name, value in arguments.items() if name not in accepted}
        bound["members"] = tuple(with_arguments(member, rest) for member in bound["members"])
    return partial(task.func, *task.args, **bound)
