"""The study of any one label, from clips with a label of one's own to its report."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.classify import make
from lus_ray.clip import frames_of, make_row
from lus_ray.data import store
from lus_ray.data.labels import DIAGNOSIS, Label
from lus_ray.data.loading.batches import InMemory, size_of
from lus_ray.errors import InputError
from lus_ray.evaluation import report_json, results
from lus_ray.runs import manifest
from lus_ray.runs.cell import Cell
from lus_ray.runs.plan import RunRequest
from lus_ray.runs.prepare import prepare
from lus_ray.runs.run_cell import run

GRADE = Label("grade", ("mild", "moderate", "severe"), ordered=True)
DISEASES = ("healthy", "other lung disease", "COVID-19 pneumonia")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Nine patients with a clip each; the grade is how bright it is, one has none."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    with store.Writer(folder, "t") as writer:
        for number in range(10):
            frames = rng.integers(0, 20, (4, 24, 24), np.uint8) + np.uint8(60 * (number % 3))
            labels = {"grade": GRADE.classes[number % 3]} if number < 9 else None
            names = {"clip": f"t/{number}", "patient": f"t/p{number}", "source": "t"}
            disease = DISEASES[number % 3]
            writer.add(make_row(frames, **names, labels=labels, disease=disease))
    return folder


def request(label, data, out):
    study = make(label).at("smoke")
    short = (
        replace(arm, recipe=arm.recipe and replace(arm.recipe, epochs=1)) for arm in study.arms
    )
    return RunRequest(study.with_arms(tuple(short)), data=data, out=out, size="smoke")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "extra"), [(GRADE, {"weighted_kappa"}), (DIAGNOSIS, set())], ids=lambda v: str(v)[:20]
)
def test_a_label_is_learned_and_reported_with_its_baselines(clips, tmp_path, label, extra):
    one_fold = replace(request(label, clips, tmp_path), folds=(0,))
    plan = prepare(one_fold, notify=lambda note: None)
    view = plan.experiment.arms[0].task.keywords["view"]
    frames = {row["clip"]: view.resize(frames_of(row)) for row in store.read(clips)}
    for cell in plan.cells:
        run(cell, plan, InMemory({size_of(view): frames}), lambda values: None)
    assert manifest.read(tmp_path).label == label
    contents, arms = report_json.compute(results.read(tmp_path), num_draws=20)
    assert [arm.name for arm in contents.arms_of(label.name)] == [
        "prior on intensity", "logistic on intensity", "network",
    ]  # fmt: skip
    assert set(contents.metrics) == {"auc", "accuracy", "macro_f1", *extra}
    assert {cell.classes for arm in arms.values() for cell in arm.cells.values() if arm.label} == {
        label.classes
    }
    assert all(0 <= arm.mean["accuracy"] <= 1 for arm in contents.arms_of(label.name))
    assert any("3 folds instead of 5" in warning for warning in contents.warnings)


def test_another_label_is_refused_in_the_same_folder(clips, tmp_path):
    prepare(request(GRADE, clips, tmp_path), notify=lambda note: None)
    with pytest.raises(InputError, match="holds a run with label 'grade', not 'diagnosis'"):
        prepare(request(DIAGNOSIS, clips, tmp_path), notify=lambda note: None)


def test_clips_without_the_label_are_skipped_with_a_note(clips, tmp_path):
    notes = []
    plan = prepare(request(GRADE, clips, tmp_path), notify=notes.append)
    assert len(plan.rows) == 9
    assert notes[0] == "note: 1 of 10 clips skipped: they have no grade"
    assert {cell.fold for cell in plan.cells} == {0, 1, 2}
    assert plan.cells[0] == Cell("intensity", 0)
