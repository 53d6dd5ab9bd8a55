"""Class activation maps: the evidence of a network of clips by frame and position.

Source: Zhou et al. 2016, "Learning deep features for discriminative localization", equation 2. The
mean of a map over frames and positions is the logit of its class without the bias.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def has_maps(net: Any) -> bool:
    """Whether a network averages maps of its frames before a linear layer."""
    return hasattr(net, "clip_maps") and hasattr(net, "head_name")


@torch.no_grad()
def class_activation(
    net: Any, frames: Float[Tensor, "B T H W"], mix: Float[Tensor, "Q K"]
) -> Float[Tensor, "B t Q h w"]:
    """Maps of Q mixtures of the outputs; a row of `mix` with a single 1 gives one output.

    The network may have fewer time steps t than frames.
    """
    weights = mix.to(frames) @ net.get_submodule(net.head_name).weight
    return torch.einsum("btdhw,qd->btqhw", net.clip_maps(frames), weights)
