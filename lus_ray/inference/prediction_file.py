"""A table of predictions that grows by parts, so that an interrupted command goes on.

    OUT.csv or OUT.parquet   all rows, written whole when the last clip is done
    OUT.csv.json             models, options, the warning about the models, and their cards
    OUT.csv.parts/           rows so far, one Parquet file a chunk, until OUT is written

Rows of an earlier command stay, but for clips that changed or could not be read. A command with
other models or options is refused.
"""

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from lus_ray.errors import InputError
from lus_ray.inference.clip_inputs import ClipInput
from lus_ray.inference.prediction_table import (
    ERROR,
    FlatRow,
    column_type,
    concatenate,
    make_table,
)  # fmt: skip
from lus_ray.inference.served_model import ServedModel
from lus_ray.inference.summaries import write_banner
from lus_ray.storage import files, lease

SUFFIXES = (".csv", ".parquet")
CHUNK_ROWS = 256
CHUNK_SECONDS = 20.0
"""A part is written after so many rows or so long; a kill loses no more."""
FORMAT = 1

Key = tuple[str, str]


def check_path(out: Path) -> None:
    """InputError unless a table can be written there."""
    if out.suffix not in SUFFIXES:
        raise InputError(f"--out {out}: name a file that ends in {' or '.join(SUFFIXES)}")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InputError(f"--out {out}: cannot be written; name a file in an existing folder")
    if out.exists() and not _about(out).is_file():
        raise InputError(f"--out {out}: is there and holds no predictions; name another file")


def count_errors(table: pa.Table, inputs: Sequence[ClipInput]) -> int:
    """Errors among the rows of the inputs, which come first."""
    return int(pc.sum(table[ERROR].slice(0, len(inputs)).is_valid()).as_py() or 0)


@dataclass
class PredictionFile:
    """Rows by parts; `open_predictions` makes it."""

    out: Path
    tables: list[pa.Table] = field(default_factory=list)
    waiting: list[FlatRow] = field(default_factory=list)
    num_parts: int = 0
    last_write: float = field(default_factory=time.monotonic)

    def select_missing(self, inputs: Iterable[ClipInput]) -> list[ClipInput]:
        """Inputs without a row, or whose row has an error or belongs to other bytes."""
        done: dict[Key, str] = {}
        for table in self._stored():
            done |= {
                (store or "", clip): state
                for store, clip, state, error in _tuples(table, "store", "clip", "state", ERROR)
                if error is None
            }
        return [item for item in inputs if done.get(item.key) != item.state]

    def add(self, row: FlatRow) -> None:
        self.waiting.append(row)
        late = time.monotonic() - self.last_write > CHUNK_SECONDS
        if late or len(self.waiting) >= CHUNK_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the waiting rows as a part of their own."""
        self.last_write = time.monotonic()
        if self.waiting:
            path = _parts(self.out) / f"part-{self.num_parts:06d}.parquet"
            with files.write_atomically(path) as staging:
                pq.write_table(make_table(self.waiting), staging)
            self.num_parts += 1
            self.waiting = []

    def finish(self, inputs: Sequence[ClipInput]) -> pa.Table:
        """Write the whole table, in the order of the inputs and then of earlier rows; return it."""
        self.flush()
        table = concatenate([*self._stored(), make_table([])])
        latest = {
            (store or "", clip): row
            for row, (store, clip) in enumerate(_tuples(table, "store", "clip"))
        }
        order = [latest.pop(item.key) for item in inputs]
        table = table.take(pa.array([*order, *latest.values()], pa.int64()))
        with files.write_atomically(self.out) as staging:
            if self.out.suffix == ".csv":
                csv.write_csv(table, staging)
            else:
                pq.write_table(table, staging)
        return table

    def _stored(self) -> Iterator[pa.Table]:
        """The finished table of an earlier command, then the parts in order."""
        if self.out.exists():
            yield _read_table(self.out)
        for path in _list_parts(self.out):
            yield files.open_parquet(path).read()


@contextmanager
def open_predictions(
    out: Path, models: Sequence[ServedModel], options: Mapping[str, Any]
) -> Iterator[PredictionFile]:
    """The table for a block, locked; rows so far are kept if the block fails.

    Raises:
        InputError: it holds rows of other models or options, or another command writes it.
    """
    check_path(out)
    about = {
        "format": FORMAT,
        "models": {model.id: model.fingerprint for model in models},
        "options": dict(options),
    }
    _refuse_others(out, about)
    cards = {model.id: asdict(model.card) for model in models if model.card}
    warned = {**about, "banner": write_banner(models), "cards": cards}
    _parts(out).mkdir(exist_ok=True)
    with lease.hold_folder(_parts(out)):
        files.write_text(_about(out), json.dumps(warned, indent=1) + "\n")
        file = PredictionFile(out)
        if parts := _list_parts(out):
            file.num_parts = 1 + int(parts[-1].stem.removeprefix("part-"))
        try:
            yield file
        except BaseException:
            file.flush()
            raise
        shutil.rmtree(_parts(out))


def _refuse_others(out: Path, about: Mapping[str, Any]) -> None:
    text = files.read_text(_about(out))
    if text is None:
        return
    try:
        earlier = json.loads(text)
        different = [name for name in about if earlier[name] != about[name]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{_about(out)}: damaged ({error}); name another --out") from error
    if different:
        raise InputError(
            f"--out {out}: holds predictions with other {different[0]}; name another file, or "
            f"remove it and {_about(out).name}"
        )


def _read_table(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return files.open_parquet(path).read()
    parsing = csv.ParseOptions(newlines_in_values=True)
    try:
        names = csv.open_csv(path, parse_options=parsing).schema.names
        types = {name: column_type(name) for name in names}
        options = csv.ConvertOptions(
            column_types=types, strings_can_be_null=True, null_values=[""]
        )  # a class or a patient may be named "NA"
        return csv.read_csv(path, parse_options=parsing, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"--out {path}: damaged ({error}); remove it and run again") from error


def _tuples(table: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def _about(out: Path) -> Path:
    return out.with_name(f"{out.name}.json")


def _parts(out: Path) -> Path:
    return out.with_name(f"{out.name}.parts")


def _list_parts(out: Path) -> list[Path]:
    """Parts in the order in which they were written; the first are missing after a kill."""
    return sorted(_parts(out).glob("part-*.parquet"))
