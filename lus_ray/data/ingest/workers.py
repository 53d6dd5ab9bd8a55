"""The pool of an ingest: what a reader yields becomes checked rows, in order, several at once.

Why threads: each holds a decoder process of its own; what is left to do here, hashing and
comparing, runs outside the interpreter lock.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from lus_ray import clip
from lus_ray.data.decoding.decoder import DecodedVideo, DecodeLimits, FileDecoder
from lus_ray.data.duplicates.groups import compute_signature
from lus_ray.data.ledger import Ledger
from lus_ray.errors import DecodeError, SchemaError, SourceError


class Pool:
    """Makes checked rows of what a reader yields, several at once, in the reader's order.

    `num_workers` files are in flight, one per core where None. The ledger is written by the
    calling thread alone, so that its order is the reader's too.
    """

    def __init__(
        self,
        source: str,
        ledger: Ledger,
        limits: DecodeLimits,
        max_side: int,
        missing_patient: str,
        workers: int | None,
    ) -> None:
        self.source, self.ledger, self.missing_patient = source, ledger, missing_patient
        self.num_workers = workers or _num_cores()
        self.decoders = [FileDecoder(limits, max_side=max_side) for _ in range(self.num_workers)]
        self.free: SimpleQueue[FileDecoder] = SimpleQueue()
        for decoder in self.decoders:
            self.free.put(decoder)
        self.names: set[str] = set()

    def __enter__(self) -> "Pool":
        self.threads = ThreadPoolExecutor(self.num_workers, thread_name_prefix="ingest")
        return self

    def __exit__(self, *exception: object) -> None:
        # After a failure or Ctrl-C: nothing new is begun, what is at work is ended, all is reaped.
        self.threads.shutdown(wait=False, cancel_futures=True)
        for decoder in self.decoders:
            decoder.stop()
        self.threads.shutdown()
        for decoder in self.decoders:
            decoder.close()

    def rows(self, found: Iterator[dict[str, Any]]) -> Iterator[clip.Row]:
        """Rows in the order of `found`; what cannot be used stands in the ledger instead."""
        pending: deque[tuple[dict[str, Any], Future[tuple[clip.Row, DecodedVideo | None]]]] = (
            deque()
        )
        for item in found:
            if not self._admit(item):
                continue
            pending.append((item, self.threads.submit(self._make, item)))
            if len(pending) > self.num_workers:
                yield from self._finish(*pending.popleft())
        while pending:
            yield from self._finish(*pending.popleft())

    def _admit(self, item: dict[str, Any]) -> bool:
        name = item["clip"]
        if name in self.names:
            self.ledger.skip(self.source, name, "a clip of this name came before; names are unique")
            return False
        if item["patient"] is None and self.missing_patient == "refuse":
            self.ledger.skip(
                self.source, name, "no patient id; missing_patient='own' makes it its own patient"
            )
            return False
        if item["patient"] is None:
            item["patient"] = name
            self.ledger.note(self.source, name, "no patient id: counts as its own patient")
        self.names.add(name)
        return True

    def _make(self, item: dict[str, Any]) -> tuple[clip.Row, DecodedVideo | None]:
        columns = {"source": self.source, **item}
        file = columns.pop("file", None)
        decoded = None
        if file is not None:
            decoder = self.free.get()
            try:
                decoded = decoder.decode(file, allow_text=columns.pop("allow_text", False))
            finally:
                self.free.put(decoder)
            columns["frames"] = decoded.frames
            if callable(columns.get("masks")):
                columns["masks"] = columns["masks"](decoded)
            if columns.get("fps") is None:
                columns["fps"] = decoded.fps
            if columns.get("mm_per_pixel") is not None:
                columns["mm_per_pixel"] /= decoded.scale
            else:
                columns["mm_per_pixel"] = decoded.mm_per_pixel
            # Frames that a reader draws itself are new by construction: nothing to find there.
            columns["signature"] = compute_signature(decoded.frames)
        return clip.make_row(**columns), decoded

    def _finish(
        self, item: dict[str, Any], future: "Future[tuple[clip.Row, DecodedVideo | None]]"
    ) -> Iterator[clip.Row]:
        try:
            row, decoded = future.result()
        except (DecodeError, SchemaError, SourceError) as error:
            self.ledger.skip(self.source, item["clip"], str(error))
            return
        for note in decoded.notes if decoded else ():
            write = self.ledger.repair if note.startswith("repaired") else self.ledger.note
            write(self.source, row["clip"], note)
        yield row


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
