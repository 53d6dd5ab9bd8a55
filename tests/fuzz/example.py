"""One example of the fuzz run: build a folder, damage it, ingest it, check the store."""

import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lus_ray.data.decoding.decoder import DecodeLimits, FileDecoder
from lus_ray.data.duplicates import matching
from lus_ray.data.ingest import part_threads
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.errors import LusError
from tests.fuzz.invariants import Outcome, check, read_store
from tests.fuzz.mutations import mutate
from tests.fuzz.sources import READERS, Source, make_source

FAILURES = Path(".fuzz")
SECONDS = 120
"""After which an ingest of a few small files hangs."""
HELD = ExitStack()
LIMITS = DecodeLimits(seconds=10)


class WarmDecoder(FileDecoder):
    """A decoder whose process outlives an ingest: to start it takes longer than a small folder."""

    def stop(self) -> None:
        pass

    def close(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            super().close()


@contextmanager
def quick_ingests() -> Iterator[None]:
    """Let ingests share a decoder process, and seek no near copies: it is slow."""
    decoder, find_matches = WarmDecoder(LIMITS), matching.find_matches
    part_threads.FileDecoder = lambda limits, max_side: decoder  # type: ignore[misc, assignment]
    matching.find_matches = lambda signatures, groups, patches=None: []
    try:
        yield
    finally:
        part_threads.FileDecoder, matching.find_matches = FileDecoder, find_matches  # type: ignore[misc]
        FileDecoder.close(decoder)


def prepare_process() -> None:
    """Make the ingests of this process quick until it ends."""
    HELD.enter_context(quick_ingests())


def run_example(seed: int, failures: Path = FAILURES) -> tuple[Outcome, list[str]]:
    """Run one example; return what came out and the steps. A failing one stays in `failures`."""
    rng = np.random.default_rng(seed)
    reader = READERS[int(rng.choice(len(READERS), p=(0.55, 0.15, 0.15, 0.15)))]
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        source = make_source(reader, Path(folder) / "root", rng)
        outcome = _run(source, Path(folder) / "store", rng)
        if outcome.failures:
            kept = failures / str(seed)
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, symlinks=True)
            lines = [*source.steps, "", *outcome.failures]
            (kept / "README.txt").write_text("\n".join(lines) + "\n")
    return outcome, [reader, *source.steps]


def _run(source: Source, store: Path, rng: np.random.Generator) -> Outcome:
    outcome = Outcome()
    before: list[dict[str, Any]] = []
    is_twice, has_store = rng.random() < 0.1, rng.random() < 0.2
    try:
        if has_store:
            _ingest(source, store, outcome)
            before = read_store(store)
            check(source, before, store, outcome)
            if len(before) != len(source.pictures):
                outcome.failures.append(f"valid: {len(before)} of {len(source.pictures)} stored")
        mutate(source, rng)
        try:
            _ingest(source, store, outcome)
        except LusError as error:
            outcome.refused = str(error)
            if "\n" in str(error):
                outcome.failures.append(f"message: {str(error)!r} is more than one line")
            if read_store(store) != before:
                outcome.failures.append("store: a refused source changed it")
            return outcome
        rows = read_store(store)
        check(source, rows, store, outcome)
        if is_twice:
            again = store.with_name("again")
            _ingest(source, again, outcome)
            if read_store(again) != rows:
                outcome.failures.append("twice: a second ingest gives another store")
    except Exception as error:
        outcome.failures.append(f"crash: {type(error).__name__}: {' '.join(str(error).split())}")
    return outcome


def _ingest(source: Source, store: Path, outcome: Outcome) -> None:
    with _deadline(SECONDS), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            ingest(source.reader, source.root, store, limits=LIMITS, workers=1)
        finally:
            outcome.failures += [f"warning: {warning.message}" for warning in caught]


@contextmanager
def _deadline(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"the ingest hangs: no end after {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
