"""Where the backbone found its evidence: class activation maps over the frames of a clip.

Letters: N frames of the clip, F of them read by the network, M shown, S samples of T frames,
Q targets, K biomarkers, H rows, W columns.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch.nn.functional import interpolate

from lus_ray.clip import ABSENCES, BIOMARKERS
from lus_ray.data.transforms.view import View
from lus_ray.inference import frame_sheets
from lus_ray.inference.frame_sheets import FrameWindow
from lus_ray.inference.schema import AttentionSheet, AttentionTarget
from lus_ray.nets.class_activation import class_activation, has_maps
from lus_ray.tasks.task import to_unit_range

MAX_TARGETS = 8
MAX_SIDE = 56
"""Longer side of a map in pixels; the last layer of the network has fewer."""
MAX_ROWS = 32_767
"""Of a picture that browsers draw."""
SEVERITY = AttentionTarget("severity", "label")


def choose_targets(
    findings: Sequence[int], severity: Sequence[float] | None
) -> tuple[list[AttentionTarget], Float[np.ndarray, "Q K"]]:
    """The first findings and severity, and how each mixes the maps of the biomarkers.

    What is absent has no place, so findings of absence are left out.
    `severity` are the weights of the biomarkers in it; None where no expert of it is summarised.
    """
    shown = [k for k in findings if BIOMARKERS[k] not in ABSENCES]
    signs = shown[: MAX_TARGETS - (severity is not None)]
    targets = [AttentionTarget(BIOMARKERS[k], "sign") for k in signs]
    mix = [np.eye(len(BIOMARKERS))[k] for k in signs]
    if severity is not None:
        targets.append(SEVERITY)
        mix.append(np.asarray(severity))
    return targets, np.reshape(mix, (-1, len(BIOMARKERS)))


def make_attention(
    task: Any,
    model: str,
    frames: UInt8[np.ndarray, "N H W"],
    targets: list[AttentionTarget],
    mix: Float[np.ndarray, "Q K"],
    *,
    device: str = "cpu",
) -> AttentionSheet | None:
    """The sheet of all targets; None without targets or where the network has no such maps."""
    if not targets or not has_maps(task.net):
        return None
    view: View = task.view
    read, maps = _maps_of_frames(task, frames, mix, device)
    for target, own in zip(targets, maps, strict=True):
        if target.kind == "label":  # a sum over signs, which may be negative throughout
            own -= own.mean()
    every = frame_sheets.frame_step(len(frames))
    shown = np.arange(len(frames))[::every]
    nearest = np.abs(shown[:, None] - read).argmin(axis=1)
    side = min(MAX_SIDE, MAX_ROWS // (len(shown) * len(targets)))
    height, width = _map_size(frames.shape[1], frames.shape[2], side)
    grey = _resize(maps, view, FrameWindow(view, *frames.shape[1:]), height, width)
    sheet = grey[:, nearest].reshape(-1, height, width)
    png = frame_sheets.encode_png(sheet)
    return AttentionSheet(model, targets, height, width, len(shown), every, png)


def _maps_of_frames(
    task: Any, frames: UInt8[np.ndarray, "N H W"], mix: Float[np.ndarray, "Q K"], device: str
) -> tuple[Int64[np.ndarray, "F"], Float[np.ndarray, "Q F h w"]]:  # fmt: skip
    """The frames that the network read, and the mean of the maps of each over the samples."""
    samples = to_unit_range(torch.from_numpy(task.view.resize_samples(frames)).to(device))
    maps = class_activation(task.net, samples, torch.from_numpy(mix)).cpu().numpy()
    numbers = task.view.sample_indices(len(frames))  # (S, T)
    steps = np.arange(numbers.shape[1]) * maps.shape[1] // numbers.shape[1]
    read, position = np.unique(numbers, return_inverse=True)
    sums = np.zeros((len(read), *maps.shape[2:]))
    np.add.at(sums, position.reshape(-1), maps[:, steps].reshape(-1, *maps.shape[2:]))
    counts = np.bincount(position.reshape(-1))
    return read, np.moveaxis(sums / counts[:, None, None, None], 1, 0)


def _resize(
    maps: Float[np.ndarray, "Q F h w"], view: View, window: FrameWindow, height: int, width: int
) -> UInt8[np.ndarray, "Q F H W"]:
    """Positive evidence without the padding of the view, 255 at the maximum of each target."""
    positive = torch.from_numpy(maps).clamp(min=0)
    whole = interpolate(positive, (view.height, view.width), mode="bilinear")
    cropped = torch.from_numpy(window.crop(whole.numpy()))
    small = interpolate(cropped, (height, width), mode="area").numpy()
    largest = small.max(axis=(1, 2, 3), keepdims=True)
    return np.round(255 * small / np.where(largest > 0, largest, 1)).astype(np.uint8)


def _map_size(height: int, width: int, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
