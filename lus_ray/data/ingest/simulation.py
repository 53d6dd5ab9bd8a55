"""Simulated clips: made by several processes at once, in the order of the simulator.

The parent asks for clips by name; a child answers with a row: one JSON line, then its pixels.
Why processes: a simulator is Python between short array operations, which threads do not share.
"""

import importlib
import json
import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from lus_ray import clip
from lus_ray.data.ledger import Ledger
from lus_ray.errors import LusError
from lus_ray.storage.child_process import ChildProcess

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


class LocalSimulator:
    """Makes simulated clips in this process; `made` has clips that are ready."""

    def __init__(self, clips: SimulatedClips, made: dict[str, clip.Row] | None = None) -> None:
        self.clips, self.made = clips, made or {}

    def make_row(self, item: str, ledger: Ledger) -> clip.Row:
        return self.made.pop(item, None) or self.clips.make_row(item)

    def stop(self) -> None:
        """Another thread waits until the clip is made."""

    def close(self) -> None:
        """There is no process to end."""


class Simulator(ChildProcess):
    """A child process that makes clips of the reader `source` with its `options`.

    `made` has clips that are ready.
    """

    def __init__(
        self, source: str, options: Mapping[str, Any], made: dict[str, clip.Row] | None = None
    ) -> None:
        super().__init__("lus_ray.data.ingest.simulation_child")
        self.setup, self.made = [source, dict(options)], made or {}

    def start(self) -> socket.socket:
        is_new = self.connection is None
        connection = super().start()
        if is_new:
            connection.sendall(_json_line(self.setup))
        return connection

    def make_row(self, item: str, ledger: Ledger) -> clip.Row:
        """Make the clip of this name.

        Raises:
            LusError: the simulator failed, or its process was lost; the message names the clip.
        """
        if (row := self.made.pop(item, None)) is not None:
            return row
        try:
            connection = self.start()
            connection.sendall(_json_line(item))
            with connection.makefile("rb") as replies:
                return read_reply(replies)
        except (OSError, ValueError) as error:
            raise LusError(
                f"{item} was not made: its process was ended; "
                "run again, with fewer --workers if memory is low"
            ) from error


def start_simulators(
    clips: SimulatedClips, source: str, options: Mapping[str, Any], num_workers: int
) -> list[LocalSimulator] | list[Simulator]:
    """Simulators for all clips: processes if these would take this one too long.

    The first clip is made here, to measure that.
    """
    first, *others = clips.makers
    start = time.perf_counter()
    made = {first: clips.make_row(first)}
    seconds = (time.perf_counter() - start) * len(others)
    if num_workers < 2 or seconds < WORTH_SECONDS:
        return [LocalSimulator(clips, made)]
    simulators = [Simulator(source, options, made) for _ in range(num_workers)]
    for simulator in simulators:
        simulator.start()
    return simulators


def list_clips(source: str, options: Mapping[str, Any]) -> SimulatedClips:
    return importlib.import_module(f"{__package__}.{source}").clips(None, None, **options)


def write_reply(row: clip.Row) -> bytes:
    pixels = {name: row[name] for name in clip.PIXEL_COLUMNS}
    lengths = {name: None if value is None else len(value) for name, value in pixels.items()}
    arrays = (array for array in (clip.frames_of(row), clip.masks_of(row)) if array is not None)
    return b"".join([_json_line({"row": row | lengths}), *(array.data for array in arrays)])


def write_error(error: LusError) -> bytes:
    return _json_line({"error": str(error)})


def read_reply(file: BinaryIO) -> clip.Row:
    """The row of a reply.

    Raises:
        LusError: the error of a reply.
        ValueError: the reply is cut short.
    """
    reply = json.loads(file.readline())
    if "error" in reply:
        raise LusError(reply["error"])
    row = reply["row"]
    for name in clip.PIXEL_COLUMNS:
        if row[name] is not None:
            shape = (row[name], row["height"], row["width"])
            content = file.read(math.prod(shape))
            row[name] = clip.to_arrow(np.frombuffer(content, np.uint8).reshape(shape))
    return row


def _json_line(value: object) -> bytes:
    """A line of JSON; numbers of NumPy become those of Python."""
    return json.dumps(value, default=lambda number: number.item()).encode() + b"\n"
