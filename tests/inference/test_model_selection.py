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
    uninorm,
    write_cell,
    write_run,
)

FRAMES = {"label": "frame_severity"}
MARKERS = {"label": "markers masks"}
UNKNOWN_SOURCE = '{"experiment": "study", "arms": [{"name": "labels", "reads": "nothing"}]}'


def build(run, *arms):
    write_run(run, *(arm_entry(name, **settings) for name, _, _, settings in arms))
    for name, task, scores, settings in arms:
        for fold, score in enumerate(scores):
            if score != "-":
                label = settings.get("label", "severity")
                write_cell(run, name, task, fold=fold, score=score, label=label)
    return run


LABELS = ("labels", biomarkers, [0.4, 0.6], {"label": "biomarkers"})
"""A backbone, better on its second fold."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return build(tmp_path_factory.mktemp("written") / "run", LABELS)


@pytest.fixture
def run(written, tmp_path):
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
        ("classifier", "network", None),
        ("segmenter", "ensemble", None),
    ]
    assert all(model.predictions.is_file() for model in models)


def leaky_arms(leak):
    return [
        ("leaky", frames, [0.9], FRAMES | leak), ("frames", frames, [0.1], FRAMES),
        ("uninorm, leaky", uninorm, [0.5], {"reads": "leaky"}),
        ("uninorm", uninorm, [0.5], {"reads": "frames"}),
    ]  # fmt: skip


def tree_beside(scores, **settings):
    expert = partial(Expert, kind="DT", label=settings.get("label", "severity"))
    return [LABELS, ("intensity", None, [], {}), ("tree", expert, scores, settings)]


BEST_FOLD = [("labels", 1), ("tree", 1)]


@pytest.mark.parametrize(
    ("arms", "served"),
    [
        pytest.param(tree_beside([0.9, 0.1], reads="labels"), BEST_FOLD, id="best fold"),
        pytest.param(tree_beside([0.5, "-"], reads="labels"), BEST_FOLD[:1], id="other fold"),
        pytest.param(tree_beside(["-", 0.5], reads="intensity"), BEST_FOLD[:1], id="other input"),
        pytest.param(
            tree_beside(["-", 0.5], reads="labels", **FRAMES), BEST_FOLD[:1], id="other label"
        ),
        *(
            pytest.param(leaky_arms(leak), [("frames", 0), ("uninorm", 0)], id=str(leak))
            for leak in (
                {"rows": {"overlap": True}}, {"rows": {"images": True}}, {"rows": {"clips": True}},
                {"recipe": {"select": "test"}},
            )
        ),
        pytest.param(
            [("alone", frames, [0.9], FRAMES), ("read", frames, [0.1], FRAMES),
             ("uninorm", uninorm, [0.5], {"reads": "read"})],
            [("read", 0), ("uninorm", 0)], id="a frame model with readers before a better one",
        ),
        pytest.param(
            [("unet", markers, [0.2, 0.7, 0.3], MARKERS),
             ("ensemble", both, [None, None, None], {**MARKERS, "members": ["unet"]})],
            [("ensemble", 1)], id="an ensemble on the fold with its best members",
        ),
        pytest.param(
            [("prior", markers, [0.9], {**MARKERS, "baseline": True}),
             ("plain", markers, [0.4], MARKERS), ("augmented", markers, [0.5], MARKERS)],
            [("augmented", 0)], id="the best segmenter and a baseline last",
        ),
    ],
)  # fmt: skip
def test_the_best_arms_without_a_leak_that_fit_each_other_are_served(tmp_path, arms, served):
    models = select_models([build(tmp_path / "run", *arms)])
    assert [(model.arm, model.fold) for model in models] == served


def test_the_best_seed_is_served_with_the_readers_of_the_same_seed(run):
    tree = partial(Expert, kind="DT", label="severity")
    build(run, LABELS, ("tree", tree, [0.9, 0.9], {"reads": "labels"}))
    write_cell(run, "labels", biomarkers, fold=0, seed=1, score=0.7, label="biomarkers")
    write_cell(run, "tree", tree, fold=0, seed=1, score=0.1)
    served = [(m.arm, m.fold, m.seed, m.folder.parent.name) for m in select_models([run])]
    assert served == [("labels", 0, 1, "fold0-seed1"), ("tree", 0, 1, "fold0-seed1")]


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
    ("file", "content", "error", "words"),
    [
        ("experiment.json", "{", StoreError, "not readable"),
        ("experiment.json", UNKNOWN_SOURCE, StoreError, "'labels' reads 'nothing'"),
        ("cells/labels/fold0/cost.json", "{", ServeError, r"fold0: no readable cost\.json"),
        ("cells/labels/fold0/checkpoint/task.json", "{", CheckpointError, r"task\.json"),
        ("predictions/labels/fold0.parquet", "PAR1", StoreError, r"fold0\.parquet"),
    ],
)
def test_an_unreadable_neighbour_is_skipped_with_its_reason(
    run, tmp_path, file, content, error, words
):
    broken = shutil.copytree(run, tmp_path / "broken")
    (broken / file).write_text(content)
    skipped = []
    models = select_models((run, broken), on_skip=lambda folder, why: skipped.append((folder, why)))
    assert [model.id for model in models] == ["run/labels"]
    ((folder, why),) = skipped
    assert folder == broken
    assert why.startswith(str(broken))
    assert "\n" not in why
    for order, on_skip in (((run, broken), None), ((broken, run), lambda folder, why: None)):
        with pytest.raises(error, match=words):
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
