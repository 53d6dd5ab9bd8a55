"""What `--samples` searches: a space for every arm that can be searched, and refusals."""

import importlib
import json
import pkgutil
from dataclasses import replace

import pytest

import experiments
from experiments import bline_adaptation, dense_labels
from lus_ray.arm_settings import apply_settings, read_setting
from lus_ray.errors import ArmError, InputError
from lus_ray.folds import Fold
from lus_ray.orchestration import run_options, search_samples
from lus_ray.runs import manifest
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan
from lus_ray.runs.prepare import refuse_blind_searches
from lus_ray.runs.run_cell import trained_arm
from lus_ray.training import checkpoint

STUDIES = sorted(m.name for m in pkgutil.iter_modules(experiments.__path__) if not m.ispkg)
DENSE = dense_labels.EXPERIMENT


def load(study):
    return importlib.import_module(f"experiments.{study}").EXPERIMENT


@pytest.mark.parametrize("study", STUDIES)
def test_every_trained_arm_has_two_hyperparameters_or_more_whose_bounds_build_a_task(study):
    experiment = load(study).at("smoke")
    reasons = search_samples.explain_unsearched(experiment)
    assert set(reasons.values()) <= {"trains nothing", "a baseline", "leaks, as published"}
    built = set()
    for arm in experiment.arms:
        if arm.name in reasons:
            continue
        space = arm.search.space
        assert len(space) >= 2, arm.name
        for bound in (0, -1):
            settings = {
                name: values.choices[bound]
                if hasattr(values, "choices")
                else (values.low, values.high)[bound]
                for name, values in space.items()
            }
            changed = apply_settings(arm, settings)
            assert {name: read_setting(changed, name) for name in space} == settings
            if (key := (arm.task.func, tuple(space), bound)) not in built:
                built.add(key)
                checkpoint.build(checkpoint.describe(changed.task))


def test_without_samples_the_record_of_an_arm_has_no_search():
    assert all(manifest._describe_arm(arm)["search"] is None for arm in DENSE.arms)
    chosen = search_samples.with_samples(DENSE, 4)
    assert [arm.name for arm in chosen.arms if arm.is_searched] == [
        "dense", "sparse", "dense, no batch norm",
    ]  # fmt: skip


def test_one_line_names_the_arms_that_are_not_searched():
    line = search_samples.describe(search_samples.with_samples(DENSE, 4))
    assert line.startswith("4 samples of the hyperparameters of 3 of 9 arms; not searched: ")
    assert "a baseline (place, dense; place, sparse)" in line
    assert "leaks, as published (dense, random images; sparse, random images)" in line
    assert search_samples.describe(DENSE) == ""


@pytest.mark.parametrize(
    ("study", "arms", "reason"),
    [
        ("dense_labels", "place*", r"a baseline \(place, dense; place, sparse\)"),
        ("dense_labels", "*random images", "leaks, as published"),
        ("video_scores", "mean-logit", "trains nothing|leaks"),
    ],
)
def test_samples_where_nothing_can_be_searched_are_refused(study, arms, reason):
    experiment = load(study)
    if study == "video_scores":  # without the frame model, which it reads
        experiment = experiment.with_arms((replace(experiment.arm(arms), reads=None),))
    with pytest.raises(InputError, match=f"^--samples: {study} has nothing to .*({reason})"):
        run_options.apply_options(experiment, "full", arms=arms, samples=4)


def test_a_search_needs_validation_patients_in_every_fold():
    folds = [Fold(0, ("a",), ("b",), ("c",)), Fold(1, ("a", "b"), (), ("c",))]
    searched = search_samples.with_samples(DENSE, 4)
    refuse_blind_searches(DENSE, folds)
    refuse_blind_searches(searched, folds[:1])
    with pytest.raises(InputError, match="--samples: fold 1 has no validation patients"):
        refuse_blind_searches(searched, folds)


@pytest.mark.parametrize(
    "name", ["typo", "task.typo", "task.net.typo", "augment.lr", "task.view.typo", "task.label.0"]
)
def test_a_name_that_an_arm_does_not_have_is_refused(name):
    with pytest.raises(ArmError, match="dense: has no setting"):
        apply_settings(DENSE.arm("dense"), {name: 1})


def test_weights_and_members_are_loaded_into_the_task_that_the_search_chose(tmp_path):
    experiment = search_samples.with_samples(bline_adaptation.EXPERIMENT.at("smoke"), 2)
    plan = RunPlan(experiment, "smoke", (), (), "", RunFolder(tmp_path))
    sifa = "sifa covid→cap"
    changed = apply_settings(experiment.arm(sifa), {"task.adversarial": 0.5})
    again = f"{sifa}, batch norm re-estimated"
    for name in (sifa, again):
        path = plan.folder_of(Cell(name, 0)).checkpoint
        path.mkdir(parents=True)
        description = checkpoint.describe(changed.task)
        (path / "task.json").write_text(json.dumps({"task": description}))
    for name in (again, f"{sifa}, translated", f"{again}, translated"):
        described = checkpoint.describe(trained_arm(Cell(name, 0), plan).task)
        own = described["arguments"].get("members", [{"task": described}])[0]["task"]
        assert own["arguments"]["adversarial"] == 0.5


def test_samples_of_an_arm_that_trains_on_validation_patients_leave_them_out(tmp_path):
    experiment = search_samples.with_samples(bline_adaptation.EXPERIMENT.at("smoke"), 2)
    plan = RunPlan(experiment, "smoke", (), (), "", RunFolder(tmp_path))
    kept = [trained_arm(Cell("unet covid", 0, sample), plan) for sample in (0, None)]
    assert [arm.rows.with_val for arm in kept] == [False, True]
