"""The run folder: every name in it, and its synchronisation with object storage.

    experiment.json                      what is run (`lus_ray.runs.manifest`)
    folds.json                           patients of every fold (`lus_ray.folds`)
    campaign.json                        driver and progress (`lus_ray.monitoring.status_writer`)
    steps.json                           measured steps (`lus_ray.orchestration.step_costs`)
    cells/<arm>/fold<k>[/sample<n>]/     checkpoint, metrics, cost, images of a cell
    predictions/<arm>/fold<k>.parquet    predictions (`lus_ray.runs.predictions`)
    report.html, report.md, report.json
    tables/<name>.csv, <name>.tex        the tables of the report
    evaluations/<store>/                 an external validation: such a folder without cells
    pack/model_card.*, tripod_ai.*       html, md and json, by `lus report --pack`

A cell with another training seed than the first is named `fold<k>-seed<n>` instead of `fold<k>`.

A cell is finished when its prediction file exists, which is written last and renamed into place.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lus_ray.errors import InputError, LusError, StoreError
from lus_ray.runs.cell import Cell, EpochCallback
from lus_ray.storage import lease
from lus_ray.storage.mirror import Mirror
from lus_ray.storage.paths import PathOrUri, is_remote, join

MANIFEST, FOLDS, STATUS = "experiment.json", "folds.json", "campaign.json"
STEPS = "steps.json"
TENSORBOARD = "tensorboard"
TABLES = "tables"
EVALUATIONS = "evaluations"
PACK = "pack"
REPORTS = ("report.html", "report.md", "report.json", TABLES)
CELLS, PREDICTIONS, SAMPLE, PHANTOM = "cells", "predictions", "sample", "phantom"
METRICS, COST, STARTS, ERROR = "metrics.jsonl", "cost.json", "starts.json", "error.txt"
STATE, EPOCH_STATE, STATES = "state.safetensors", "state-epoch.safetensors", "state*.safetensors"
CHECKPOINT, IMAGES, CAPTIONS = "checkpoint", "pictures", "captions.json"
START, TRAINED, FITTED, TRAIN = "start", "trained", "fitted.json", "train"
SEARCH, SEARCH_RESULT = "search.journal", "search.json"

UPLOAD_S = 10.0  # between two uploads of a running cell
FAILED_RETRY_S = 5.0  # of storage where the cell has failed anyway
MAX_WEIGHT_BYTES = 2**20  # the driver downloads no larger weights
LIVE = (STARTS, METRICS, EPOCH_STATE, STATE)  # a state never arrives before its metrics
OF_WORKERS = (START, TRAINED, TRAIN, "worker.jsonl", FITTED, "cost-*.json")
OF_SAMPLES = f"{SAMPLE}[0-9]*"
NOT_READ = (STATES, PHANTOM)
NOT_WATCHED = (
    CHECKPOINT, PHANTOM, IMAGES, START, TABLES, PACK, TENSORBOARD, TRAINED, "*.safetensors",
)  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """A run at a path, or at a URI with a mirror on this machine.

    Uploads and downloads do nothing for a path. With `reading`, the mirror is a separate copy.
    """

    location: PathOrUri
    reading: bool = False

    @classmethod
    def create(cls, location: PathOrUri) -> "RunFolder":
        folder = cls(location if is_remote(location) else Path(location).resolve())
        folder.path.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def mirror(self) -> Mirror | None:
        uri = str(self.location)
        return Mirror(uri, reading=self.reading) if is_remote(self.location) else None

    @property
    def path(self) -> Path:
        return self.mirror.local if self.mirror else Path(self.location)

    @property
    def display_name(self) -> str:
        return self.mirror.display_name if self.mirror else str(self.location)

    manifest = property(lambda run: run.path / MANIFEST)
    folds = property(lambda run: run.path / FOLDS)

    def cell(self, cell: Cell) -> "CellFolder":
        return CellFolder(self, slug(cell.arm), cell.fold_name, cell.sample)

    def predictions_of(self, arm: str) -> Path:
        return self.path / PREDICTIONS / slug(arm)

    def finished_cells(self, arm: str = "*") -> list["CellFolder"]:
        """Finished cells of one arm or of all, by name, without samples of a search."""
        arm = arm if arm == "*" else slug(arm)
        files = sorted(self.path.glob(f"{PREDICTIONS}/{arm}/fold*.parquet"))
        return [CellFolder(self, file.parent.name, file.stem) for file in files]

    def search_journal(self, arm: str) -> Path:
        return self.path / CELLS / slug(arm) / SEARCH

    def search_result(self, arm: str) -> Path:
        return self.path / CELLS / slug(arm) / SEARCH_RESULT

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run folder; InputError if another command holds it or it is not writable.

        The lock ends with its process. On object storage, and where a shared filesystem has no
        locks, it expires 90 s after the last heartbeat.
        """
        with lease.hold_folder(self.path) if self.mirror is None else self.mirror.hold_lease():
            yield

    def upload(self, *names: str) -> None:
        if self.mirror is not None:
            self.mirror.upload(*names)

    def upload_search(self, arm: str) -> None:
        self.upload(*(f"{CELLS}/{slug(arm)}/{name}" for name in (SEARCH, SEARCH_RESULT)))

    def download(self) -> None:
        """Download everything but large weights and training states."""
        if self.mirror is not None:
            self.mirror.download(max_weight_bytes=MAX_WEIGHT_BYTES, without=NOT_READ)

    def refresh(self) -> None:
        """Download what `lus watch` shows."""
        if self.mirror is not None:
            replace(self.mirror, retry_s=5.0).download(without=NOT_WATCHED)

    def download_checkpoints(self) -> None:
        if self.mirror is not None:
            self.mirror.download(CELLS, without=NOT_READ)


def require_record(folder: Path) -> None:
    """StoreError where a folder has no record of a run; quick, before slow imports."""
    if not (folder / MANIFEST).is_file():
        problem = (
            f"{folder}: is a file" if folder.is_file() else f"{folder / MANIFEST}: no such file"
        )
        raise StoreError(f"{problem}; name a folder that 'lus run ... --out' wrote")


def open_for_reading(location: PathOrUri) -> RunFolder:
    """The run folder, or a fresh copy of the one at a URI; InputError if no run is readable."""
    folder = RunFolder(location, reading=True)
    if folder.mirror is None:
        require_record(folder.path)
    if folder.mirror is not None:
        replace(folder.mirror, retry_s=0.0).download(without=NOT_READ)
        if not folder.manifest.is_file():
            raise InputError(f"{folder.display_name}: no run lies there; give a run folder's URI")
    return folder


@dataclass(frozen=True)
class CellFolder:
    """The files of a cell: `cells/<arm>/<fold>[/sample<n>]` and its prediction file.

    `fold` is the `fold_name` of the cell.
    """

    run: RunFolder
    arm: str
    fold: str
    sample: int | None = None

    @classmethod
    def at(cls, path: Path) -> "CellFolder":
        """The cell with the folder `<run>/cells/<arm>/<fold>`."""
        return cls(RunFolder(path.parents[2]), path.parent.name, path.name)

    @property
    def number(self) -> int:
        """The number of the fold."""
        return int(self.fold.removeprefix("fold").partition("-")[0])

    @property
    def seed(self) -> int:
        return int(self.fold.partition("-seed")[2] or 0)

    @property
    def name(self) -> str:
        folder = f"{CELLS}/{self.arm}/{self.fold}"
        return folder if self.sample is None else f"{folder}/{SAMPLE}{self.sample}"

    @property
    def predictions_name(self) -> str:
        if self.sample is None:
            return f"{PREDICTIONS}/{self.arm}/{self.fold}.parquet"
        return f"{PREDICTIONS}/{self.arm}/samples/{self.fold}-{self.sample}.parquet"

    @property
    def path(self) -> Path:
        return self.run.path / self.name

    @property
    def predictions(self) -> Path:
        return self.run.path / self.predictions_name

    @property
    def is_finished(self) -> bool:
        return self.predictions.exists()

    metrics = property(lambda cell: cell.path / METRICS)
    cost = property(lambda cell: cell.path / COST)
    starts = property(lambda cell: cell.path / STARTS)
    error = property(lambda cell: cell.path / ERROR)
    state = property(lambda cell: cell.path / STATE)
    checkpoint = property(lambda cell: cell.path / CHECKPOINT)
    images = property(lambda cell: cell.path / IMAGES)

    @property
    def ray_train_storage(self) -> PathOrUri:
        return join(self.run.location, *self.name.split("/"), TRAIN)

    def worker_cost(self, number: int | str) -> str:
        return f"cost-{number}.json"

    def worker_costs(self) -> list[Path]:
        return sorted(self.path.glob(self.worker_cost("*")))

    def upload(self, *names: str) -> None:
        """Upload files of this folder; without names, all of it and the prediction file last."""
        last: tuple[str, ...] = ()
        if not names and self.run.mirror is not None:
            files = sorted(path.name for path in self.path.iterdir())
            names = tuple(name for name in files if not name.startswith((SAMPLE, ".")))
            last = (self.predictions_name,)
        self.run.upload(*self._below(names), *last)

    def download(self, *names: str) -> None:
        """Download files of this folder; without names, all of it and the prediction file."""
        if self.run.mirror is not None:
            whole = (self.name, self.predictions_name)
            self.run.mirror.download(*(self._below(names) if names else whole))

    def download_result(self) -> None:
        """Download what the driver reads, without large weights."""
        if self.run.mirror is not None:
            self.run.mirror.download(
                self.name,
                self.predictions_name,
                max_weight_bytes=MAX_WEIGHT_BYTES,
                without=(OF_SAMPLES, STATES),
            )

    def live_upload(self) -> Callable[[], None]:
        """A function that uploads metrics and training state, at most every `UPLOAD_S`."""
        last = -UPLOAD_S

        def upload() -> None:
            nonlocal last
            if self.run.mirror is not None and time.monotonic() - last >= UPLOAD_S:
                self.upload(*LIVE)
                last = time.monotonic()

        return upload

    def upload_while_running(self, callback: EpochCallback) -> EpochCallback:
        """A callback that also does `live_upload`."""
        upload = self.live_upload()

        def upload_and_call(values: dict[str, float]) -> None:
            upload()
            callback(values)

        return upload_and_call

    @contextlib.contextmanager
    def synced(
        self,
        callback: EpochCallback,
        *,
        inputs: Sequence["CellFolder"] = (),
        has_workers: bool = False,
    ) -> Iterator[EpochCallback]:
        """Download the cell and its inputs before the block, and upload its results after it.

        Yields a callback that uploads progress as well. With `has_workers`, metrics and state stay
        those that a worker uploaded, which may be newer. Raises CellError where the storage fails
        for a minute; the results stay on this machine.
        """
        mirror = self.run.mirror
        if mirror is None:
            yield callback
            return
        mirror.download(MANIFEST, FOLDS)
        for cell in inputs:
            mirror.download(cell.name, cell.predictions_name, without=(OF_SAMPLES, IMAGES))
        mirror.download(self.name, without=(IMAGES, *OF_WORKERS))
        self.error.unlink(missing_ok=True)
        mirror.upload(self.name, exact=True, without=OF_WORKERS)
        start = threading.Timer(1.0, self._try_upload, (STARTS,))
        start.daemon = True
        start.start()
        try:
            yield self.upload_while_running(callback)
        except BaseException:
            start.cancel()
            with contextlib.suppress(LusError):  # the block's own error matters more
                names = (STARTS,) if has_workers else LIVE
                replace(mirror, retry_s=FAILED_RETRY_S).upload(*self._below((*names, ERROR)))
            raise
        start.cancel()
        start.join()
        mirror.upload(self.name, exact=True, without=OF_WORKERS)
        mirror.upload(self.predictions_name)

    def _below(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{self.name}/{name}" for name in names)

    def _try_upload(self, *names: str) -> None:
        with contextlib.suppress(LusError, OSError):  # the next upload succeeds or reports why
            self.upload(*names)


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
