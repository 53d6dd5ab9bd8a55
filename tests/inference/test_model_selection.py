"""Which cells of run folders are served, and which file changes matter."""

import json
import os
import shutil
from functools import partial

import pytest

from lus_ray.errors import CheckpointError, ServeError, StoreError
from lus_ray.inference.model_selection import (
    hash_checkpoint,
    neighbouring_runs,
    select_models,
    take_snapshot,
)
from lus_ray.tasks import Expert
from tests.inference.fixture_runs import (
    arm_entry,
    biomarkers,
    both,
    frames,
    markers,
    tree,
    uninorm,
    write_cell,
    write_run,
)

FRAMES = {"label": "frame_severity"}
MARKERS = {"label": "markers masks"}


def build(run, *arms):
    """A run of arms (name, task, scores by fold, settings); a score "-" makes no cell."""
    write_run(run, *(arm_entry(name, **settings) for name, _, _, settings in arms))
    for name, task, scores, settings in arms:
        for fold, score in enumerate(scores):
            if score != "-":
                label = settings.get("label", "severity")
                write_cell(run, name, task, fold=fold, score=score, label=label)
    return run


LABELS = ("labels", biomarkers, [0.4, 0.6], {"label": "biomarkers"})
"""A backbone, better on its second fold."""


def select_arms(run, kind=None):
    return [model.arm for model in select_models([run]) if kind in (None, model.kind)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return build(tmp_path_factory.mktemp("written") / "run", LABELS)


@pytest.fixture
def run(written, tmp_path):
    """A copy of a run with a backbone on two folds."""
    return shutil.copytree(written, tmp_path / "run")


def test_trained_runs_have_a_backbone_experts_a_frame_model_aggregators_and_an_ensemble(models):
    assert [(model.kind, model.arm, model.reads) for model in models] == [
        ("backbone", "biomarkers", None),
        ("expert", "tree", "labels/biomarkers"),
        ("expert", "tree, cross-fitted", "labels/biomarkers"),
        ("expert", "neighbours, sf_ratio", "labels/biomarkers"),
        ("frames", "frames", None),
        ("aggregator", "argmax-mean", "scores/frames"),
        ("aggregator", "uninorm", "scores/frames"),
        ("segmenter", "ensemble", None),
    ]
    assert all(model.predictions.is_file() for model in models)


def test_the_fold_with_the_best_validation_score_is_served_with_its_experts(tmp_path):
    run = build(tmp_path / "run", LABELS, ("tree", tree, [0.9, 0.1], {"reads": "labels"}))
    models = select_models([run])
    assert [(model.arm, model.fold) for model in models] == [("labels", 1), ("tree", 1)]


@pytest.mark.parametrize(
    ("scores", "settings"),
    [
        pytest.param([0.5, "-"], {"reads": "labels"}, id="other fold"),
        pytest.param(["-", 0.5], {"reads": "intensity"}, id="other input"),
        pytest.param(["-", 0.5], {"reads": "labels", **FRAMES}, id="other label"),
    ],
)
def test_an_expert_that_does_not_fit_the_backbone_is_not_served(tmp_path, scores, settings):
    expert = partial(Expert, kind="DT", label=settings.get("label", "severity"))
    run = build(
        tmp_path / "run", LABELS, ("intensity", None, [], {}), ("x", expert, scores, settings)
    )
    assert select_arms(run, "expert") == []


@pytest.mark.parametrize(
    "leak",
    [
        {"rows": {"overlap": True}},
        {"rows": {"images": True}},
        {"rows": {"clips": True}},
        {"recipe": {"select": "test"}},
    ],
)
def test_an_arm_that_leaks_is_not_served_nor_are_its_readers(tmp_path, leak):
    run = build(
        tmp_path / "run",
        ("leaky", frames, [0.9], FRAMES | leak), ("frames", frames, [0.1], FRAMES),
        ("uninorm, leaky", uninorm, [0.5], {"reads": "leaky"}),
        ("uninorm", uninorm, [0.5], {"reads": "frames"}),
    )  # fmt: skip
    assert select_arms(run) == ["frames", "uninorm"]


def test_a_frame_model_with_readers_is_preferred_to_a_better_one_without(tmp_path):
    run = build(
        tmp_path / "run", ("alone", frames, [0.9], FRAMES), ("read", frames, [0.1], FRAMES),
        ("uninorm", uninorm, [0.5], {"reads": "read"}),
    )  # fmt: skip
    assert select_arms(run) == ["read", "uninorm"]


def test_an_ensemble_is_preferred_and_served_on_the_fold_with_its_best_members(tmp_path):
    run = build(
        tmp_path / "run", ("unet", markers, [0.2, 0.7, 0.3], MARKERS),
        ("ensemble", both, [None, None, None], {**MARKERS, "members": ["unet"]}),
    )  # fmt: skip
    (model,) = select_models([run])
    assert (model.arm, model.fold) == ("ensemble", 1)


def test_the_best_single_segmenter_is_served_and_a_baseline_last(tmp_path):
    scores = {"prior": 0.9, "plain": 0.4, "augmented": 0.5}
    arms = [(n, markers, [s], {**MARKERS, "baseline": n == "prior"}) for n, s in scores.items()]
    assert select_arms(build(tmp_path / "run", *arms)) == ["augmented"]


def test_a_cell_without_predictions_is_not_served(run):
    (run / "predictions" / "labels" / "fold1.parquet").unlink()
    assert [model.fold for model in select_models([run])] == [0]


def test_the_named_folder_comes_before_its_neighbours_and_other_folders_are_ignored(run, tmp_path):
    for name in ("c", "a"):
        shutil.copytree(run, tmp_path / name)
    (tmp_path / "clips").mkdir()
    assert [folder.name for folder in neighbouring_runs(tmp_path / "c")] == ["c", "a", "run"]
    assert [m.id for m in select_models(neighbouring_runs(tmp_path / "c"))] == ["c/labels"]
    with pytest.raises(StoreError):
        neighbouring_runs(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("experiment.json", "{"),
        ("experiment.json", json.dumps({"arms": [{"name": "labels", "reads": "nothing"}]})),
        ("cells/labels/fold0/cost.json", "{"),
        ("cells/labels/fold0/checkpoint/task.json", "{"),
        ("predictions/labels/fold0.parquet", "PAR1"),
    ],
)
def test_an_unreadable_neighbour_is_skipped_with_its_reason(run, tmp_path, file, content):
    broken = shutil.copytree(run, tmp_path / "broken")
    (broken / file).write_text(content)
    skipped: list[tuple[str, str]] = []
    models = select_models((run, broken), on_skip=lambda r, why: skipped.append((r.name, why)))
    assert [model.id for model in models] == ["run/labels"]
    ((name, why),) = skipped
    assert name == "broken"
    assert why.startswith(str(broken))
    assert "\n" not in why
    for order, on_skip in (((run, broken), None), ((broken, run), lambda r, why: None)):
        with pytest.raises((ServeError, CheckpointError, StoreError, KeyError)):
            select_models(order, on_skip=on_skip)


def test_two_folders_with_one_name_are_rejected(tmp_path):
    pair = [write_run(tmp_path / parent / "run") for parent in "ab"]
    with pytest.raises(ServeError, match="two run folders are named 'run'"):
        select_models(pair)


def test_a_fingerprint_depends_on_weights_and_task(run):
    (model,) = select_models([run])
    fingerprints = {model.fingerprint, hash_checkpoint(model.folder)}
    assert len(fingerprints) == 1
    task, weights = model.folder / "task.json", model.folder / "weights.safetensors"
    task.write_text(json.dumps(json.loads(task.read_text()) | {"seed": 1}))
    fingerprints.add(hash_checkpoint(model.folder))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert len(fingerprints | {hash_checkpoint(model.folder)}) == 3


@pytest.mark.parametrize(("gpu_s", "on_gpu"), [(0.0, False), (1.5, True)])
def test_a_model_whose_predictions_a_gpu_computed_is_marked(run, gpu_s, on_gpu):
    cost = run / "cells" / "labels" / "fold1" / "cost.json"
    cost.write_text(json.dumps(json.loads(cost.read_text()) | {"gpu_s": gpu_s}))
    assert select_models([run])[0].on_gpu == on_gpu


@pytest.mark.parametrize(
    ("file", "error", "words"),
    [
        ("cost.json", ServeError, r"fold1: no readable cost\.json"),
        ("checkpoint/task.json", CheckpointError, r"no readable task\.json"),
    ],
)
def test_a_damaged_file_is_named(run, file, error, words):
    (run / "cells" / "labels" / "fold1" / file).write_text("{")
    with pytest.raises(error, match=words):
        select_models([run])


def test_a_snapshot_ignores_logs_and_notices_another_run(run, tmp_path):
    before = take_snapshot(run)
    (run / "cells" / "labels" / "fold0" / "metrics.jsonl").write_text("{}")
    (run / "report.html").write_text("...")
    assert take_snapshot(run) == before
    assert len(before) == 9  # the record; by fold predictions, cost and a checkpoint of two files
    shutil.copytree(run, tmp_path / "other")
    assert before < take_snapshot(run)


@pytest.mark.parametrize(
    "file",
    [
        "experiment.json", "predictions/labels/fold0.parquet", "cells/labels/fold0/cost.json",
        "cells/labels/fold0/checkpoint/weights.safetensors",
    ],
)  # fmt: skip
def test_a_snapshot_notices_a_file_that_is_rewritten_or_removed(run, file):
    path, before = run / file, take_snapshot(run)
    state = path.stat()
    path.with_suffix(".new").write_bytes(path.read_bytes())
    path.with_suffix(".new").rename(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    rewritten = take_snapshot(run)
    path.unlink()
    assert len({before, rewritten, take_snapshot(run)}) == 3
