"""Runs in Python: a study on a store, and its results as tables."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from lus_ray import study_files
from lus_ray.api.stores import INTEGERS, Store, to_table
from lus_ray.errors import ArmError, LusError
from lus_ray.evaluation import report_json, results
from lus_ray.evaluation.schema import ReportContents
from lus_ray.folds import read as read_folds
from lus_ray.monitoring.phase_log import PhaseLog
from lus_ray.orchestration.early_checks import refuse_bad_places
from lus_ray.orchestration.studies import default_out
from lus_ray.runs import manifest, predictions
from lus_ray.runs.layout import CELLS, FOLDS, REPORTS, RunFolder, open_for_reading
from lus_ray.runs.manifest import RunRecord
from lus_ray.runs.prepare import print_note
from lus_ray.storage.paths import PathOrUri, parse
from lus_ray.suggestions import suggest

if TYPE_CHECKING:
    from lus_ray.report import RunReport

HIDDEN = ("labels", "features", "counts", "bins", "outputs", "probability", "target")
"""Columns of prediction files that are of no use in a table of probabilities."""

WRITING = "computing scores and writing the report ..."


@runtime_checkable
class Output(Protocol):
    """Where a report goes besides its folder."""

    def show(self, report: "RunReport") -> None:
        """Show a report before it is written, as the folder may be read-only."""

    def name_page(self, page: str) -> None:
        """Name the path or URI of the page once it is written."""


class Run:
    """The results of a run folder, finished or not.

    `path` is the folder, or a copy of the one at a URI. `record` is what was run: data, arms,
    settings, versions. Scores are fractions of 1.

    Raises:
        StoreError: the folder holds no run.
    """

    def __init__(self, location: PathOrUri) -> None:
        self.location = location
        self._folder = open_for_reading(location)
        self.path: Path = self._folder.path
        self.record: RunRecord = manifest.read(self.path)

    def __repr__(self) -> str:
        num_cells = len(self._folder.finished_cells())
        return (
            f"Run({self._folder.display_name!r}: {self.record.experiment} at size "
            f"{self.record.size}, {len(self.record.arms)} arms, {num_cells} finished cells)"
        )

    @property
    def report(self) -> Path:
        """The page of the report."""
        return self.path / REPORTS[0]

    @cached_property
    def contents(self) -> ReportContents:
        """Everything that the report says, as in report.json."""
        return report_json.compute(results.read(self.path))[0]

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each arm and metric.

        Mean and standard deviation are over folds, `low` and `high` limit the 95 % interval over
        patients, `published` is the value of the paper, `leak` says how an arm saw test data.
        """
        rows = [
            {
                "label": arm.label, "arm": arm.name, "baseline": arm.baseline, "metric": metric,
                "mean": mean, "std": arm.std.get(metric),
                **dict(zip(("low", "high"), arm.interval.get(metric, (None, None)), strict=True)),
                "published": arm.published.get(metric, (None, None))[0],
                "folds": arm.num_folds.get(metric), "patients": arm.num_patients, "leak": arm.leak,
            }
            for arm in self.contents.arms
            for metric, mean in arm.mean.items()
        ]  # fmt: skip
        numbers = dict.fromkeys(("mean", "std", "low", "high", "published"), float)
        return pd.DataFrame(rows).astype(numbers) if rows else pd.DataFrame()

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The claims of the paper, each with its verdict and the difference that decides it."""
        names = ("text", "metric", "verdict", "reason", "difference", "num_patients")
        rows = [{name: getattr(claim, name) for name in names} for claim in self.contents.claims]
        return pd.DataFrame(rows, columns=list(names))

    @cached_property
    def folds(self) -> pd.DataFrame:
        """The split of every patient in each fold."""
        return to_table(read_folds(self.path / FOLDS))

    def predictions(self, arm: str, *, split: str | None = "test") -> pd.DataFrame:
        """What an arm predicts for every clip of a split (None for all), over folds and seeds.

        Of a label: `target` and `predicted` are classes, and every class has a column with its
        probability, "P(<class>)". Of frames and masks: the columns of the prediction files.

        Raises:
            StoreError: no cell of this arm is finished, or a file is damaged.
        """
        self._check_arm(arm)
        tables = [
            _to_pandas(*predictions.read(cell.predictions))
            for cell in self._folder.finished_cells()
            if predictions.read(cell.predictions, columns=())[0].arm == arm
        ]
        table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"split": []})
        return table if split is None else table[table["split"] == split].reset_index(drop=True)

    def _check_arm(self, arm: str) -> None:
        names = [known.name for known in self.record.arms]
        if arm not in names:
            raise ArmError(f"{self.path}: no arm {arm!r}{suggest(arm, names)}")


def open_run(location: Run | Path | str) -> Run:
    """The run at a path or URI, finished or not.

    Raises:
        StoreError: the folder holds no run.
    """
    return location if isinstance(location, Run) else Run(parse(str(location)))


def run(
    study: str | Path, *, data: Store | Path | str | None = None, out: Path | str | None = None,
    size: str = "full", arms: str | Iterable[str] | None = None,
    folds: str | Iterable[int] | None = None, label: str | None = None, seed: int | None = None,
    seeds: int | None = None, samples: int | None = None, splits: Path | str | None = None,
    weights: Path | str | Mapping[str, Path | str] | None = None, domains: str | None = None,
    weak: bool = False, over: Iterable[Path | str] = (), settings: Iterable[str] = (),
    address: str | None = None, tensorboard: bool = False, dashboard: bool = False,
) -> Run:  # fmt: skip
    """Run the unfinished cells of a study and write its report, as `lus run` does.

    `study` is the name of a study or the path of a file of one's own. The options are those of the
    command; `weights` may also be a mapping from arms, networks or encoders to files or published
    names. Repeat the call to resume. Without `address` it runs on this machine: a small run in
    forked processes, a larger one on a Ray that it starts and stops.

    Raises:
        InputError: an option, the data or the run folder cannot be used.
        CellError: cells failed; the others are finished and reported.
    """
    from lus_ray.orchestration import initial_weights  # imports networks

    location = default_out(str(study), size, label) if out is None else parse(str(out))
    options: dict[str, Any] = {
        "data": data.location if isinstance(data, Store) else data and parse(str(data)),
        "arms": _join(arms), "folds": _join(folds), "seed": seed, "seeds": seeds,
        "samples": samples, "splits": splits and str(splits),
        "weights": initial_weights.to_text(weights), "domains": domains, "weak": weak,
        "settings": tuple(settings), "address": address, "tensorboard": tensorboard,
        "dashboard": dashboard,
    }  # fmt: skip
    if label is not None:
        options["label"] = label
    execute(str(study), location, size, over=[parse(str(store)) for store in over], **options)
    return open_run(location)


def evaluate(
    run: Run | Path | str, *, data: Store | Path | str, out: Path | str | None = None,
    arms: str | Iterable[str] | None = None, where: Mapping[str, str] | None = None,
    study: Path | str | None = None,
) -> Run:  # fmt: skip
    """Test the models of a run on the clips of another store, as `lus evaluate` does.

    Patients of the run are left out first. `where` keeps clips with these values, `study` is the
    file of a study of one's own. The result reads like a run: its `table` holds the scores on the
    other store, its `record` what was left out.

    Raises:
        InputError: there is no run or store, no clip is left, or no label fits.
    """
    from lus_ray.external_validation import evaluate as evaluate_run

    if study is not None:
        study_files.load(study)
    origin = run.location if isinstance(run, Run) else parse(str(run))
    store = data.location if isinstance(data, Store) else parse(str(data))
    result = evaluate_run(
        origin, store, None if out is None else Path(out), arms=_join(arms), where=where,
        notify=print_note,
    )  # fmt: skip
    return Run(result.out)


def execute(
    study: str, out: PathOrUri, size: str, *, over: Sequence[PathOrUri] = (),
    output: Output | None = None, notify: Callable[[str], None] = print_note, **options: Any,
) -> None:  # fmt: skip
    """Run the unfinished cells of a study and write its report.

    Raises:
        InputError: an option, the data or the run folder cannot be used.
        CellError: cells failed; the report of the others is written.
    """
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")
    stores = [*over, *filter(None, [options.get("data")])]
    refuse_bad_places(study, out, stores, address=options.get("address"))
    from lus_ray.orchestration import campaign, run_options  # import torch

    examples = []
    with PhaseLog(notify, f"reading the study {study} ...") as log:
        if over:
            from lus_ray.runs import external_images  # imports matplotlib

            examples = [e for store in over for e in external_images.select_examples(store)]
        request = run_options.build_request(study, size=size, out=out, notify=log.notify, **options)
    folder = RunFolder(out)
    try:
        campaign.run(request, notify)
    except LusError as error:
        if error.exit_code == 1:  # cells failed: the finished ones are worth a report
            with suppress(LusError), PhaseLog(notify) as log:  # the cells' own error matters more
                log.notify(WRITING)
                write_report(folder, output)
        raise
    with PhaseLog(notify) as log:
        if examples:
            log.notify("segmenting external clips ...")
            folder.download_checkpoints()
            number = external_images.draw(request.experiment, folder, examples)
            log.notify(f"{number} images of external clips")
            folder.upload(CELLS)
        log.notify(WRITING)
        write_report(folder, output)


def write_report(folder: RunFolder, output: Output | None = None) -> "RunReport":
    """Write the report of a run folder, and upload it to its URI."""
    from lus_ray import report as reports

    written = reports.write(folder.path, show=output.show if output else lambda report: None)
    folder.upload(*reports.FILES)
    if output is not None:
        first = reports.FILES[0]
        page = f"{folder.display_name}/{first}" if folder.mirror else str(folder.path / first)
        output.name_page(page)
    return written


def _join(values: str | Iterable[Any] | None) -> str | None:
    return values if values is None or isinstance(values, str) else ",".join(map(str, values))


def _to_pandas(info: predictions.PredictionInfo, table: Any) -> pd.DataFrame:
    """One prediction file: probabilities in a column for each class, targets as classes."""
    is_label = not (info.by_frame or info.inherited or info.scheme)
    hidden = HIDDEN if is_label else HIDDEN[:1]
    kept = [name for name in table.column_names if name not in hidden]
    frame = table.select(kept).to_pandas(types_mapper=INTEGERS.get).assign(seed=info.seed)
    if not is_label or info.label is None:
        return frame
    probability = np.array(table["probability"].to_pylist(), float).reshape(-1, len(info.classes))
    targets = table["target"].to_pylist()
    if not info.multilabel:
        frame["target"] = [None if t is None else info.classes[t] for t in targets]
        frame["predicted"] = [info.classes[k] for k in probability.argmax(axis=1)]
    else:
        frame["target"] = targets
    own = {f"P({name})": probability[:, k] for k, name in enumerate(info.classes)}
    return pd.concat([frame, pd.DataFrame(own)], axis=1)
