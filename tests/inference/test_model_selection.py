"""Which of the cells of run folders are served."""

import json
from functools import partial

import pytest

from lus_ray.errors import CheckpointError, ServeError, StoreError
from lus_ray.inference.model_selection import Model, beside, find, fingerprint
from lus_ray.tasks import Expert
from tests.inference.made_runs import (
    biomarkers,
    both,
    cell,
    entry,
    frames,
    markers,
    tree,
    uninorm,
    written,
)


def arms(models: tuple[Model, ...], kind: str) -> list[str]:
    return [model.arm for model in models if model.kind == kind]


def signs(folder, *entries):
    """A run with a backbone on two folds, and these arms beside it."""
    run = written(folder, entry("signs", "biomarkers"), *entries)
    for fold in (0, 1):
        cell(run, "signs", biomarkers, fold=fold, score=[0.4, 0.6][fold], label="biomarkers")
    return run


def test_trained_runs_offer_a_backbone_experts_a_frame_model_aggregators_and_an_ensemble(offered):
    assert arms(offered, "backbone") == ["biomarkers"]
    assert arms(offered, "expert") == ["tree", "tree, cross-fitted", "neighbours, sf_ratio"]
    assert arms(offered, "frames") == ["frames"]
    assert arms(offered, "aggregator") == ["argmax-mean", "uninorm"]
    assert arms(offered, "segmenter") == ["ensemble"]
    assert {model.reads for model in offered if model.kind == "expert"} == {"signs/biomarkers"}
    assert {model.reads for model in offered if model.kind == "aggregator"} == {"scores/frames"}
    assert all(model.predictions.is_file() for model in offered)


def test_the_fold_with_the_best_validation_score_is_served_with_its_experts(tmp_path):
    run = signs(tmp_path / "run", entry("tree", reads="signs"))
    for fold, score in enumerate((0.9, 0.1)):
        cell(run, "tree", tree, fold=fold, score=score)
    assert [(model.arm, model.fold) for model in find([run])] == [("signs", 1), ("tree", 1)]


def test_an_expert_that_is_not_finished_on_that_fold_is_not_served(tmp_path):
    run = signs(tmp_path / "run", entry("tree", reads="signs"))
    cell(run, "tree", tree, fold=0)
    assert arms(find([run]), "expert") == []


def test_an_expert_of_another_input_or_another_label_is_not_served(tmp_path):
    run = signs(
        tmp_path / "run",
        entry("intensity"),
        entry("on intensity", reads="intensity"),
        entry("of frames", "frame_severity", reads="signs"),
    )
    cell(run, "on intensity", tree, fold=1)
    by_frame = partial(Expert, kind="DT", label="frame_severity")
    cell(run, "of frames", by_frame, fold=1, label="frame_severity")
    assert arms(find([run]), "expert") == []


@pytest.mark.parametrize(
    "leak",
    [
        {"rows": {"overlap": True}},
        {"rows": {"images": True}},
        {"rows": {"clips": True}},
        {"recipe": {"select": "test"}},
    ],
)
def test_an_arm_that_leaks_is_not_served_nor_what_reads_it(tmp_path, leak):
    run = written(
        tmp_path / "run",
        entry("sees all", "frame_severity", **leak),
        entry("frames", "frame_severity"),
        entry("uninorm, sees all", reads="sees all"),
        entry("uninorm", reads="frames"),
    )
    for name, score in (("sees all", 0.9), ("frames", 0.1)):
        cell(run, name, frames, score=score, label="frame_severity")
    for name in ("uninorm", "uninorm, sees all"):
        cell(run, name, uninorm)
    assert [model.arm for model in find([run])] == ["frames", "uninorm"]


def test_the_frame_model_that_aggregators_read_comes_before_a_better_one_that_nothing_reads(
    tmp_path,
):
    run = written(
        tmp_path / "run", entry("alone", "frame_severity"), entry("read", "frame_severity"),
        entry("uninorm", reads="read"),
    )  # fmt: skip
    cell(run, "alone", frames, score=0.9, label="frame_severity")
    cell(run, "read", frames, score=0.1, label="frame_severity")
    cell(run, "uninorm", uninorm)
    assert [model.arm for model in find([run])] == ["read", "uninorm"]


def test_an_ensemble_comes_before_a_better_single_segmenter(tmp_path):
    run = written(
        tmp_path / "run", entry("unet", "markers masks"),
        entry("ensemble", "markers masks", members=["unet"]),
    )  # fmt: skip
    cell(run, "unet", markers, score=0.9, label="markers masks")
    cell(run, "ensemble", both, score=None, label="markers masks")
    assert arms(find([run]), "segmenter") == ["ensemble"]


def test_an_ensemble_is_served_on_the_fold_on_which_its_members_are_best(tmp_path):
    run = written(
        tmp_path / "run", entry("unet", "markers masks"),
        entry("ensemble", "markers masks", members=["unet"]),
    )  # fmt: skip
    for fold, score in enumerate((0.2, 0.7, 0.3)):
        cell(run, "unet", markers, fold=fold, score=score, label="markers masks")
        cell(run, "ensemble", both, fold=fold, score=None, label="markers masks")
    (model,) = find([run])
    assert (model.arm, model.fold) == ("ensemble", 1)


def test_of_single_segmenters_the_best_by_validation_is_served_and_a_baseline_last(tmp_path):
    run = written(
        tmp_path / "run", entry("place", "markers masks", baseline=True),
        entry("plain", "markers masks"), entry("augmented", "markers masks"),
    )  # fmt: skip
    for name, score in (("place", 0.9), ("plain", 0.4), ("augmented", 0.5)):
        cell(run, name, markers, score=score, label="markers masks")
    assert arms(find([run]), "segmenter") == ["augmented"]


def test_a_cell_without_predictions_is_not_finished_and_not_served(tmp_path):
    run = signs(tmp_path / "run")
    (run / "predictions" / "signs" / "fold1.parquet").unlink()
    assert [model.fold for model in find([run])] == [0]


def test_the_folder_that_is_named_comes_before_its_neighbours(tmp_path):
    for name in ("a", "b"):
        signs(tmp_path / name)
    assert [model.id for model in find(beside(tmp_path / "b"))] == ["b/signs"]


def test_runs_lie_beside_each_other_by_name_and_other_folders_are_no_runs(tmp_path):
    for name in ("c", "a", "b"):
        written(tmp_path / name)
    (tmp_path / "clips").mkdir()
    assert [run.name for run in beside(tmp_path / "b")] == ["b", "a", "c"]


def test_a_folder_without_a_run_is_refused_in_one_line(tmp_path):
    with pytest.raises(StoreError, match="no such file; name a folder that 'lus run"):
        beside(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("experiment.json", "{"),
        ("experiment.json", json.dumps({"arms": [{"name": "signs", "reads": "nothing"}]})),
        ("cells/signs/fold0/cost.json", "{"),
        ("cells/signs/fold0/checkpoint/task.json", "{"),
        ("predictions/signs/fold0.parquet", "PAR1"),
    ],
)
def test_a_neighbour_that_cannot_be_read_is_left_out_and_told_of(tmp_path, file, content):
    runs = (signs(tmp_path / "a"), signs(tmp_path / "b"))
    (tmp_path / "b" / file).write_text(content)
    told: list[tuple[str, str]] = []
    found = find(runs, left_out=lambda run, why: told.append((run.name, why)))
    assert [model.id for model in found] == ["a/signs"]
    ((name, why),) = told
    assert name == "b"
    assert why.startswith(str(tmp_path / "b"))
    assert "\n" not in why
    for strict in (runs, runs[::-1]):
        with pytest.raises((ServeError, CheckpointError, StoreError, KeyError)):
            find(strict, left_out=None if strict is runs else lambda run, why: None)


def test_two_folders_of_one_name_are_refused(tmp_path):
    one, other = (written(tmp_path / side / "run") for side in "ab")
    with pytest.raises(ServeError, match="two run folders are named 'run'"):
        find([one, other])


def test_a_fingerprint_changes_with_the_weights_and_with_the_task(tmp_path):
    run = signs(tmp_path / "run")
    folder = find([run])[0].folder
    before = fingerprint(folder)
    assert before == find([run])[0].fingerprint
    about = json.loads((folder / "task.json").read_text())
    (folder / "task.json").write_text(json.dumps(about | {"seed": 1}))
    after = fingerprint(folder)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert len({before, after, fingerprint(folder)}) == 3


@pytest.mark.parametrize(("gpu_s", "on_gpu"), [(0.0, False), (1.5, True)])
def test_what_a_gpu_predicted_is_known_as_such(tmp_path, gpu_s, on_gpu):
    run = signs(tmp_path / "run")
    cost = run / "cells" / "signs" / "fold1" / "cost.json"
    cost.write_text(json.dumps(json.loads(cost.read_text()) | {"gpu_s": gpu_s}))
    assert find([run])[0].on_gpu == on_gpu


def test_a_damaged_checkpoint_or_cost_is_named(tmp_path):
    run = signs(tmp_path / "run")
    cost = run / "cells" / "signs" / "fold1" / "cost.json"
    cost.write_text("{")
    with pytest.raises(ServeError, match=r"fold1: no readable cost\.json"):
        find([run])
    (cost.parent / "checkpoint" / "task.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"no readable task\.json"):
        find([run])
