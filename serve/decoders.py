"""A few decoder processes that an ingress keeps warm, each for one clip at a time."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

from lus_ray.data.decoding.decoder import DecodedVideo, FileDecoder
from lus_ray.errors import DecodeError
from lus_ray.inference.limits import ServiceLimits
from serve.errors import Refused

STATUS = {"unreadable": 400, "refused": 422, "lost": 503}
"""The answer by the kind of a `DecodeError`."""


class Decoders:
    """Decodes what was received, aside from the loop that answers requests."""

    def __init__(self, limits: ServiceLimits, num: int = 2) -> None:
        self.threads = ThreadPoolExecutor(num, thread_name_prefix="decode")
        self.again_seconds = limits.retry_after_seconds
        self.free: SimpleQueue[FileDecoder] = SimpleQueue()
        for _ in range(num):
            decoder = FileDecoder(limits.clip, max_side=limits.max_side)
            decoder.start()
            self.free.put(decoder)

    async def decode(self, file: BinaryIO, *, allow_text: bool = False) -> DecodedVideo:
        """The frames of an open file, which is closed afterwards.

        Raises:
            Refused: it is no clip (400), one that is not accepted (422), or two processes in turn
                were lost with it (503).
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, self._decode, file, allow_text)

    def close(self) -> None:
        """End the processes, once the clips at work are decoded."""
        self.threads.shutdown()
        while not self.free.empty():
            self.free.get().close()

    def _decode(self, file: BinaryIO, allow_text: bool) -> DecodedVideo:
        decoder = self.free.get()
        path = Path(f"/proc/self/fd/{file.fileno()}")
        try:
            with file:
                try:
                    decoded = decoder.decode(path, allow_text=allow_text)
                except DecodeError as error:
                    if error.kind != "lost":
                        raise
                    decoded = decoder.decode(path, allow_text=allow_text)
                return _nameless(decoded)
        except DecodeError as error:
            text = str(error).removeprefix(f"{path.name}: ")
            again = self.again_seconds if error.kind == "lost" else None
            raise Refused(STATUS.get(error.kind, 400), text, again) from None
        finally:
            self.free.put(decoder)


def _nameless(decoded: DecodedVideo) -> DecodedVideo:
    """Without remarks on the name of the file, as it has none here."""
    notes = tuple(note for note in decoded.notes if not note.startswith("its name"))
    return replace(decoded, notes=notes)
