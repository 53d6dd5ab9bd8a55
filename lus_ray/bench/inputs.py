"""Inputs of benchmarks: phantom clips as videos, images and a store, and data sets that read them.

Letters: B clips, T frames, H rows, W columns.
The store is ingested from the videos and the images are written from the store, so that all three
have equal pixels although video is lossy. Clips are phantoms of 30 frames played forth and back. A
video has one keyframe, so any frame costs the clip up to it, and about 2 kB per frame, an image
about 45 kB, as the published clips have at this size.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lus_ray.clip import Row, frames_of, to_rows
from lus_ray.data import store as stores
from lus_ray.data.decoding.video import to_grey
from lus_ray.data.ingest import phantom
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.loading.batches import Pixels, take_frames
from lus_ray.data.loading.sampler import SampleSpec, sample_epoch
from lus_ray.data.transforms.view import View

COLUMNS = ("clip", "height", "width", "frames")
NUM_DISTINCT = 30
NUM_WORKERS = 2
X264 = {"crf": "24", "preset": "veryfast", "g": "100000", "sc_threshold": "0"}

Sample = tuple[int, Row, SampleSpec]
"""Number of the epoch, clip, frame or window."""
Reader = Callable[[], Iterable[Tensor]]
"""Returns the batches of an epoch."""


def phantom_frames(
    view: View, *, num_clips: int, num_frames: int, scheme: str
) -> tuple[UInt8[Tensor, "B T H W"], UInt8[Tensor, "B T H W"]]:
    """Grey 0-255 and class ids of clips of as many patients, resized by a view."""
    size = max(64, view.height, view.width)  # no phantom is smaller
    rows = phantom.clips(patients=num_clips, clips=1, frames=num_frames, size=size, masks=scheme)
    pairs = [(view.resize(row["frames"]), view.resize_masks(row["masks"])) for row in rows]
    frames, ids = (torch.from_numpy(np.stack(parts)) for parts in zip(*pairs, strict=True))
    return frames, ids


@dataclass(frozen=True)
class VideoSet:
    """Paths of the clips by name; `rows` are those of the store's index with `num_frames`."""

    store: Path
    index: pa.Table
    rows: list[Row]
    videos: Mapping[str, Path]
    images: Mapping[str, tuple[Path, ...]]


@contextmanager
def make_videos(
    num_clips: int, num_frames: int, size: int, *, images: bool = False
) -> Iterator[VideoSet]:
    """Square clips of as many patients in a temporary folder, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder:
        root, store = Path(folder) / "videos", Path(folder) / "store"
        root.mkdir()
        _write_videos(root, num_clips, num_frames, size)
        ingest("folder", root, store)
        index, counts = stores.read_index(store), stores.count_frames_by_clip(store)
        rows = [row | {"num_frames": counts[row["clip"]]} for row in to_rows(index)]
        videos = {row["clip"]: root / f"{Path(row['clip']).name}.mp4" for row in rows}
        pngs = _write_images(store, Path(folder) / "images") if images else {}
        yield VideoSet(store, index, rows, videos, pngs)


def _write_videos(root: Path, num_clips: int, num_frames: int, size: int) -> None:
    distinct = min(num_frames, NUM_DISTINCT)
    clips = phantom.clips(patients=num_clips, clips=1, frames=distinct, size=size, masks="none")
    forth_and_back = [*range(distinct), *range(distinct - 2, 0, -1)] or [0]
    order = np.resize(forth_and_back, num_frames)
    lines = ["file,patient"]
    for number, row in enumerate(clips):
        write_video(root / f"{number:03d}.mp4", row["frames"][order])
        lines.append(f"{number:03d}.mp4,p{number:03d}")
    (root / "labels.csv").write_text("\n".join(lines))


def write_video(path: Path, frames: UInt8[np.ndarray, "T H W"]) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options=X264)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())


def _write_images(store: Path, folder: Path) -> dict[str, tuple[Path, ...]]:
    folder.mkdir()
    images: dict[str, tuple[Path, ...]] = {}
    with ThreadPoolExecutor(NUM_WORKERS) as threads:  # compression takes most of it
        for row in stores.read(store):
            pictures = [Image.fromarray(frame) for frame in frames_of(row)]
            stem = folder / Path(row["clip"]).name
            paths = tuple(Path(f"{stem}-{number:04d}.png") for number in range(len(pictures)))
            list(threads.map(Image.Image.save, pictures, paths))
            images[row["clip"]] = paths
    return images


@dataclass
class ImageFrames(Dataset):
    files: Mapping[str, Sequence[Path]]

    def __getitem__(self, sample: Sample) -> UInt8[Tensor, "1 H W"]:
        _, row, draw = sample
        with Image.open(self.files[row["clip"]][draw.frame or 0]) as image:
            return torch.from_numpy(np.array(image)[None])


class VideoFileFrames(Dataset):
    """Single frames of videos that a worker decodes once per epoch."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        def decode(clip: str, num_frames: int, epoch: int) -> UInt8[np.ndarray, "T H W"]:
            return decode_frames(files[clip], range(num_frames))

        self.decode = lru_cache(maxsize=len(files))(decode)

    def __getitem__(self, sample: Sample) -> UInt8[Tensor, "1 H W"]:
        epoch, row, draw = sample
        frame = draw.frame or 0
        frames = self.decode(row["clip"], row["num_frames"], epoch)
        return torch.from_numpy(frames[frame : frame + 1])


@dataclass
class VideoWindows(Dataset):
    """Windows of videos, each decoded up to its last frame."""

    files: Mapping[str, Path]
    view: View

    def __getitem__(self, sample: Sample) -> UInt8[Tensor, "T H W"]:
        _, row, draw = sample
        start = np.random.default_rng(draw.seed).random()
        numbers = self.view.frame_indices(row["num_frames"], start)
        return torch.from_numpy(decode_frames(self.files[row["clip"]], numbers.tolist()))


class StoredClips(Dataset):
    """Samples of clips of a store; a worker keeps the clips of a window, and reads each once."""

    def __init__(self, store: Path, view: View, *, window: int) -> None:
        self.places, self.view = stores.locate_clips(store), view
        unverified = partial(pq.ParquetFile, memory_map=True)  # Arrow's default
        opened = lru_cache(maxsize=window)(unverified)

        def read(clip: str) -> UInt8[np.ndarray, "N H W"]:
            place = [self.places[clip]]
            (row,) = stores.read_located(store, place, COLUMNS, opened=opened)
            return frames_of(row)

        self.read = lru_cache(maxsize=window + 1)(read)

    def __getitem__(self, sample: Sample) -> UInt8[Tensor, "T H W"]:
        _, row, draw = sample
        return torch.from_numpy(take_frames(self.read(row["clip"]), self.view, draw))


def decode_frames(path: Path, numbers: Sequence[int]) -> UInt8[np.ndarray, "T H W"]:
    """These frames of a video, in order; later frames are not decoded."""
    needed, last = set(numbers), max(numbers)
    frames: dict[int, UInt8[np.ndarray, "H W"]] = {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # the two workers have a core each
        for number, frame in enumerate(container.decode(stream)):
            if number in needed:
                frames[number] = to_grey(frame)
            if number == last:
                break
    return np.stack([frames[number] for number in numbers])


@dataclass
class EpochBatches(Sampler):
    rows: Sequence[Row]
    settings: Mapping[str, Any]
    epoch: int = -1

    def __iter__(self) -> Iterator[list[Sample]]:
        self.epoch += 1
        for draws in sample_epoch(self.rows, epoch=self.epoch, **self.settings):
            yield [(self.epoch, self.rows[draw.row], draw) for draw in draws]


@dataclass(frozen=True)
class EpochInputs:
    """Clips, and the view and the settings of an epoch with which both sides read them."""

    video_set: VideoSet
    view: View
    settings: Mapping[str, Any]

    def new_loader(self, data: Dataset) -> DataLoader:
        """A loader whose workers start with the first epoch and end with the loader."""
        return DataLoader(
            data,
            batch_sampler=EpochBatches(self.video_set.rows, self.settings),
            num_workers=NUM_WORKERS,
            persistent_workers=True,
            multiprocessing_context="fork",
        )

    def frame_loaders(self) -> dict[str, Reader]:
        """Functions that start a loader of images, and one of videos."""
        images, videos = ImageFrames(self.video_set.images), VideoFileFrames(self.video_set.videos)
        return {
            "DataLoader, PNG": partial(self.new_loader, images),
            "DataLoader, mp4": partial(self.new_loader, videos),
        }

    def new_epochs(self, pixels: Pixels) -> Reader:
        """A function that returns the batches (B, T, H, W) of the next epoch."""
        options: dict[str, Any] = {"view": self.view, "columns": (), **self.settings}
        epochs, numbers = pixels.epochs(self.video_set.rows, **options), count()
        return lambda: (batch["frames"] for batch in epochs(next(numbers)))
