"""A few decoder processes that an ingress keeps warm, each for one clip at a time."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

from lus_ray.errors import DecodeError
from lus_ray.ingest.decode import Decoded, Decoder
from lus_ray.service.limits import ServiceLimits
from serve.refused import Refused

CONTENT = ("at most", "more than", "takes longer", "short of memory", "burned", "outside")
"""Words of a `DecodeError` whose file may be a clip, but is refused for what it holds (422)."""


class Decoders:
    """Decodes what was received, aside from the loop that answers requests."""

    def __init__(self, limits: ServiceLimits, num: int = 2) -> None:
        self.threads = ThreadPoolExecutor(num, thread_name_prefix="decode")
        self.free: SimpleQueue[Decoder] = SimpleQueue()
        for _ in range(num):
            self.free.put(Decoder(limits.clip, max_side=limits.max_side))

    async def decode(self, file: BinaryIO, *, allow_text: bool = False) -> Decoded:
        """The frames of an open file, which is closed afterwards.

        Raises:
            Refused: it is no clip (400), or one that is not accepted (422).
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, self._decode, file, allow_text)

    def _decode(self, file: BinaryIO, allow_text: bool) -> Decoded:
        decoder = self.free.get()
        path = Path(f"/proc/self/fd/{file.fileno()}")
        try:
            with file:
                return _nameless(decoder.decode(path, allow_text=allow_text))
        except DecodeError as error:
            text = str(error).removeprefix(f"{path.name}: ")
            raise Refused(422 if any(word in text for word in CONTENT) else 400, text) from None
        finally:
            self.free.put(decoder)


def _nameless(decoded: Decoded) -> Decoded:
    """Without remarks on the name of the file, as it has none here."""
    notes = tuple(note for note in decoded.notes if not note.startswith("its name"))
    return replace(decoded, notes=notes)
