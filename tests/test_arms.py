"""The contract of arms in their smoke size: they train, predict and repeat.

No test names an arm. `make test` runs one arm per distinct pattern of all studies, the marker
`full` every arm.
"""

import functools
import importlib
import json
import math
import pkgutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import experiments
from lus_ray.clip import MASK_SCHEMES, SCHEMA, Row, frames_of, masks_of
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.labels import CLASSES
from lus_ray.data.loading.batches import InMemory, Tracks, size_of, view_of
from lus_ray.data.masks import class_map
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment, Rows
from lus_ray.metrics import classification, frames, multilabel, segmentation
from lus_ray.orchestration import campaign
from lus_ray.predictor import Predictor
from lus_ray.runs import (
    cell_predictions,
    cell_rows,
    domain_images,
    example_images,
    leakage,
    predictions,
)
from lus_ray.runs.cell import Cell
from lus_ray.runs.plan import RunPlan, RunRequest
from lus_ray.runs.prepare import list_cells, prepare
from lus_ray.runs.run_cell import fit_task, run
from lus_ray.tasks.ensemble import Ensemble
from lus_ray.tasks.merged_classes import MergedClasses
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.tasks.sifa import Sifa
from lus_ray.tasks.sklearn_expert import Expert
from lus_ray.tasks.task import Task, to_unit_range
from lus_ray.training import checkpoint

pytestmark = pytest.mark.slow
NAMES = sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def experiment_named(name: str) -> Experiment:
    return importlib.import_module(f"experiments.{name}").EXPERIMENT


def pattern_of(arm: Arm, experiment: Experiment) -> tuple[Any, ...]:
    """What distinguishes an arm apart from names and values: classes, label and kinds of input."""
    arguments = getattr(arm.task, "keywords", {})
    parts = [arguments.get(name) for name in ("net", "backbone", "aggregator")]
    plain, rows, recipe = Rows(), arm.rows, arm.recipe
    read = experiment.arm(arm.reads) if arm.reads else None
    return (
        *(class_of(part) for part in (arm.task, *parts, read and read.task)),
        *(arguments.get(name) for name in ("version", "inputs")),
        *(f.name for f in fields(rows) if getattr(rows, f.name) != getattr(plain, f.name)),
        *(arm.label, arm.start is None, arm.crossfit > 0, read and read.crossfit > 0),
        recipe and (recipe.select, recipe.copies > 1, type(recipe.augment)),
    )


def class_of(factory: Any) -> str:
    return getattr(getattr(factory, "func", factory), "__name__", "")


@functools.cache
def distinct_arms() -> dict[str, tuple[str, ...]]:
    """The first arm of every pattern, by experiment."""
    chosen: dict[tuple[Any, ...], tuple[str, str]] = {}
    for name in NAMES:
        experiment = experiment_named(name).at("smoke")
        for arm in experiment.arms:
            chosen.setdefault(pattern_of(arm, experiment), (name, arm.name))
    return {name: tuple(arm for own, arm in chosen.values() if own == name) for name in NAMES}


@dataclass
class Watched:
    """Pixels that remember which clips an arm asked for to learn from."""

    pixels: InMemory
    learned: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    arm: str = ""

    def epochs(self, rows: Sequence[Row], **settings: Any) -> Callable[[int], Iterator[Any]]:
        self.remember(rows)
        return self.pixels.epochs(rows, **settings)

    def clips(self, rows: Sequence[Row], view: View) -> Iterator[Any]:
        return self.pixels.clips(rows, view)

    def masks(self, rows: Sequence[Row], view: View) -> Iterator[Any]:
        return self.pixels.masks(rows, view)

    def remember(self, rows: Sequence[Row]) -> None:
        self.learned[self.arm] |= {row["clip"] for row in rows}

    def also_through(self, patch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        """Remember the rows that a method is given first, and call it as it is."""
        method = getattr(owner, name)

        def remembering(own: Any, rows: Sequence[Row], *more: Any, **settings: Any) -> Any:
            self.remember(rows)
            return method(own, rows, *more, **settings)

        patch.setattr(owner, name, remembering)


@dataclass
class Finished:
    """Every arm of an experiment on its first fold, and the clips that each one learned from."""

    work: RunPlan
    data: Path
    pixels: InMemory
    learned: dict[str, set[str]]

    @property
    def record(self) -> dict[str, Any]:
        """What the run wrote down of itself."""
        return json.loads((self.work.folder.path / "experiment.json").read_text())

    @property
    def arms(self) -> tuple[Arm, ...]:
        return self.work.experiment.arms

    def table(self, arm: str) -> tuple[predictions.PredictionInfo, list[Row]]:
        about, table = predictions.read(self.work.folder.cell(Cell(arm, 0)).predictions)
        return about, table.to_pylist()

    def sides(self, arm: Arm) -> dict[str, str]:
        """The side of every clip that the arm has to predict, as `Rows` says it in words."""
        fold = self.work.folds[0]
        rows = [row for row in self.work.rows if equal(row, arm.rows.where)]
        sides = {row["clip"]: fold.split_of(row["patient"]) for row in rows}
        if arm.rows.with_val:
            sides = {clip: "train" if side == "val" else side for clip, side in sides.items()}
        for row in rows:
            if not equal(row, arm.rows.learns) and sides[row["clip"]] != "test":
                del sides[row["clip"]]
        label = arm.rows.train_without
        lacking = {row["clip"] for row in self.work.rows if label and row[label] is None}
        if arm.rows.overlap:
            sides |= dict.fromkeys(lacking, "train")
        else:
            sides = {c: s for c, s in sides.items() if c not in lacking or s == "train"}
        if arm.reads is not None:
            given = self.sides(self.work.experiment.arm(arm.reads))
            sides = {clip: side for clip, side in sides.items() if clip in given}
        return sides

    @property
    def seen(self) -> dict[str, list[int]]:
        """The frames of each clip that are looked at: all of them, or those that a row lists."""
        lengths = store.count_frames_by_clip(self.data)
        return {
            row["clip"]: list(range(lengths[row["clip"]]))
            if row.get("images") is None
            else [frame for frame, _ in row["images"]]
            for row in self.work.rows
        }

    def at_random(self, arm: Arm) -> bool:
        """Whether its sides say nothing of patients: its own, or those of the arm that it reads."""
        read = arm.reads and self.at_random(self.work.experiment.arm(arm.reads))
        return bool(arm.rows.images or arm.rows.clips or read)

    def behind(self, arm: Arm) -> tuple[Arm, ...]:
        """The arm and all that its weights and inputs come from."""
        earlier = [self.work.experiment.arm(name) for name in arm.inputs]
        return (arm, *(one for other in earlier for one in self.behind(other)))

    def folder(self, arm: Arm) -> Path:
        return self.work.folder.cell(Cell(arm.name, 0)).path

    def outlined(self) -> Iterator[tuple[Arm, predictions.PredictionInfo, list[Row]]]:
        """The arms whose answers are masks, and what was counted of them."""
        for arm in self.arms:
            about, rows = self.table(arm.name)
            if about.scheme is not None:
                yield arm, about, rows


def equal(row: Row, wanted: Mapping[str, Any]) -> bool:
    return all(row[column] == value for column, value in wanted.items())


def scheme_of(experiment: Experiment) -> str:
    """The masks that an experiment is made for: those of its smoke size, if an arm outlines."""
    if not any((arm.label or "").endswith(" masks") for arm in experiment.arms):
        return "none"
    return experiment.sizes["smoke"].phantom.get("masks", "dense")


def pixels_of(data: Path, experiment: Experiment) -> InMemory:
    clips = list(store.read(data))

    seen, outlined = campaign.input_sizes(experiment)
    return InMemory(
        {s: {c["clip"]: view_of(s).resize(frames_of(c)) for c in clips} for s in seen},
        {s: {c["clip"]: view_of(s).resize_masks(masks_of(c)) for c in clips} for s in outlined},
    )


@pytest.fixture(scope="session")
def arm_stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Twenty-four phantom patients with two clips each, one of which has a score of its own.

    One store for each scheme of masks and domains that are asked for; those with masks have
    shorter clips, and each domain has patients of its own.
    """

    @functools.cache
    def made(scheme: str, domains: str) -> Path:
        folder = tmp_path_factory.mktemp("arms") / scheme
        options = {"patients": 24, "clips": 2, "frames": 8 if scheme == "none" else 4, "size": 64}
        if domains:
            options |= {"patients": 12, "domain": domains}
        ingest("phantom", None, folder, video_labels=0.5, masks=scheme, **options)
        return folder

    return made


@pytest.fixture(
    scope="module",
    params=[
        *(pytest.param((name, False), id=name) for name in NAMES),
        *(pytest.param((name, True), id=f"{name}-all", marks=pytest.mark.full) for name in NAMES),
    ],
)
def finished(
    request: pytest.FixtureRequest,
    arm_stores: Callable[[str, str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    """Arms of an experiment on its first fold, one after another in this process."""
    torch.set_num_threads(1)
    name, every_arm = request.param
    experiment = experiment_named(name).at("smoke")
    experiment = experiment if every_arm else experiment.only(distinct_arms()[name])
    out = tmp_path_factory.mktemp(name)
    domains = experiment.sizes["smoke"].phantom["domain"] if experiment.domains else ""
    data = arm_stores(scheme_of(experiment), domains)
    work = prepare(RunRequest(experiment, data=data, out=out, size="smoke"))
    experiment = work.experiment
    watched = Watched(pixels_of(data, experiment))
    with pytest.MonkeyPatch.context() as patch:
        watched.also_through(patch, Tracks, "epochs")
        watched.also_through(patch, Expert, "fit_rows")
        for cell in list_cells(experiment, work.folds[:1]):
            watched.arm = cell.arm
            run(cell, work, watched, lambda values: None)
    return Finished(work, data, watched.pixels, dict(watched.learned))


def test_every_arm_leaves_a_finished_cell_with_its_cost(finished):
    for arm in finished.arms:
        cell = Cell(arm.name, 0)
        assert finished.work.folder.cell(cell).is_finished, arm.name
        cost = json.loads(finished.work.folder.cell(cell).cost.read_text())
        assert cost["wall_s"] > 0
        assert cost["peak_mb"] > 0


def test_every_arm_predicts_the_clips_that_are_its_own_on_the_right_side(finished):
    for arm in finished.arms:
        about, rows = finished.table(arm.name)
        assert (about.arm, about.label, about.fold) == (arm.name, arm.label, 0)
        if finished.at_random(arm):
            assert {r["split"] for r in rows} == {"test", *["train"] * arm.rows.clips}, arm.name
            assert len({r["clip"] for r in rows}) == len(rows)
        else:
            assert {r["clip"]: r["split"] for r in rows} == finished.sides(arm), arm.name
            assert len(rows) == len(finished.sides(arm))
        assert not set(rows[0]) & {"frames", "masks"}
        assert set(rows[0]) < {*SCHEMA.names, "fold", "split", "target", "probability",
                               "outputs", "features", "counts", "bins"}  # fmt: skip


def test_every_test_clip_with_the_label_is_predicted(finished):
    fold = finished.work.folds[0]
    for arm in finished.arms:
        if arm.label is None or arm.rows.train_without is not None or arm.rows.clips:
            continue
        wanted = {
            row["clip"]
            for row in finished.work.rows
            if row["patient"] in fold.test and row["severity"] is not None
            if equal(row, arm.rows.where)
        }
        said = {r["clip"] for r in finished.table(arm.name)[1] if r["split"] == "test"}
        assert wanted
        assert wanted <= said, arm.name


def test_every_probability_is_one(finished):
    for arm in finished.arms:
        about, rows = finished.table(arm.name)
        if arm.label is None or about.scheme is not None:
            continue
        probability = np.array([row["probability"] for row in rows])
        assert probability.shape == (len(rows), len(about.classes)), arm.name
        assert np.isfinite(probability).all()
        assert probability.min() >= 0
        assert probability.max() <= 1 + 1e-6
        if not about.multilabel:
            assert probability.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_arms_of_single_frames_say_something_of_every_frame(finished):
    for arm in finished.arms:
        about, rows = finished.table(arm.name)
        assert about.by_frame == (arm.label == "frame_severity"), arm.name
        if not about.by_frame:
            continue
        for row in rows:
            outputs = np.array(row["outputs"])
            assert outputs.shape == (len(row["frame_severity"]), len(about.classes))
            assert row["target"] == row["frame_severity"]
            assert row["probability"] == pytest.approx(outputs.mean(axis=0), abs=1e-6)


def test_arms_whose_frames_inherit_the_diagnosis_say_something_of_every_frame(finished):
    seen = finished.seen
    for arm in finished.arms:
        about, rows = finished.table(arm.name)
        assert about.inherited == (arm.label == "diagnosis"), arm.name
        if about.inherited:
            assert [len(row["outputs"]) for row in rows] == [len(seen[r["clip"]]) for r in rows]


def test_masks_are_counted_frame_by_frame_and_nothing_is_lost(finished):
    seen = finished.seen
    for arm, about, rows in finished.outlined():
        assert about.classes == MASK_SCHEMES[about.scheme], arm.name
        assert about.label == f"{about.scheme} masks"
        num_classes, task = len(about.classes), arm.task()
        view = (finished.work.experiment.arm(arm.reads).task() if arm.reads else task).view
        for row in rows:
            counts = np.array(row["counts"])
            assert counts.shape[1:] == (num_classes**2,)
            assert (counts.sum(axis=1) == view.height * view.width).all(), arm.name
            assert finished.at_random(arm) or len(counts) == len(seen[row["clip"]])
            assert row["target"] is row["probability"] is row["outputs"] is None
            if isinstance(task, MergedClasses):
                assert row["bins"] is None
                continue
            number, confidence, right = np.array(row["bins"]).sum(axis=0)
            assert number == counts.sum()
            assert right <= number
            assert number / num_classes <= confidence <= number
            if not task.boost:
                assert right == counts.reshape(-1, num_classes, num_classes).trace(0, 1, 2).sum()


def test_every_checkpoint_gives_the_stored_predictions_again(finished):
    clips = {row["clip"]: row for row in store.read(finished.data)}
    for arm in finished.arms:
        about, rows = finished.table(arm.name)
        if arm.crossfit or (about.scheme is not None and not arm.reads):
            continue
        predictor = Predictor(finished.folder(arm) / "checkpoint")
        read = {row["clip"]: row for row in finished.table(arm.reads)[1]} if arm.reads else clips
        for row in rows[:3]:
            said = predictor(read[row["clip"]])
            for name, values in said.items():
                assert values == pytest.approx(np.array(row[name]), abs=1e-5), arm.name
            assert {"features", "probability", "counts"} & set(said)


def test_masks_of_every_checkpoint_are_those_that_were_counted(finished):
    clips = {row["clip"]: row for row in store.read(finished.data)}
    for arm, about, rows in finished.outlined():
        if arm.reads or arm.rows.images:
            continue
        predictor = Predictor(finished.folder(arm) / "checkpoint")
        task = predictor.task
        for row in rows[:3]:
            clip = clips[row["clip"]]
            frames = finished.seen[row["clip"]]
            true = task.prepare_truth(task.view.resize_masks(masks_of(clip)), clip)[frames]
            said = predictor(clip)["masks"][frames]
            counted = segmentation.count_pixels(true, said, num_classes=len(about.classes))
            assert (counted.reshape(len(said), -1) == np.array(row["counts"])).all(), arm.name


def test_arms_of_images_are_tested_on_their_share_of_the_copies_and_give_it_again(finished):
    fold, num_folds = finished.work.folds[0], len(finished.work.folds)
    for arm, _, rows in finished.outlined():
        if not arm.rows.images:
            continue
        listed = cell_rows.rows_of(arm, fold, Cell(arm.name, 0), finished.work)
        tested = [row for row in listed if row["split"] == "test"]
        assert [row["clip"] for row in rows] == [row["clip"] for row in tested]
        assert [len(row["counts"]) for row in rows] == [len(row["images"]) for row in tested]
        everything = sum(len(row["images"]) for row in listed)
        assert abs(sum(len(row["images"]) for row in tested) - everything / num_folds) < 1
        task = Predictor(finished.folder(arm) / "checkpoint").task
        again = cell_predictions.predict_clips(task, tested[:3], finished.pixels, "cpu")
        for row, said in zip(rows, again, strict=False):
            assert (said["counts"] == np.array(row["counts"])).all(), arm.name


def test_arms_of_clips_are_tested_on_their_share_of_every_class_whatever_the_patient(finished):
    fold, num_folds = finished.work.folds[0], len(finished.work.folds)
    for arm in finished.arms:
        if not arm.rows.clips:
            continue
        target = arm.task().target
        known = Counter(t for t in map(target, finished.work.rows) if t is not None)
        tested = [row for row in finished.table(arm.name)[1] if row["split"] == "test"]
        for name, number in Counter(row["target"] for row in tested).items():
            assert abs(number - known[name] / num_folds) < 1, arm.name
        assert {row["patient"] for row in tested} - set(fold.test)


def test_collapsed_counts_are_those_of_the_arm_that_is_read(finished):
    for arm, about, rows in finished.outlined():
        task = arm.task()
        if not isinstance(task, MergedClasses):
            continue
        read = {row["clip"]: row["counts"] for row in finished.table(arm.reads)[1]}
        side = len(MASK_SCHEMES[task.source])
        mapping = class_map(task.source, about.scheme)
        for row in rows:
            finer = np.array(read[row["clip"]]).reshape(-1, side, side)
            merged = segmentation.merge_classes(finer, mapping).reshape(len(finer), -1)
            assert (merged == np.array(row["counts"])).all()


def test_members_answer_with_the_mean_of_their_probabilities(finished):
    for arm in finished.arms:
        if not isinstance(arm.task(), Ensemble):
            continue
        together = Predictor(finished.folder(arm) / "checkpoint").task
        parts = [
            Predictor(finished.folder(finished.work.experiment.arm(name)) / "checkpoint").task
            for name in arm.members
        ]
        (frames,) = finished.pixels.clips(finished.work.rows[:1], together.view)
        given = to_unit_range(torch.from_numpy(frames[:, None].copy()))
        mean, *apart = (
            torch.cat(list(task.predict_probabilities(given))).numpy()
            for task in (together, *parts)
        )
        assert mean == pytest.approx(np.mean(apart, axis=0), abs=1e-6), arm.name
        assert len(apart) == 1 or all(np.abs(mean - one).max() > 1e-4 for one in apart)


def test_no_arm_learned_from_a_patient_that_its_fold_tests_unless_its_rows_say_so(finished):
    fold = finished.work.folds[0]
    tested = {row["clip"] for row in finished.work.rows if row["patient"] in fold.test}
    for arm in finished.arms:
        seen = set.union(*(finished.learned.get(a.name, set()) for a in finished.behind(arm)))
        if arm.label is not None and (arm.recipe or "prior" in arm.name):
            assert finished.learned[arm.name], arm.name
        leaks = any(map(learned_from_anyone, finished.behind(arm)))
        assert bool(seen & tested) == leaks, arm.name


def learned_from_anyone(arm: Arm) -> bool:
    return arm.rows.overlap or arm.rows.images or arm.rows.clips


def test_arms_that_leak_by_design_are_named_by_the_report(finished):
    named = leakage.leaks(finished.record)
    kinds = {
        leakage.OVERLAP: lambda arm: arm.rows.overlap,
        leakage.IMAGES: lambda arm: arm.rows.images,
        leakage.CLIPS: lambda arm: arm.rows.clips,
        leakage.SELECTED: lambda arm: arm.recipe is not None and arm.recipe.select == "test",
    }
    for arm in finished.arms:
        behind = finished.behind(arm)
        expected = {kind for kind, does in kinds.items() if any(map(does, behind))}
        assert set(named.get(arm.name, ())) == expected, arm.name


def test_arms_whose_patients_overlap_learned_from_every_one_but_never_from_a_scored_clip(finished):
    rows = {row["clip"]: row for row in finished.work.rows}
    for arm in finished.arms:
        if not arm.rows.overlap:
            continue
        learned = [rows[clip] for clip in finished.learned[arm.name]]
        assert all(row[arm.rows.train_without] is None for row in learned), arm.name
        assert {row["patient"] for row in learned} >= set(finished.work.folds[0].test), arm.name


def test_what_an_arm_trained_without_is_left_to_the_arms_that_read_it(finished):
    rows = {row["clip"]: row for row in finished.work.rows}
    for arm in finished.arms:
        if arm.rows.train_without is None:
            continue
        label = arm.rows.train_without
        reading = [a for a in finished.arms if a.reads == arm.name and a.label == label]
        readers = [a for a in reading if a.name in finished.learned]
        assert readers, arm.name
        for reader in readers:
            assert not finished.learned[reader.name] & finished.learned[arm.name]
            assert all(rows[clip][label] is not None for clip in finished.learned[reader.name])


def test_networks_of_frames_leave_a_picture_for_every_example_that_is_tested(finished):
    for arm in finished.arms:
        folder = finished.folder(arm) / "pictures"
        task = arm.task()
        if not isinstance(task, example_images.Drawable) or arm.crossfit or arm.rows.clips:
            assert not folder.exists(), arm.name
            continue
        captions = json.loads((folder / "captions.json").read_text())
        said = [row for row in finished.table(arm.name)[1] if row["split"] == "test"]
        seen = finished.seen
        if arm.rows.images:
            seen = originals(finished, arm)
        elif not finished.at_random(arm):
            asked = {r["patient"] for r in finished.work.rows if equal(r, arm.rows.where)}
            assert {r["patient"] for r in said} == asked & set(finished.work.folds[0].test)
        if isinstance(task, Segmentation):
            wanted = num_examples(task, [row for row in said if seen[row["clip"]]])
        elif task.by_frame:
            wanted = len({score for row in said for score in row["frame_severity"]})
        else:
            wanted = len({row["target"] for row in said} - {None})
        kinds = defaultdict(list)
        for caption in captions:
            clip, _, frame = caption["example"].partition("#")
            assert clip in {row["clip"] for row in said}
            assert int(frame) in seen[clip]
            assert (folder / caption["file"]).read_text().startswith("<svg")
            kinds[clip, frame].append(caption["kind"])
        assert len(kinds) == wanted, arm.name
        domain = {row["clip"]: row["domain"] for row in said}
        for (clip, _), drawn in kinds.items():
            assert drawn == kinds_of_pictures(arm, task, domain[clip]), arm.name


def originals(finished: Finished, arm: Arm) -> dict[str, list[int]]:
    """Frames of each clip that an arm of images tests as they are, and not an altered copy."""
    listed = cell_rows.rows_of(arm, finished.work.folds[0], Cell(arm.name, 0), finished.work)
    return {
        row["clip"]: [frame for frame, copy in row["images"] if copy == 0]
        for row in listed
        if row["split"] == "test"
    }


def num_examples(task: Segmentation, tested: Sequence[Row]) -> int:
    """Frames that are drawn for a task: of a few patients, or of a few of each domain."""
    patients = {(row["domain"], row["patient"]) for row in tested}
    if task.scheme != "bline":
        return min(example_images.NUM_EXAMPLES, len(patients))
    per_domain = Counter(domain for domain, _ in patients)
    return sum(min(domain_images.NUM_PATIENTS, number) for number in per_domain.values())


def kinds_of_pictures(arm: Arm, task: Task, domain: str) -> list[str]:
    """The pictures of one frame: one, or of B-lines the expert's, both and the translation."""
    if not isinstance(task, Segmentation):
        return ["looks"]
    if task.scheme != "bline":
        return ["masks"]
    known = {arm.rows.learns.get("domain"), arm.rows.unlabelled.get("domain")}
    translated = isinstance(task, Sifa) and domain in known
    return ["expert", "outlines"] + ["translations"] * translated


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


def test_only_the_network_that_is_updated_has_gradients(finished):
    for arm in finished.arms:
        task = arm.task()
        if len(task.networks) == 1:
            continue
        fold, turns = finished.work.folds[0], owners_of_gradients(task)
        rows = cell_rows.rows_of(arm, fold, Cell(arm.name, 0), finished.work)
        train = [row for row in rows if row["split"] == "train"]
        fit_task(
            task, train, [], arm=arm, pixels=finished.pixels, seed=0, device="cpu",
            report=lambda values: None, second=cell_rows.unlabelled_rows(arm, fold, finished.work),
        )  # fmt: skip
        assert turns
        assert turns == [{p} for p in task.networks] * (len(turns) // len(task.networks)), arm.name


def owners_of_gradients(task: Task) -> list[set[str]]:
    """A list that grows in every step by the parts of a task that have a gradient then."""
    turns: list[set[str]] = []

    def constrain() -> None:
        graded = (name for name, value in task.named_parameters() if value.grad is not None)
        turns.append({name.partition(".")[0] for name in graded})

    task.constrain = constrain  # type: ignore[method-assign]
    return turns


def test_every_arm_is_described_so_that_it_can_be_built_again(finished):
    for arm in finished.record["arms"]:
        task = checkpoint.build(arm["task"])
        assert isinstance(task, Task)


def test_a_cell_run_again_gives_the_same_bits(finished):
    trained = [arm for arm in finished.arms if arm.recipe is not None]
    firsts = {arm.reads is None: arm for arm in reversed(trained)}
    for arm in firsts.values():
        cell = Cell(arm.name, 0)
        before = finished.table(arm.name)[1]
        run(cell, finished.work, finished.pixels, lambda values: None)
        assert finished.table(arm.name)[1] == before


def test_cross_fitted_outputs_differ_where_the_model_had_seen_the_clip(finished):
    for arm in finished.arms:
        if not arm.crossfit:
            continue
        own, other = (finished.table(name)[1] for name in (arm.name, arm.reads))
        for one, two in zip(own, other, strict=True):
            same = one["probability"] == two["probability"]
            assert same == (one["split"] != "train"), (arm.name, one["clip"])


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_has_three_sizes_and_a_header_that_says_what_it_is(name):
    module = importlib.import_module(f"experiments.{name}")
    for word in ("Table", "Question", "Data", "Splits", "Run", "Try"):
        assert f"\n{word} " in module.__doc__, word
    experiment = module.EXPERIMENT
    assert experiment.name == name
    assert experiment.at("full").arms
    for size in ("smoke", "laptop"):
        assert [arm.task().label for arm in experiment.at(size).arms if arm.label]
    assert any(arm.baseline for arm in experiment.arms)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_published_of_an_arm_is_a_metric_of_its_label(name):
    experiment = experiment_named(name)
    by_label = {f"{scheme} masks": names for scheme, names in segmentation.METRICS.items()}
    by_label |= {"biomarkers": multilabel.METRICS, "frame_severity": frames.METRICS}
    by_label["diagnosis"] = frames.inherited_metrics(CLASSES["diagnosis"])
    for arm, row in experiment.published.items():
        known = by_label.get(experiment.arm(arm).label, classification.METRICS)
        assert {metric.partition(", ")[0] for metric in row} <= set(known), arm


@pytest.mark.parametrize("name", NAMES)
def test_all_that_an_arm_looks_at_is_shared_whichever_arms_are_chosen(name):
    experiment = experiment_named(name).at("smoke")
    for arm in experiment.arms:
        chosen = experiment.only((arm.name,))
        tasks = [one.task() for one in chosen.arms]
        looking = [task for task in tasks if isinstance(getattr(task, "view", None), View)]
        seen, outlined = campaign.input_sizes(chosen)
        assert seen == {size_of(task.view) for task in looking}, arm.name
        assert outlined == {size_of(task.view) for task in looking if task.scheme}, arm.name


@pytest.mark.parametrize("name", NAMES)
def test_published_values_are_fractions_of_one(name):
    for row in experiment_named(name).published.values():
        for mean, std in row.values():
            assert 0 < mean < 1
            assert std is None or (0 <= std < 1 and math.isfinite(std))
