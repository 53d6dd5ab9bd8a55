"""How frames reach a cell: from shared memory, a mapped file, or a stream from the store."""

from functools import lru_cache

from lus_ray.data.loading import memmap
from lus_ray.data.loading.batches import Pixels
from lus_ray.data.loading.memmap import MappedFrames
from lus_ray.data.loading.shared_memory import SharedFrames, attach

Transport = SharedFrames | MappedFrames | None
"""Shared memory, a file on the machine's disk, or None for a stream from the store."""


def pixels_of(shared: Transport, store: str) -> Pixels:
    """The frames and masks of the clips; a reused process attaches them once."""
    if shared is None:
        from lus_ray.data.loading.streaming import StreamedFrames

        return StreamedFrames(store)
    return _attach(shared)


@lru_cache(maxsize=1)
def _attach(shared: SharedFrames | MappedFrames) -> Pixels:
    return memmap.attach(shared) if isinstance(shared, MappedFrames) else attach(shared)
