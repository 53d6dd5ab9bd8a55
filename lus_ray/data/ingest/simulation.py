"""Simulated clips: made by several processes at once, in the order of the simulator.

The parent asks for clips by name; a child answers with a row: one JSON line, then its pixels.
Why processes: a simulator is Python between short array operations, which threads do not share.
"""

import importlib
import json
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

from lus_ray import clip
from lus_ray.data.store import Writer
from lus_ray.errors import LusError
from lus_ray.storage.child_process import ChildProcess, count_cores, shut_down

WORTH_SECONDS = 2.0
"""Work for one core from which processes are started: each takes 0.7 s to import the simulator."""


@dataclass(frozen=True)
class SimulatedClips:
    """Clips by name, each made when it is read: the columns of `lus_ray.clip.make_row`."""

    makers: Mapping[str, Callable[[], dict[str, Any]]]

    def __len__(self) -> int:
        return len(self.makers)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (make() for make in self.makers.values())

    def make_row(self, name: str) -> clip.Row:
        """Make one clip.

        Raises:
            LusError: the simulator failed; the message names the clip.
        """
        try:
            return clip.make_row(**self.makers[name]())
        except Exception as error:
            raise LusError(f"{name} was not made: {type(error).__name__}: {error}") from error


class SimulationPool:
    """Make rows from the clips of a simulator, `workers` at once, one per core where None.

    The first clip is made here; processes start if the others would take this one too long.
    """

    stored: tuple[Path, ...] = ()  # a simulator reads no files

    def __init__(self, source: str, options: Mapping[str, Any], workers: int | None) -> None:
        num_workers = workers or count_cores()
        self.simulators = [Simulator(source, options) for _ in range(num_workers)]
        self.free: SimpleQueue[Simulator] = SimpleQueue()

    def __enter__(self) -> "SimulationPool":
        self.threads = ThreadPoolExecutor(len(self.simulators), thread_name_prefix="simulation")
        return self

    def __exit__(self, *exception: object) -> None:
        shut_down(self.threads, self.simulators)

    def write(self, clips: SimulatedClips, writer: Writer) -> Iterator[tuple[clip.Row, int]]:
        """Each row when it is written, and its number of frames."""
        return writer.add_all(self.make_rows(clips))

    def make_rows(self, clips: SimulatedClips) -> Iterator[clip.Row]:
        """Rows in the order of the simulator."""
        first, *others = clips.makers
        start = time.perf_counter()
        row = clips.make_row(first)
        seconds = (time.perf_counter() - start) * len(others)
        yield row
        if len(self.simulators) > 1 and seconds >= WORTH_SECONDS:
            yield from self._make_in_processes(others)
        else:
            yield from map(clips.make_row, others)

    def _make_in_processes(self, names: Iterable[str]) -> Iterator[clip.Row]:
        for simulator in self.simulators:
            simulator.start()
            self.free.put(simulator)
        pending: deque[Future[clip.Row]] = deque()
        for name in names:
            pending.append(self.threads.submit(self._make_row, name))
            if len(pending) > 2 * len(self.simulators):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _make_row(self, name: str) -> clip.Row:
        simulator = self.free.get()
        try:
            return simulator.make_row(name)
        finally:
            self.free.put(simulator)


class Simulator(ChildProcess):
    """A child process that makes clips of the reader `source` with its `options`."""

    def __init__(self, source: str, options: Mapping[str, Any]) -> None:
        super().__init__("lus_ray.data.ingest.simulation_child")
        self.setup = [source, dict(options)]

    def start(self) -> socket.socket:
        is_new = self.connection is None
        connection = super().start()
        if is_new:
            connection.sendall(_json_line(self.setup))
        return connection

    def make_row(self, name: str) -> clip.Row:
        """Make one clip.

        Raises:
            LusError: the simulator failed, or its process was lost; the message names the clip.
        """
        try:
            connection = self.start()
            connection.sendall(_json_line(name))
            with connection.makefile("rb") as replies:
                return read_reply(replies)
        except (OSError, EOFError, ValueError) as error:
            raise LusError(
                f"{name} was not made: its process was ended; "
                "run again, with fewer --workers if memory is low"
            ) from error


def list_clips(source: str, options: Mapping[str, Any]) -> SimulatedClips:
    return importlib.import_module(f"{__package__}.{source}").clips(None, None, **options)


def write_reply(row: clip.Row) -> bytes:
    pixels = {name: row[name] for name in clip.PIXEL_COLUMNS}
    lengths = {name: None if value is None else len(value) for name, value in pixels.items()}
    content = [frame for value in pixels.values() for frame in value or ()]
    return b"".join([_json_line({"row": row | lengths}), *content])


def write_error(error: LusError) -> bytes:
    return _json_line({"error": str(error)})


def read_reply(file: BinaryIO) -> clip.Row:
    """The row of a reply.

    Raises:
        LusError: the error of a reply.
        ValueError, EOFError: the reply is cut short.
    """
    reply = json.loads(file.readline())
    if "error" in reply:
        raise LusError(reply["error"])
    row = reply["row"]
    size = row["height"] * row["width"]
    for name in clip.PIXEL_COLUMNS:
        if row[name] is not None:
            row[name] = [_read(file, size) for _ in range(row[name])]
    return row


def _read(file: BinaryIO, num_bytes: int) -> bytes:
    content = file.read(num_bytes)
    if len(content) < num_bytes:
        raise EOFError
    return content


def _json_line(value: object) -> bytes:
    """A line of JSON; numbers of NumPy become those of Python."""
    return json.dumps(value, default=lambda number: number.item()).encode() + b"\n"
