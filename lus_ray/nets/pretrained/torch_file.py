"""Read the tensors of a torch file (`.pth`, `.pt`, `.pyth`) without trusting it.

A torch file is a pickle, which is a program. A limited child process loads it with `weights_only`
and hands the tensors over as safetensors, so that nothing pickled is read in this process.
"""

import signal
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from lus_ray.errors import CheckpointError
from lus_ray.storage.sandbox import Sandbox, open_scratch, read_result

BASE_SECONDS = 10.0
BYTES_PER_SECOND = 10 << 20
BASE_BYTES = 1 << 30
"""Address space beyond that of torch and eight times the size of the file."""


class TorchFileReader(Sandbox):
    """A child process that reads torch files one after another, each in a fresh fork."""

    def __init__(self) -> None:
        super().__init__("lus_ray.nets.pretrained.torch_child")

    def read(self, path: Path) -> dict[str, Tensor]:
        """The state dict that `torch.save` wrote, alone or within a training checkpoint.

        Raises:
            CheckpointError: the file is damaged, or holds more than tensors.
        """
        try:
            with path.open("rb") as source, open_scratch() as result:
                self._convert(source.fileno(), result.fileno(), path.stat().st_size)
                content, num_bytes, report = read_result(result.fileno())
                if "error" in report:
                    raise ValueError(report["error"])
                return load(content[:num_bytes])
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"{path}: {' '.join(str(error).split())}") from None

    def _convert(self, source: int, result: int, num_bytes: int) -> None:
        seconds = BASE_SECONDS + num_bytes / BYTES_PER_SECOND
        request = {"seconds": seconds, "num_bytes": num_bytes}
        request["memory_bytes"] = BASE_BYTES + 8 * num_bytes
        request["result_bytes"] = (1 << 20) + 5 * num_bytes
        end = self.run(source, result, request)
        if end is None:
            raise ValueError("the process that read it ended; run again, with more memory free")
        if end.late:
            raise ValueError(f"not a readable torch file (takes longer than {seconds:.0f} s)")
        if end.status < 0:
            name = signal.Signals(-end.status).name
            raise ValueError(f"not a readable torch file (it crashed its reader, {name})")
        if end.status > 0:
            raise ValueError("not a readable torch file (its reader gave up, short of memory)")


def read(path: Path) -> dict[str, Tensor]:
    with TorchFileReader() as reader:
        return reader.read(path)
