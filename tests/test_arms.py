"""The contract of arms in their smoke size: they train, predict and repeat.

`make test` runs one arm per task class and kind of input, each for one short epoch; the marker
`full` runs every arm.
"""

import functools
import importlib
import json
import math
import pkgutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import experiments
from lus_ray.clip import MASK_SCHEMES, SCHEMA, Row, frames_of, masks_of
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.labels import PNEUMONIA_DIAGNOSIS
from lus_ray.data.loading.batches import InMemory, Tracks, size_of, view_of
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment
from lus_ray.metrics import classification, frames, multilabel, segmentation
from lus_ray.orchestration.cells.inputs import input_sizes
from lus_ray.predictor import Predictor
from lus_ray.runs import cell_predictions, cell_rows, leakage, predictions
from lus_ray.runs.cell import Cell
from lus_ray.runs.plan import RunPlan, RunRequest
from lus_ray.runs.prepare import list_cells, prepare
from lus_ray.runs.run_cell import run
from lus_ray.tasks.biomarker_classifiers import BiomarkerClassifiers
from lus_ray.tasks.drawable import Drawable
from lus_ray.tasks.ensemble import Ensemble
from lus_ray.tasks.merged_classes import MergedClasses
from lus_ray.tasks.sklearn_expert import Expert
from lus_ray.tasks.task import Task, to_unit_range
from lus_ray.training import checkpoint

pytestmark = pytest.mark.slow
NAMES = sorted(m.name for m in pkgutil.iter_modules(experiments.__path__) if not m.ispkg)


def load_experiment(name: str) -> Experiment:
    return importlib.import_module(f"experiments.{name}").EXPERIMENT


def pattern_of(arm: Arm, experiment: Experiment) -> tuple[Any, ...]:
    """Task classes of the arm and of the arm it reads, and what is special about its rows."""
    read = experiment.arm(arm.reads).task.func if arm.reads else None
    leaks = (arm.rows.overlap, arm.rows.images, arm.rows.clips)
    version = arm.task.keywords.get("version")
    return (arm.task.func, version, read, *leaks, arm.recipe is not None, arm.crossfit > 0)


@functools.cache
def distinct_arms() -> dict[str, tuple[str, ...]]:
    """The arm of every pattern that needs the fewest other arms, by experiment."""
    patterns: dict[tuple[Any, ...], list[tuple[int, str, str]]] = defaultdict(list)
    for name in NAMES:
        experiment = load_experiment(name).at("smoke")
        for arm in experiment.arms:
            num_needed = len(experiment.only((arm.name,)).arms)
            patterns[pattern_of(arm, experiment)].append((num_needed, name, arm.name))
    chosen = [min(arms, key=lambda arm: arm[0]) for arms in patterns.values()]
    return {name: tuple(arm for _, own, arm in chosen if own == name) for name in NAMES}


def shorten(arm: Arm) -> Arm:
    """The arm with one epoch of at most 16 frames."""
    if arm.recipe is None:
        return arm
    recipe = replace(arm.recipe, epochs=1, draws=min(arm.recipe.draws, 16))
    return replace(arm, recipe=recipe, search=None)


@dataclass
class FinishedArms:
    """Arms of an experiment on its first fold, and the clips that each trained on."""

    plan: RunPlan
    data: Path
    pixels: InMemory
    trained: dict[str, set[str]]

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.plan.folder.path / "experiment.json").read_text())

    @property
    def arms(self) -> tuple[Arm, ...]:
        return self.plan.experiment.arms

    def table(self, arm: str) -> tuple[predictions.PredictionInfo, list[Row]]:
        info, table = predictions.read(self.plan.folder.cell(Cell(arm, 0)).predictions)
        return info, table.to_pylist()

    def splits(self, arm: Arm) -> dict[str, str]:
        """The split of every clip that the arm has to predict, as documented by `Rows`."""
        fold = self.plan.folds[0]
        rows = [row for row in self.plan.rows if equal(row, arm.rows.where)]
        splits = {row["clip"]: fold.split_of(row["patient"]) for row in rows}
        if arm.rows.with_val:
            splits = {clip: "train" if s == "val" else s for clip, s in splits.items()}
        for row in rows:
            if not equal(row, arm.rows.learns) and splits[row["clip"]] != "test":
                del splits[row["clip"]]
        label = arm.rows.train_without
        lacking = {row["clip"] for row in self.plan.rows if label and row[label] is None}
        if arm.rows.overlap:
            splits |= dict.fromkeys(lacking, "train")
        else:
            splits = {c: s for c, s in splits.items() if c not in lacking or s == "train"}
        if arm.reads is not None:
            read = self.splits(self.plan.experiment.arm(arm.reads))
            splits = {clip: s for clip, s in splits.items() if clip in read}
        return splits

    @functools.cached_property
    def clips(self) -> dict[str, Row]:
        return {row["clip"]: row for row in store.read(self.data)}

    @functools.cached_property
    def used_frames(self) -> dict[str, list[int]]:
        """The frames of each clip that are used: all of them, or those that a row lists."""
        lengths = store.count_frames_by_clip(self.data)
        return {
            row["clip"]: list(range(lengths[row["clip"]]))
            if row.get("images") is None
            else [frame for frame, _ in row["images"]]
            for row in self.plan.rows
        }

    def ignores_patients(self, arm: Arm) -> bool:
        """Whether the arm, or the arm that it reads, splits images or clips at random."""
        read = arm.reads and self.ignores_patients(self.plan.experiment.arm(arm.reads))
        return bool(arm.rows.images or arm.rows.clips or read)

    def lineage(self, arm: Arm) -> tuple[Arm, ...]:
        """The arm and all that its weights and inputs come from."""
        inputs = [self.plan.experiment.arm(name) for name in arm.inputs]
        return (arm, *(ancestor for earlier in inputs for ancestor in self.lineage(earlier)))

    def folder(self, arm: Arm) -> Path:
        return self.plan.folder.cell(Cell(arm.name, 0)).path

    def predictor(self, arm: Arm) -> Predictor:
        return Predictor(self.folder(arm) / "checkpoint")

    def mask_arms(self) -> Iterator[tuple[Arm, predictions.PredictionInfo, list[Row]]]:
        for arm in self.arms:
            info, rows = self.table(arm.name)
            if info.scheme is not None:
                yield arm, info, rows


def equal(row: Row, wanted: Mapping[str, Any]) -> bool:
    return all(row[column] == value for column, value in wanted.items())


def load_pixels(data: Path, experiment: Experiment) -> InMemory:
    clips = list(store.read(data))
    sizes, mask_sizes = input_sizes(experiment)
    return InMemory(
        {s: {c["clip"]: view_of(s).resize(frames_of(c)) for c in clips} for s in sizes},
        {s: {c["clip"]: view_of(s).resize_masks(masks_of(c)) for c in clips} for s in mask_sizes},
    )


@pytest.fixture(scope="session")
def arm_stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, int], Path]:
    """Phantom patients with two clips each, one of which has a score of its own."""

    @functools.cache
    def make_store(scheme: str, domains: str, patients: int) -> Path:
        folder = tmp_path_factory.mktemp("arms") / scheme
        options = {"domain": domains} if domains else {}
        options |= {"patients": patients, "frames": 8 if scheme == "none" else 4, "clips": 2}
        ingest("phantom", None, folder, size=64, video_labels=0.5, masks=scheme, **options)
        return folder

    return make_store


@pytest.fixture(
    scope="module",
    params=[
        *(pytest.param((name, False), id=name) for name in NAMES if distinct_arms()[name]),
        *(pytest.param((name, True), id=f"{name}-all", marks=pytest.mark.full) for name in NAMES),
    ],
)
def finished(
    request: pytest.FixtureRequest,
    arm_stores: Callable[[str, str, int], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> FinishedArms:
    torch.set_num_threads(1)
    name, every_arm = request.param
    experiment = load_experiment(name).at("smoke")
    if not every_arm:
        experiment = experiment.only(distinct_arms()[name])
        experiment = experiment.with_arms(tuple(map(shorten, experiment.arms)))
    phantom = experiment.sizes["smoke"].phantom
    segments = any((arm.label or "").endswith(" masks") for arm in experiment.arms)
    scheme = phantom.get("masks", "dense") if segments else "none"
    if experiment.domains:
        data = arm_stores(scheme, phantom["domain"], 12 if every_arm else 6)
    else:
        data = arm_stores(scheme, "", 24 if every_arm else 16 if scheme == "none" else 9)
    out = tmp_path_factory.mktemp(name)
    plan = prepare(RunRequest(experiment, data=data, out=out, size="smoke"))
    pixels = load_pixels(data, plan.experiment)
    trained: dict[str, set[str]] = defaultdict(set)
    for cell in list_cells(plan.experiment, plan.folds[:1]):
        with pytest.MonkeyPatch.context() as patch:
            for owner in (InMemory, Tracks):
                record_clips(patch, owner, "epochs", trained[cell.arm])
            for owner in (Expert, BiomarkerClassifiers):
                record_clips(patch, owner, "fit_rows", trained[cell.arm])
            run(cell, plan, pixels, lambda values: None)
    return FinishedArms(plan, data, pixels, trained)


def record_clips(patch: pytest.MonkeyPatch, owner: type, name: str, clips: set[str]) -> None:
    """Add the clips of the rows that a method receives first."""
    method = getattr(owner, name)

    def recording(own: Any, rows: Sequence[Row], *more: Any, **settings: Any) -> Any:
        clips.update(row["clip"] for row in rows)
        return method(own, rows, *more, **settings)

    patch.setattr(owner, name, recording)


def test_every_arm_leaves_a_finished_cell_with_its_cost(finished):
    for arm in finished.arms:
        cell = finished.plan.folder.cell(Cell(arm.name, 0))
        assert cell.is_finished, arm.name
        cost = json.loads(cell.cost.read_text())
        assert min(cost["wall_s"], cost["peak_mb"]) > 0


def test_every_arm_predicts_its_clips_in_the_right_split(finished):
    predicted = ("target", "probability", "outputs", "features", "counts", "bins")
    allowed = {*SCHEMA.names, "fold", "split", *predicted} - {"frames", "masks"}
    for arm in finished.arms:
        info, rows = finished.table(arm.name)
        assert (info.arm, info.label, info.fold) == (arm.name, arm.label, 0)
        splits = {row["clip"]: row["split"] for row in rows}
        assert len(splits) == len(rows)
        assert set(rows[0]) < allowed
        if finished.ignores_patients(arm):
            assert set(splits.values()) == {"test", *["train"] * arm.rows.clips}, arm.name
        else:
            assert splits == finished.splits(arm), arm.name


def test_probabilities_are_finite_and_add_up_to_one(finished):
    for arm in finished.arms:
        info, rows = finished.table(arm.name)
        if arm.label is None or info.scheme is not None:
            continue
        probability = np.array([row["probability"] for row in rows])
        assert probability.shape == (len(rows), len(info.classes)), arm.name
        assert np.isfinite(probability).all()
        assert 0 <= probability.min() <= probability.max() <= 1 + 1e-6
        if not info.multilabel:
            assert probability.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_arms_of_single_frames_predict_every_frame(finished):
    for arm in finished.arms:
        info, rows = finished.table(arm.name)
        assert info.by_frame == (arm.label == "frame_severity"), arm.name
        assert info.inherited == (arm.label == "diagnosis"), arm.name
        if info.inherited:
            used = [finished.used_frames[row["clip"]] for row in rows]
            assert [len(row["outputs"]) for row in rows] == [len(frames) for frames in used]
        for row in rows if info.by_frame else ():
            outputs = np.array(row["outputs"])
            assert outputs.shape == (len(row["frame_severity"]), len(info.classes))
            assert row["target"] == row["frame_severity"]
            assert row["probability"] == pytest.approx(outputs.mean(axis=0), abs=1e-6)


def test_every_pixel_of_every_frame_is_counted(finished):
    for arm, info, rows in finished.mask_arms():
        assert info.classes == MASK_SCHEMES[info.scheme], arm.name
        assert info.label == f"{info.scheme} masks"
        num_classes, task = len(info.classes), arm.task()
        view = (finished.plan.experiment.arm(arm.reads).task() if arm.reads else task).view
        for row in rows:
            counts = np.array(row["counts"])
            assert counts.shape[1:] == (num_classes**2,)
            assert (counts.sum(axis=1) == view.height * view.width).all(), arm.name
            if not finished.ignores_patients(arm):
                assert len(counts) == len(finished.used_frames[row["clip"]])
            assert row["target"] is row["probability"] is row["outputs"] is None
            if isinstance(task, MergedClasses):
                assert row["bins"] is None
                continue
            number, confidence, correct = np.array(row["bins"]).sum(axis=0)
            assert number == counts.sum()
            assert correct <= number
            assert number / num_classes <= confidence <= number
            if not task.boost:
                square = counts.reshape(-1, num_classes, num_classes)
                assert correct == square.trace(0, 1, 2).sum()


def test_every_checkpoint_repeats_the_stored_predictions(finished):
    for arm in finished.arms:
        info, rows = finished.table(arm.name)
        if arm.crossfit or (info.scheme is not None and not arm.reads):
            continue
        predictor = finished.predictor(arm)
        read = finished.clips
        if arm.reads:
            read = {row["clip"]: row for row in finished.table(arm.reads)[1]}
        for row in rows[:3]:
            prediction = predictor(read[row["clip"]])
            for name, values in prediction.items():
                assert values == pytest.approx(np.array(row[name]), abs=1e-5), arm.name
            assert {"features", "probability", "counts"} & set(prediction)


def test_masks_of_every_checkpoint_have_the_stored_counts(finished):
    for arm, info, rows in finished.mask_arms():
        if arm.reads or arm.rows.images:
            continue
        predictor = finished.predictor(arm)
        for row in rows[:3]:
            clip, used = finished.clips[row["clip"]], finished.used_frames[row["clip"]]
            task = predictor.task
            true = task.prepare_truth(task.view.resize_masks(masks_of(clip)), clip)[used]
            predicted = predictor(clip)["masks"][used]
            counts = segmentation.count_pixels(true, predicted, num_classes=len(info.classes))
            assert (counts.reshape(len(used), -1) == np.array(row["counts"])).all(), arm.name


def test_arms_of_images_predict_the_images_of_their_split_reproducibly(finished):
    for arm, _, rows in finished.mask_arms():
        if not arm.rows.images:
            continue
        fold = finished.plan.folds[0]
        listed = cell_rows.rows_of(arm, fold, Cell(arm.name, 0), finished.plan)
        tested = [row for row in listed if row["split"] == "test"]
        assert [row["clip"] for row in rows] == [row["clip"] for row in tested]
        assert [len(row["counts"]) for row in rows] == [len(row["images"]) for row in tested]
        task = finished.predictor(arm).task
        repeated = cell_predictions.predict_clips(task, tested[:3], finished.pixels, "cpu")
        for row, prediction in zip(rows, repeated, strict=False):
            assert (prediction["counts"] == np.array(row["counts"])).all(), arm.name


def test_arms_of_clips_test_their_share_of_every_class_whatever_the_patient(finished):
    fold, num_folds = finished.plan.folds[0], len(finished.plan.folds)
    for arm in finished.arms:
        if not arm.rows.clips:
            continue
        targets = map(arm.task().target, finished.plan.rows)
        known = Counter(target for target in targets if target is not None)
        tested = [row for row in finished.table(arm.name)[1] if row["split"] == "test"]
        for target, number in Counter(row["target"] for row in tested).items():
            assert abs(number - known[target] / num_folds) < 1, arm.name
        assert {row["patient"] for row in tested} - set(fold.test)


def test_an_ensemble_predicts_the_mean_probability_of_its_members(finished):
    for arm in finished.arms:
        if not isinstance(arm.task(), Ensemble):
            continue
        members = map(finished.plan.experiment.arm, arm.members)
        tasks = [finished.predictor(cell_arm).task for cell_arm in (arm, *members)]
        (clip,) = finished.pixels.clips(finished.plan.rows[:1], tasks[0].view)
        greys = to_unit_range(torch.from_numpy(clip[:, None].copy()))
        mean, *parts = (torch.cat(list(t.predict_probabilities(greys))).numpy() for t in tasks)
        assert mean == pytest.approx(np.mean(parts, axis=0), abs=1e-6), arm.name
        assert len(parts) == 1 or all(np.abs(mean - part).max() > 1e-4 for part in parts)


def test_no_arm_trains_on_a_test_patient_unless_its_rows_declare_the_leak(finished):
    fold = finished.plan.folds[0]
    tested = {row["clip"] for row in finished.plan.rows if row["patient"] in fold.test}
    for arm in finished.arms:
        lineage = finished.lineage(arm)
        trained = set.union(*(finished.trained.get(a.name, set()) for a in lineage))
        if arm.label is not None and (arm.recipe or "prior" in arm.name):
            assert finished.trained[arm.name], arm.name
        leaks = any(a.rows.overlap or a.rows.images or a.rows.clips for a in lineage)
        assert bool(trained & tested) == leaks, arm.name


def test_arms_that_leak_by_design_are_listed_with_their_kind_of_leak(finished):
    named = leakage.leaks(finished.record)
    kinds = {
        leakage.OVERLAP: lambda arm: arm.rows.overlap,
        leakage.IMAGES: lambda arm: arm.rows.images,
        leakage.CLIPS: lambda arm: arm.rows.clips,
        leakage.SELECTED: lambda arm: arm.recipe is not None and arm.recipe.select == "test",
    }
    for arm in finished.arms:
        lineage = finished.lineage(arm)
        expected = {kind for kind, has_leak in kinds.items() if any(map(has_leak, lineage))}
        assert set(named.get(arm.name, ())) == expected, arm.name


def test_arms_with_overlap_train_on_every_patient_but_on_no_scored_clip(finished):
    rows = {row["clip"]: row for row in finished.plan.rows}
    for arm in finished.arms:
        if not arm.rows.overlap:
            continue
        trained = [rows[clip] for clip in finished.trained[arm.name]]
        assert all(row[arm.rows.train_without] is None for row in trained), arm.name
        assert {row["patient"] for row in trained} >= set(finished.plan.folds[0].test), arm.name


def test_clips_excluded_from_training_train_the_arms_that_read_it(finished):
    rows = {row["clip"]: row for row in finished.plan.rows}
    for arm in finished.arms:
        label = arm.rows.train_without
        readers = [a.name for a in finished.arms if a.reads == arm.name and a.label == label]
        for reader in set(readers) & set(finished.trained) if label else ():
            assert not finished.trained[reader] & finished.trained[arm.name]
            assert all(rows[clip][label] is not None for clip in finished.trained[reader])


def test_networks_of_frames_show_examples_of_tested_frames(finished):
    for arm in finished.arms:
        folder = finished.folder(arm) / "pictures"
        task = arm.task()
        if not isinstance(task, Drawable) or arm.crossfit or arm.rows.clips:
            assert not folder.exists(), arm.name
            continue
        tested = {row["clip"] for row in finished.table(arm.name)[1] if row["split"] == "test"}
        captions = json.loads((folder / "captions.json").read_text())
        assert captions, arm.name
        for caption in captions:
            clip, _, frame = caption["example"].partition("#")
            assert clip in tested
            assert not frame or int(frame) in finished.used_frames[clip]
            assert (folder / caption["file"]).read_text().startswith("<svg")


def test_every_loss_is_finite_and_every_network_has_one(finished):
    for arm in finished.arms:
        task = arm.task()
        if arm.recipe is None or task.fits_in_one_call:
            continue
        lines = (finished.folder(arm) / "metrics.jsonl").read_text().splitlines()
        networks = task.networks if len(task.networks) > 1 else ()
        for values in map(json.loads, lines):
            losses = {name: value for name, value in values.items() if name.startswith("train_")}
            assert {"train_loss", *(f"train_{network}_loss" for network in networks)} <= set(losses)
            assert all(map(math.isfinite, losses.values())), arm.name
        assert lines


def test_every_arm_can_be_built_from_its_description(finished):
    for arm in finished.record["arms"]:
        assert isinstance(checkpoint.build(arm["task"]), Task)


def test_a_repeated_cell_gives_the_same_bits(finished):
    trained = [arm for arm in finished.arms if arm.recipe is not None]
    for arm in {arm.reads is None: arm for arm in reversed(trained)}.values():
        before = finished.table(arm.name)[1]
        run(Cell(arm.name, 0), finished.plan, finished.pixels, lambda values: None)
        assert finished.table(arm.name)[1] == before


def test_cross_fitting_changes_exactly_the_predictions_of_training_clips(finished):
    for arm in finished.arms:
        if not arm.crossfit:
            continue
        pairs = zip(finished.table(arm.name)[1], finished.table(arm.reads)[1], strict=True)
        for row, read in pairs:
            is_same = row["probability"] == read["probability"]
            assert is_same == (row["split"] != "train"), (arm.name, row["clip"])


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_has_three_sizes_and_a_complete_header(name):
    module = importlib.import_module(f"experiments.{name}")
    for word in ("Table", "Question", "Data", "Splits", "Run", "Try"):
        assert f"\n{word} " in module.__doc__, word
    experiment = module.EXPERIMENT
    assert experiment.name == name
    assert all(experiment.at(size).arms for size in ("full", "smoke"))
    one_of_each = {arm.task.func: arm for arm in experiment.at("laptop").arms if arm.label}
    assert [arm.task().label for arm in one_of_each.values()]
    assert any(arm.baseline for arm in experiment.arms)


@pytest.mark.parametrize("name", NAMES)
def test_published_metrics_fit_the_label_and_are_fractions_of_one(name):
    experiment = load_experiment(name)
    by_label = {f"{scheme} masks": names for scheme, names in segmentation.METRICS.items()}
    by_label |= {"biomarkers": multilabel.METRICS, "frame_severity": frames.METRICS}
    by_label["diagnosis"] = frames.inherited_metrics(PNEUMONIA_DIAGNOSIS.classes)
    for arm, row in experiment.published.items():
        known = by_label.get(experiment.arm(arm).label, classification.METRICS)
        assert {metric.partition(", ")[0] for metric in row} <= set(known), arm
        for mean, std in row.values():
            assert 0 < mean < 1
            assert std is None or 0 <= std < 1


@pytest.mark.parametrize("name", NAMES)
def test_the_views_of_an_arm_and_its_inputs_are_loaded(name):
    experiment = load_experiment(name).at("smoke")
    for chosen in (experiment, experiment.only((experiment.arms[-1].name,))):
        arms = {str(pattern_of(arm, chosen)): arm for arm in chosen.arms}  # networks take long
        tasks = [arm.task() for arm in arms.values()]
        viewing = [task for task in tasks if isinstance(getattr(task, "view", None), View)]
        sizes, mask_sizes = input_sizes(chosen)
        assert sizes == {size_of(task.view) for task in viewing}
        assert mask_sizes == {size_of(task.view) for task in viewing if task.scheme}
