"""What reads frames without this package: data sets for a PyTorch `DataLoader` of two workers.

Letters: B samples of a batch, T frames, H rows, W columns.
What is done for the rival: workers live on from epoch to epoch and fetch ahead, a batch is put
together by the worker in memory that both processes see, grey values are taken from the video
as quickly as `lus_ray.data.decoding.video` does it, and only from frames that are asked for.
What a user with videos has to choose: one keyframe a clip means that any frame costs the clip up
to it. So a data set of single frames keeps what it decoded until the epoch ends.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lus_ray.clip import Row
from lus_ray.data.decoding.video import to_grey
from lus_ray.data.loading.sampler import SampleSpec
from lus_ray.data.transforms.view import View

NUM_WORKERS = 2

Sample = tuple[int, Row, SampleSpec]
"""The number of the epoch, the clip, and what is drawn of it."""


class Pictures(Dataset):
    """Single frames (1, H, W) from one PNG file each."""

    def __init__(self, files: Mapping[str, Sequence[Path]]) -> None:
        self.files = files

    def __getitem__(self, sample: Sample) -> UInt8[Tensor, "1 H W"]:
        """One frame, grey 0-255."""
        _, row, draw = sample
        with Image.open(self.files[row["clip"]][draw.frame or 0]) as picture:
            return torch.from_numpy(np.array(picture)[None])


class VideoFrames(Dataset):
    """Single frames (1, H, W) of videos, each decoded once by a worker in an epoch."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = files
        self.epoch = -1
        self.decoded: dict[str, UInt8[np.ndarray, "T H W"]] = {}

    def __getitem__(self, sample: Sample) -> UInt8[Tensor, "1 H W"]:
        """One frame, grey 0-255."""
        epoch, row, draw = sample
        if epoch != self.epoch:
            self.epoch, self.decoded = epoch, {}
        clip, frame = row["clip"], draw.frame or 0
        if clip not in self.decoded:
            self.decoded[clip] = decode(self.files[clip], range(row["num_frames"]))
        return torch.from_numpy(self.decoded[clip][frame : frame + 1])


class VideoWindows(Dataset):
    """Windows of a view (T, H, W) of videos, decoded as far as the last frame of the window."""

    def __init__(self, files: Mapping[str, Path], view: View) -> None:
        self.files, self.view = files, view

    def __getitem__(self, sample: Sample) -> UInt8[Tensor, "T H W"]:
        """The frames of one window, grey 0-255."""
        _, row, draw = sample
        start = np.random.default_rng(draw.seed).random()
        wanted = self.view.frame_indices(row["num_frames"], start)
        return torch.from_numpy(decode(self.files[row["clip"]], wanted.tolist()))


def decode(path: Path, wanted: Sequence[int]) -> UInt8[np.ndarray, "T H W"]:
    """These frames of a video, in order; what comes after the last of them is not decoded."""
    needed, last = set(wanted), max(wanted)
    found: dict[int, UInt8[np.ndarray, "H W"]] = {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # the two workers have a core each
        for number, frame in enumerate(container.decode(stream)):
            if number in needed:
                found[number] = to_grey(frame)
            if number == last:
                break
    return np.stack([found[number] for number in wanted])


class Dealt(Sampler):
    """The batches of epoch after epoch as `deal(epoch)` gives them, from epoch 0."""

    def __init__(self, rows: Sequence[Row], deal: Callable[[int], Sequence[Sequence[SampleSpec]]]):
        self.rows, self.deal, self.epoch = rows, deal, -1

    def __iter__(self) -> Iterator[list[Sample]]:
        self.epoch += 1
        for draws in self.deal(self.epoch):
            yield [(self.epoch, self.rows[draw.row], draw) for draw in draws]


def loader(data: Dataset, dealt: Dealt) -> DataLoader:
    """A loader of two workers, which start with the first epoch and end with the loader."""
    return DataLoader(
        data,
        batch_sampler=dealt,
        num_workers=NUM_WORKERS,
        persistent_workers=True,
        prefetch_factor=2,
        multiprocessing_context="fork",
    )
