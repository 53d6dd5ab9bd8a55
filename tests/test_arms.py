"""The contract of every arm of every experiment: in its smoke size it learns, predicts, resumes.

Nothing here names an arm: a new experiment or arm is tested because it is there.
"""

import importlib
import json
import math
import pkgutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import experiments
from lus_ray import checkpoint, predictions, store
from lus_ray.batches import InMemory, Tracks
from lus_ray.clip import SCHEMA, Row, frames_of
from lus_ray.engine import campaign, plan, record
from lus_ray.engine.cell import Cell, Work
from lus_ray.engine.running import run
from lus_ray.experiment import Arm, Experiment
from lus_ray.ingest.ingest import ingest
from lus_ray.predictor import Predictor
from lus_ray.tasks.expert import Expert
from lus_ray.tasks.frame_score import FrameScore
from lus_ray.tasks.task import Task
from lus_ray.views import View

pytestmark = pytest.mark.slow
NAMES = sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def experiment_named(name: str) -> Experiment:
    return importlib.import_module(f"experiments.{name}").EXPERIMENT


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

    work: Work
    pixels: InMemory
    learned: dict[str, set[str]]

    @property
    def arms(self) -> tuple[Arm, ...]:
        return self.work.experiment.arms

    def table(self, arm: str) -> tuple[predictions.About, list[Row]]:
        about, table = predictions.read(Cell(arm, 0).predictions(self.work.out))
        return about, table.to_pylist()

    def sides(self, arm: Arm) -> dict[str, str]:
        """The side of every clip that the arm has to predict, as `Rows` says it in words."""
        fold = self.work.folds[0]
        sides = {row["clip"]: fold.split_of(row["patient"]) for row in self.work.rows}
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

    def behind(self, arm: Arm) -> tuple[Arm, ...]:
        """The arm and all that its weights and inputs come from."""
        earlier = [self.work.experiment.arm(name) for name in (arm.start, arm.reads) if name]
        return (arm, *(one for other in earlier for one in self.behind(other)))


def pixels_of(data: Path, experiment: Experiment) -> InMemory:
    clips = list(store.read(data))
    sizes = campaign._sizes(experiment)
    views = {size: View(height=size[0], width=size[1]) for size in sizes}
    return InMemory(
        {s: {c["clip"]: v.resize(frames_of(c)) for c in clips} for s, v in views.items()}
    )


@pytest.fixture(scope="session")
def arm_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four phantom patients with two clips each, one of which has a score of its own."""
    folder = tmp_path_factory.mktemp("arms") / "store"
    options = {"patients": 24, "clips": 2, "frames": 8, "size": 64, "masks": "none"}
    ingest("phantom", None, folder, video_labels=0.5, **options)
    return folder


@pytest.fixture(scope="module", params=NAMES)
def finished(
    request: pytest.FixtureRequest, arm_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """Every arm of an experiment on its first fold, one after another in this process."""
    torch.set_num_threads(1)
    experiment = experiment_named(request.param).at("smoke")
    out = tmp_path_factory.mktemp(request.param)
    index = store.index(arm_store)
    work = record.prepare(experiment, index, out, size="smoke", about={}, data=arm_store)
    watched = Watched(pixels_of(arm_store, experiment))
    with pytest.MonkeyPatch.context() as patch:
        watched.also_through(patch, Tracks, "epochs")
        watched.also_through(patch, Expert, "learn")
        for cell in plan.cells(experiment, work.folds[:1]):
            watched.arm = cell.arm
            run(cell, work, watched, lambda values: None)
    return Finished(work, watched.pixels, dict(watched.learned))


def test_every_arm_leaves_a_finished_cell_with_its_cost(finished):
    for arm in finished.arms:
        cell = Cell(arm.name, 0)
        assert cell.finished(finished.work.out), arm.name
        cost = json.loads((cell.folder(finished.work.out) / "cost.json").read_text())
        assert cost["wall_s"] > 0
        assert cost["peak_mb"] > 0


def test_every_arm_predicts_the_clips_that_are_its_own_on_the_right_side(finished):
    for arm in finished.arms:
        about, rows = finished.table(arm.name)
        assert (about.arm, about.label, about.fold) == (arm.name, arm.label, 0)
        assert {r["clip"]: r["split"] for r in rows} == finished.sides(arm), arm.name
        assert len(rows) == len(finished.sides(arm))
        assert not set(rows[0]) & {"frames", "masks"}
        assert set(rows[0]) < {*SCHEMA.names, "fold", "split", "target", "probability",
                               "outputs", "features"}  # fmt: skip


def test_every_test_clip_with_the_label_is_predicted(finished):
    fold = finished.work.folds[0]
    for arm in finished.arms:
        if arm.label is None or arm.rows.train_without is not None:
            continue
        wanted = {
            row["clip"]
            for row in finished.work.rows
            if row["patient"] in fold.test and row["severity"] is not None
        }
        said = {r["clip"] for r in finished.table(arm.name)[1] if r["split"] == "test"}
        assert wanted
        assert wanted <= said, arm.name


def test_every_probability_is_one(finished):
    for arm in finished.arms:
        about, rows = finished.table(arm.name)
        if arm.label is None:
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


def test_every_checkpoint_gives_the_stored_predictions_again(finished, arm_store):
    clips = {row["clip"]: row for row in store.read(arm_store)}
    for arm in finished.arms:
        if arm.crossfit:
            continue
        predictor = Predictor(Cell(arm.name, 0).folder(finished.work.out) / "checkpoint")
        read = {row["clip"]: row for row in finished.table(arm.reads)[1]} if arm.reads else clips
        for row in finished.table(arm.name)[1][:3]:
            said = predictor(read[row["clip"]])
            for name, values in said.items():
                assert values == pytest.approx(np.array(row[name]), abs=1e-5), arm.name
            assert "features" in said or "probability" in said


def test_no_arm_learned_from_a_patient_that_its_fold_tests_unless_its_rows_say_so(finished):
    fold = finished.work.folds[0]
    tested = {row["clip"] for row in finished.work.rows if row["patient"] in fold.test}
    for arm in finished.arms:
        seen = set.union(*(finished.learned.get(a.name, set()) for a in finished.behind(arm)))
        if arm.label is not None and (arm.recipe or "prior" in arm.name):
            assert finished.learned[arm.name], arm.name
        leaks = any(a.rows.overlap for a in finished.behind(arm))
        assert bool(seen & tested) == leaks, arm.name


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


def test_networks_of_frames_leave_a_picture_for_every_score_that_is_tested(finished):
    fold = finished.work.folds[0]
    for arm in finished.arms:
        folder = Cell(arm.name, 0).folder(finished.work.out) / "pictures"
        if not isinstance(arm.task(), FrameScore):
            assert not folder.exists(), arm.name
            continue
        captions = json.loads((folder / "captions.json").read_text())
        said = [row for row in finished.table(arm.name)[1] if row["split"] == "test"]
        assert {row["patient"] for row in said} == set(fold.test)
        assert len(captions) == len({score for row in said for score in row["frame_severity"]})
        clips = {row["clip"] for row in said}
        for caption in captions:
            clip, _, frame = caption["example"].partition("#")
            assert clip in clips
            assert 0 <= int(frame) < 8
            assert (folder / caption["file"]).read_text().startswith("<svg")


def test_every_arm_is_described_so_that_it_can_be_built_again(finished):
    record = json.loads((finished.work.out / "experiment.json").read_text())
    for arm in record["arms"]:
        task = checkpoint.build(arm["task"])
        assert isinstance(task, Task | Expert)


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
    for size in ("smoke", "laptop", "full"):
        assert experiment.at(size).arms
    assert any(arm.baseline for arm in experiment.arms)


@pytest.mark.parametrize("name", NAMES)
def test_published_values_are_fractions_of_one(name):
    for row in experiment_named(name).published.values():
        for mean, std in row.values():
            assert 0 < mean < 1
            assert std is None or (0 <= std < 1 and math.isfinite(std))
