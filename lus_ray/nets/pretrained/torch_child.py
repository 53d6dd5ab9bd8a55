"""The child process that reads torch files: `python -m lus_ray.nets.pretrained.torch_child FD`.

The result is the state dict as safetensors. `torch.load` with `weights_only` runs no code of a
file, but a hostile file may still crash it, keep it busy or fill the memory.
"""

import re
from collections.abc import Mapping
from pickle import UnpicklingError  # noqa: TID251  (only the error that torch raises)
from typing import Any, BinaryIO

import psutil
import torch
from safetensors.torch import save
from torch import Tensor

from lus_ray.storage.sandbox import serve

WRAPPERS = ("state_dict", "model_state", "model")
"""Keys under which training scripts keep the weights (TSM, PyTorchVideo, others)."""

UNSUPPORTED = re.compile(r"GLOBAL ([\w.]+)")


def convert(file: BinaryIO, out: BinaryIO, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        loaded = torch.load(file, weights_only=True, map_location="cpu")  # noqa: TID251
        out.write(save(_state_dict(loaded, 4 * request["num_bytes"])))
    except UnpicklingError as error:
        return {"error": _refusal(str(error))}
    except MemoryError:
        return {"error": "its tensors claim more memory than the file has bytes"}
    except Exception as error:  # whatever a damaged file makes torch raise
        reason = f"{type(error).__name__}: {_shorten(str(error))}".removesuffix(": ")
        return {"error": f"not a readable torch file ({reason})"}
    return {}


def _state_dict(loaded: object, most_bytes: int) -> dict[str, Tensor]:
    if isinstance(loaded, dict):
        for wrapper in WRAPPERS:
            if isinstance(loaded.get(wrapper), dict):
                loaded = loaded[wrapper]
                break
    if not isinstance(loaded, dict) or not loaded or not all(map(_is_plain, loaded.values())):
        raise ValueError("no state dict of named tensors; save net.state_dict()")
    # Tied weights share a storage; a thousand views of a storage are a bomb.
    if sum(tensor.nbytes for tensor in loaded.values()) > most_bytes:
        raise ValueError("its tensors claim more bytes than the file has")
    return {str(name): tensor.detach().clone().contiguous() for name, tensor in loaded.items()}


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    )


def _refusal(message: str) -> str:
    match = UNSUPPORTED.search(message)
    if match is None:
        return f"its table of tensors is damaged ({_shorten(message)})"
    return (
        f"it asks for {match[1]!r}, which is no part of a weights file; "
        "save the plain state_dict, or safetensors"
    )


def _shorten(message: str) -> str:
    text = " ".join(message.rpartition("WeightsUnpickler error:")[-1].split())
    return re.split(r"\. |\.$| Check the", text)[0][:200]


if __name__ == "__main__":
    serve(convert, base_bytes=psutil.Process().memory_info().vms)
