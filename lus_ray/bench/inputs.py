"""The same clips three times over: as videos, as one PNG file a frame, and as a store.

Letters: T frames, H rows, W columns.
Why the pixels of the three are equal although video is lossy: the videos come first, the store is
made from them as `lus ingest` makes it, and the pictures are those of the store.
The clips are phantoms of 30 frames that are played forth and back. Videos have one keyframe
and about 2 kB a frame, pictures about 45 kB, as the published clips have at this size.
"""

import csv
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
from jaxtyping import UInt8
from PIL import Image

from lus_ray.clip import Row, frames_of
from lus_ray.data import store as stores
from lus_ray.data.ingest import phantom
from lus_ray.data.ingest.pipeline import ingest

SIZE = 350
NUM_FRAMES = 90
NUM_FILMED = 30
"""Frames that differ; a clip plays them forth and back until it is long enough."""

X264 = {"crf": "24", "preset": "veryfast", "g": "100000", "sc_threshold": "0"}


@dataclass(frozen=True)
class Footage:
    """Where the clips lie, by name; `rows` are those of the store's index with `num_frames`."""

    store: Path
    index: pa.Table
    rows: list[Row]
    videos: Mapping[str, Path]
    pictures: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)


@contextmanager
def footage(
    *, num_clips: int, num_frames: int = NUM_FRAMES, size: int = SIZE, pictures: bool = False
) -> Iterator[Footage]:
    """Square clips of as many patients in a temporary folder, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder:
        root, store = Path(folder) / "videos", Path(folder) / "store"
        root.mkdir()
        _film(root, num_clips, num_frames, size)
        ingest("folder", root, store)
        index, counts = stores.read_index(store), stores.count_frames_by_clip(store)
        rows = [row | {"num_frames": counts[row["clip"]]} for row in index.to_pylist()]
        yield Footage(
            store=store,
            index=index,
            rows=rows,
            videos={row["clip"]: root / f"{Path(row['clip']).name}.mp4" for row in rows},
            pictures=_printed(store, Path(folder) / "pictures") if pictures else {},
        )


def _film(root: Path, num_clips: int, num_frames: int, size: int) -> None:
    filmed = min(num_frames, NUM_FILMED)
    made = phantom.clips(patients=num_clips, clips=1, frames=filmed, size=size, masks="none")
    there_and_back = [*range(filmed), *range(filmed - 2, 0, -1)] or [0]
    played = np.resize(there_and_back, num_frames)
    with (root / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "patient"])
        for number, row in enumerate(made):
            name = f"{number:03d}.mp4"
            write_video(root / name, row["frames"][played])
            table.writerow([name, f"p{number:03d}"])


def write_video(path: Path, frames: UInt8[np.ndarray, "T H W"]) -> None:
    """H.264 in the settings of `X264`, 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options=X264)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())


def _printed(store: Path, folder: Path) -> dict[str, tuple[Path, ...]]:
    """One PNG file a frame, compressed as by default."""
    folder.mkdir()
    printed = {}
    for row in stores.read(store):
        paths = []
        for number, frame in enumerate(frames_of(row)):
            paths.append(folder / f"{Path(row['clip']).name}-{number:04d}.png")
            Image.fromarray(frame).save(paths[-1])
        printed[row["clip"]] = tuple(paths)
    return printed
