"""The contract of a learning problem.

A `Task` is one module that holds its network, its losses and its predictions; it never loops.
`learn.fit` trains any of them; `Predictor` applies any of them.

Letters: B clips in a batch, S samples a clip, T frames, H rows, W columns, K outputs, D features.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lus_ray.data.transforms.view import Track, View

Batch = Mapping[str, Tensor]
"""`frames` (B, T, H, W) float in [0, 1] on the training device, and one tensor per label column."""


ALL = 1 << 30
"""More samples than a clip has."""


class Task(nn.Module):
    """Network + losses + predictions + score.

    `view` says how a clip becomes samples; with a `Track` the task reads what an earlier arm says
    of each frame. `by_frame` tells that the target is one class per frame, `inherited` that every
    frame has the class of its clip, `scheme` that pixels have classes of this mask scheme,
    `reads_rows` that it answers to rows of an earlier arm's predictions. `columns` are the label
    columns that `forward` reads. `networks` are the parts updated one after another in a step, each
    with its own optimizer; most tasks have one. `label` is the column that is predicted and
    `classes` its names. `progress` is the share of training that is done, told before each epoch.
    """

    networks: tuple[str, ...] = ("net",)
    columns: tuple[str, ...] = ()
    label: str = ""
    classes: tuple[str, ...] = ()
    multilabel: ClassVar[bool] = False
    by_frame: ClassVar[bool] = False
    inherited: ClassVar[bool] = False
    reads_rows: ClassVar[bool] = False
    scheme: str | None = None
    view: View | Track
    progress: float = 0.0

    def forward(self, batch: Batch, network: str) -> dict[str, Tensor]:
        """Losses by name; `loss` is the one that the network descends."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    def predict(
        self, frames: Float[Tensor, "S T H W"] | Float[Tensor, "M K"]
    ) -> dict[str, np.ndarray]:
        """Per sample of one clip: `outputs` (S, K) probabilities and `features` (S, D)."""
        raise TypeError(f"{type(self).__name__} does not define predict")

    def samples_per_pass(self, num_pixels: int) -> int:
        """How many samples of so many pixels are predicted at once; a long clip goes in parts."""
        return ALL

    def lr_factor(self, parameter: str) -> float:
        """Factor on the learning rate of a parameter, by its name in the task."""
        return 1.0

    def adam_settings(self, network: str) -> dict[str, Any]:
        """In what the network's Adam differs from the recipe's: `betas`, `l2`."""
        return {}

    def find_problem(self, losses: Mapping[str, float]) -> str:
        """What in the mean losses of an epoch tells that training is broken, or nothing."""
        return ""

    def buffer_state(self) -> dict[str, Tensor]:
        """What training remembers from step to step beside parameters and buffers."""
        return {}

    def load_buffer_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `memory` gave."""

    def constrain(self) -> None:
        """Put parameters back to where they may be; called after every step."""

    def target(self, row: Mapping[str, Any]) -> Any:
        """The target of a clip row: a class index, a list of 0 / 1 / -1, or None."""
        raise TypeError(f"{type(self).__name__} does not define target")

    def score(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Validation scores of prediction rows by name; `score` is what is maximised."""
        raise TypeError(f"{type(self).__name__} does not define score")


def to_unit_range(frames: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Grey 0-255 as float in [0, 1]."""
    return frames.to(torch.float32).div_(255.0)


def with_arguments(task: Callable[..., Any], arguments: Mapping[str, Any]) -> partial[Any]:
    """The same task or network with those of the arguments that it takes, or else its members."""
    if not isinstance(task, partial):
        task = partial(task)
    taken = inspect.signature(task.func).parameters
    given = {**task.keywords, **{n: value for n, value in arguments.items() if n in taken}}
    if "members" in given:
        others = {name: value for name, value in arguments.items() if name not in taken}
        given["members"] = tuple(with_arguments(member, others) for member in given["members"])
    return partial(task.func, *task.args, **given)
