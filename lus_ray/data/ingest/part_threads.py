"""Parts of a source made by threads of this process, each with a child process of its own.

Why threads: to decode and to simulate is the work of the child processes; hashes, compression and
the products of matrices release the GIL, and pixels are not copied.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lus_ray.data.decoding.decoder import FileDecoder
from lus_ray.data.ingest.file_clips import FileClips
from lus_ray.data.ingest.parts import (
    Item,
    MadeClip,
    Part,
    PartSettings,
    RowMaker,
    list_items,
    make_part,
    split,
)
from lus_ray.data.ingest.simulation import SimulatedClips, start_simulators
from lus_ray.storage.child_process import count_cores, shut_down

Reports = SimpleQueue[MadeClip | None]
"""The clips of a part as they are made, then None."""


class PartThreads:
    """Makes parts of a source, `workers` at once, one per core where None."""

    def __init__(
        self,
        settings: PartSettings,
        clips: SimulatedClips | list[dict[str, Any]],
        workers: int | None,
    ) -> None:
        self.settings, self.clips, self.items = settings, clips, list_items(clips)
        self.workers = workers or count_cores()
        self.free: SimpleQueue[RowMaker] = SimpleQueue()
        self.stopped = Event()

    def __enter__(self) -> "PartThreads":
        self.makers = _start_makers(self.settings, self.clips, self.workers)
        for maker in self.makers:
            self.free.put(maker)
        self.blas = threadpool_limits(limits=1, user_api="blas")  # small products: threads wait
        self.threads = ThreadPoolExecutor(len(self.makers), thread_name_prefix="ingest")
        return self

    def __exit__(self, *exception: object) -> None:
        self.stopped.set()
        shut_down(self.threads, self.makers)
        self.blas.restore_original_limits()

    def make(self, parts: Sequence[range], folder: Path) -> Iterator[Part]:
        started = []
        for number, numbers in enumerate(parts):
            reports: Reports = SimpleQueue()
            items = self.items[numbers.start : numbers.stop]
            place = folder / str(number)
            future = self.threads.submit(self._make, items, place, reports)
            started.append((future, reports, place))
        for future, reports, place in started:
            yield Part(_receive(future, reports), place)

    def _make(self, items: Sequence[Item], folder: Path, reports: Reports) -> None:
        maker = self.free.get()
        try:
            for made in make_part(items, maker, folder, self.settings.source):
                reports.put(made)
                if self.stopped.is_set():
                    break
        finally:
            self.free.put(maker)
            reports.put(None)


def _receive(future: Future[None], reports: Reports) -> Iterator[MadeClip]:
    yield from iter(reports.get, None)
    future.result()  # raises what went wrong


def _start_makers(
    settings: PartSettings, clips: SimulatedClips | list[dict[str, Any]], workers: int
) -> list[RowMaker]:
    num_makers = max(1, min(workers, len(split(len(clips)))))
    if isinstance(clips, SimulatedClips):
        return list(start_simulators(clips, settings.source, settings.options, num_makers))
    return [
        FileClips(
            settings.source, settings.root, FileDecoder(settings.limits, max_side=settings.max_side)
        )
        for _ in range(num_makers)
    ]
