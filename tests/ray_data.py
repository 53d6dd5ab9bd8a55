"""Make Ray Data take part in streams that are too short for it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lus_ray.data.loading import stream_plan, streaming

BLOCKS_FILE = "LUS_TEST_BLOCKS"
"""The variable that names the file of `join_streams_of_process`."""


def join_short_streams(
    patch: pytest.MonkeyPatch, note_block: Callable[[], object] = lambda: None
) -> None:
    """A clip in a block, and Ray Data, which runs before the first, reads every second one.

    `note_block` is called in this process for each block that Ray Data has read for it.
    """
    read, fill = streaming._read_with_ray, streaming._fill

    def read_and_note(*arguments, **more):
        for block in read(*arguments, **more):
            note_block()
            yield block

    def fill_when_started(*arguments, **more):
        streaming._start_workers()
        return fill(*arguments, **more)

    for name in ("BLOCK_BYTES", "OWN_BYTES"):
        patch.setattr(stream_plan, name, 1)
    for name in ("OWN_AHEAD", "START_BLOCKS"):
        patch.setattr(streaming, name, 0)
    patch.setattr(streaming, "_read_with_ray", read_and_note)
    patch.setattr(streaming, "_fill", fill_when_started)


def join_streams_of_process() -> None:
    """As a setup hook of workers: a line with its process for each block of Ray Data."""
    path = Path(os.environ[BLOCKS_FILE])

    def note_block() -> None:
        with path.open("a") as file:
            file.write(f"{os.getpid()}\n")

    join_short_streams(pytest.MonkeyPatch(), note_block)
