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
    return _attached(_Key(shared) if isinstance(shared, SharedFrames) else shared)


class _Key:
    """Equal for equal references, so that a reused process maps the frames once."""

    def __init__(self, shared: SharedFrames) -> None:
        self.shared, self.names = shared, shared.names

    def __hash__(self) -> int:
        return hash(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.names == other.names


@lru_cache(maxsize=1)
def _attached(key: _Key | MappedFrames) -> Pixels:
    return memmap.attach(key) if isinstance(key, MappedFrames) else attach(key.shared)
