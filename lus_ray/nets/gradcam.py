"""Grad-CAM: the evidence of an image classifier by position.

Source: Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks", equations 1
and 2; Roy et al. 2020, figure 4, draws the box of what exceeds a threshold.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from lus_ray.errors import InputError
from lus_ray.nets.mc_dropout import train_only


def grad_cam(
    net: Any, images: Float[Tensor, "N 3 H W"], classes: Int[Tensor, "N"] | None = None
) -> Float[Tensor, "N H W"]:
    """Heat of a class at each pixel, from 0 to 1 at the hottest pixel of each image.

    `net` has the steps `maps`, `pooled` and `head`, as `FrameCNN` and `ResNet` do; it runs in
    evaluation mode, and its modes and gradients stay as before. `classes` are the predicted ones by
    default. Without any evidence the heat is 0 everywhere.

    Raises:
        InputError: a class is none of the outputs.
    """
    # Inference mode of a caller would prevent the gradient of the maps.
    with torch.inference_mode(False), train_only((), net.modules()):
        with torch.no_grad():
            maps = net.maps(images)
        with torch.enable_grad():
            maps = maps.requires_grad_()
            logits = net.head(net.pooled(maps))
            chosen = logits.argmax(1) if classes is None else _checked(classes, logits.shape[1])
            score = logits.gather(1, chosen[:, None]).sum()
            (gradients,) = torch.autograd.grad(score, maps)
        weights = gradients.mean(dim=(2, 3), keepdim=True)
        heat = (weights * maps.detach()).sum(dim=1, keepdim=True).relu()
        heat = functional.interpolate(heat.float(), images.shape[2:], mode="bilinear")[:, 0]
        hottest = heat.amax(dim=(1, 2), keepdim=True)
        return heat / hottest.where(hottest != 0, torch.ones_like(hottest))


def bounding_box(
    heat: Float[np.ndarray, "H W"] | Float[Tensor, "H W"], threshold: float = 0.5
) -> tuple[float, float, float, float] | None:
    """The box (left, top, right, bottom) of the largest hot region, in fractions of the image.

    A region consists of pixels, connected over their edges, that reach `threshold` times the
    maximum. None where the heat is 0 everywhere.

    Raises:
        InputError: the heat is negative or not finite, or the threshold is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise InputError(f"Grad-CAM box: threshold {threshold}; give a number above 0, at most 1")
    values = torch.as_tensor(heat).detach().cpu().numpy()
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError("Grad-CAM box: the heat has negative or infinite values; check the net")
    if not values.any():
        return None
    from scipy import ndimage  # slow to import, and rarely needed

    regions, _ = ndimage.label(values >= threshold * values.max())
    largest = 1 + np.bincount(regions.flat)[1:].argmax()
    rows, columns = ndimage.find_objects(regions)[largest - 1]
    height, width = values.shape
    return columns.start / width, rows.start / height, columns.stop / width, rows.stop / height


def _checked(classes: Int[Tensor, "N"], num_outputs: int) -> Int[Tensor, "N"]:
    wrong = (classes < 0) | (classes >= num_outputs)
    if wrong.any():
        raise InputError(
            f"Grad-CAM: class {int(classes[wrong][0])} of a network with {num_outputs} outputs; "
            f"use 0 to {num_outputs - 1}"
        )
    return classes.long()
