"""Every kind of model on clips of another store: the same numbers as its checkpoint gives."""

import numpy as np
import pytest

from lus_ray.clip import masks_of, to_rows
from lus_ray.data import store
from lus_ray.external_validation import predict_store
from lus_ray.external_validation.models import find_models, needed_arms
from lus_ray.predictor import Predictor
from lus_ray.runs import manifest, predictions
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder


def table_of(out, arm):
    about, table = predictions.read(RunFolder(out).cell(Cell(arm, 0)).predictions)
    return about, {row["clip"]: row for row in to_rows(table)}


def checkpoint_of(run, arm):
    return RunFolder(run).cell(Cell(arm, 0)).checkpoint


@pytest.fixture(scope="module")
def evaluations(runs, external, tmp_path_factory):
    """The evaluation folders of the three runs, and what the first one notified."""
    out = tmp_path_factory.mktemp("evaluations")
    lines = []
    for name in ("labels", "scores", "masks"):
        predict_store(runs / name, external, out / name, notify=lines.append)
    return out, lines


@pytest.mark.parametrize(
    ("run", "chain", "label"),
    [
        ("labels", ("biomarkers",), "biomarkers"),
        ("labels", ("biomarkers", "tree"), "severity"),
        ("labels", ("biomarkers", "neighbours, sf_ratio"), "sf_ratio"),
        ("scores", ("frames",), "frame_severity"),
        ("scores", ("frames", "uninorm"), "severity"),
    ],
)
def test_external_predictions_are_those_of_the_checkpoints_in_turn(
    runs, external, evaluations, run, chain, label
):
    out, _ = evaluations
    about, rows = table_of(out / run, chain[-1])
    assert (about.label, about.fold) == (label, 0)
    assert {row["split"] for row in rows.values()} == {"test"}
    for clip in store.read(external):
        result = clip
        for arm in chain:
            result = Predictor(checkpoint_of(runs / run, arm))(result)
        row = rows[clip["clip"]]
        np.testing.assert_allclose(row["probability"], result["probability"], atol=1e-5)


def test_targets_and_trained_classes_are_written_for_the_report(runs, external, evaluations):
    out, _ = evaluations
    index = {row["clip"]: row for row in to_rows(store.read_index(external))}
    about, rows = table_of(out / "labels", "tree")
    assert {c: r["target"] for c, r in rows.items()} == {c: r["severity"] for c, r in index.items()}
    internal, _ = table_of(runs / "labels", "tree")
    assert (about.classes, about.trained) == (internal.classes, internal.trained)


def test_a_cross_fitted_arm_passes_on_the_predictions_that_its_readers_get(evaluations):
    out, lines = evaluations
    _, source = table_of(out / "labels", "biomarkers")
    _, rows = table_of(out / "labels", "cross-fitted")
    assert {c: r["outputs"] for c, r in rows.items()} == {
        c: r["outputs"] for c, r in source.items()
    }
    assert (
        "note: arm 'cross-fitted': no model of its own, has the predictions of biomarkers" in lines
    )
    assert len(table_of(out / "labels", "tree, cross-fitted")[1]) == 6


def test_segmenters_count_every_pixel_of_annotated_frames(external, evaluations):
    out, _ = evaluations
    masked = {r["clip"]: masks_of(r) for r in store.read(external)}
    for arm in ("unet", "ensemble"):
        _, rows = table_of(out / "masks", arm)
        counted = {clip: np.sum(row["counts"]) for clip, row in rows.items()}
        assert counted == {clip: len(ids) * 20 * 30 for clip, ids in masked.items()}


def test_arms_that_others_read_are_needed_and_cells_without_a_checkpoint_are_named(labels_run):
    record = manifest.read(labels_run)
    scored = [record.arm("tree, cross-fitted")]
    needed = needed_arms(record, scored)
    assert [arm.name for arm in needed] == ["biomarkers", "cross-fitted", "tree, cross-fitted"]
    checkpoint_of(labels_run, "biomarkers").rename(labels_run / "moved")
    models, notes = find_models(RunFolder(labels_run), RunFolder(labels_run / "out"), needed)
    assert not models
    assert notes == [f"arm {arm.name!r}: no model of fold0" for arm in needed]
