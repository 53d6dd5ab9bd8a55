"""Pretrained weights: read a file without running its code, and load it into a network."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lus_ray.errors import CheckpointError
from lus_ray.nets.pretrained import torch_file

MAX_HEADER_BYTES = 8 << 20


def read(path: Path | str) -> dict[str, Tensor]:
    """Tensors by name from a `.safetensors` file, or from a torch file of any other suffix.

    Raises:
        CheckpointError: the file is missing, damaged, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give .safetensors, .pth, .pt or .pyth")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    with path.open("rb") as file:
        if not file.read(2).startswith((b"PK", b"\x80")):  # as torch.save writes them
            raise CheckpointError(
                f"{path}: not a weights file; give .safetensors, .pth, .pt or .pyth"
            )
    return torch_file.read(path)


def load(
    net: nn.Module, state: Mapping[str, Tensor], *, head: bool = False, origin: str = "weights"
) -> list[str]:
    """Copy a state into a network, and return the copied names.

    Without `head` the last layer (`net.head_name`) keeps its values. Names of the reference of TSM
    are translated. Errors name `origin`.

    Raises:
        CheckpointError: a tensor is missing, unknown, of another shape or not finite; the network
            is unchanged.
    """
    excluded = () if head else (f"{net.head_name}.",)
    given = {_plain(name): tensor for name, tensor in state.items()}
    given = {name: t for name, t in given.items() if not name.startswith(excluded)}
    own = {name: t for name, t in net.state_dict().items() if not name.startswith(excluded)}
    kind = type(net).__name__
    # Files from before torch 0.4.1 do not count batches; a fixed momentum never reads the count.
    counted = {name for name in own if not name.endswith("num_batches_tracked")}
    _refuse(origin, f"lacks tensors that {kind} needs", sorted(counted - given.keys()))
    _refuse(origin, f"has tensors that {kind} does not know", sorted(given.keys() - own.keys()))
    misshapen = [
        f"{name} {tuple(tensor.shape)} for {tuple(own[name].shape)}"
        for name, tensor in given.items()
        if tensor.shape != own[name].shape
    ]
    _refuse(origin, f"has tensors of another shape than {kind}", misshapen)
    infinite = [name for name, tensor in given.items() if not torch.isfinite(tensor).all()]
    _refuse(origin, "has values that are not finite", infinite)
    net.load_state_dict(given, strict=False)
    return sorted(given)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
    if header_bytes > min(MAX_HEADER_BYTES, path.stat().st_size):
        raise CheckpointError(f"{path}: a header of {header_bytes} bytes; not a safetensors file")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: not a sound safetensors file ({reason})") from None


def _plain(name: str) -> str:
    """The name in torchvision: TSM's reference wraps the network, the head, and conv1."""
    for wrapper in ("module.", "base_model."):
        name = name.removeprefix(wrapper)
    if name.startswith("new_fc."):
        return name.removeprefix("new_")
    return name.replace(".conv1.net.", ".conv1.")


def _refuse(origin: str, trouble: str, names: Sequence[str]) -> None:
    if names:
        shown = ", ".join(names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise CheckpointError(f"{origin}: {trouble}: {shown}{more}; give the file of this network")
