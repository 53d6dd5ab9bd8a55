"""One evaluation from run and store to the report: who is left out, resuming, refusals."""

import json
import shutil

import pytest
from click.testing import CliRunner

from lus_ray import cli, report
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.errors import InputError, StoreError
from lus_ray.external_validation import default_folder, evaluate, predict_store
from lus_ray.report.blocks import Paragraph
from lus_ray.runs import manifest

ARMS = "tree"


@pytest.fixture
def with_known_patients(external, runs, tmp_path):
    """The external store with four patients of the run."""
    path = shutil.copytree(external, tmp_path / "mixed")
    ingest("phantom", None, tmp_path / "again", patients=4, clips=1, frames=4, size=64)
    for shard in (tmp_path / "again" / "clips").iterdir():
        shutil.copy(shard, path / "clips" / f"known-{shard.name}")
    (path / "store.json").unlink()
    return path


def predict(run, data, out=None, **options):
    """The evaluation folder, its record, and the number of models that predicted."""
    totals = []
    progress = lambda done, total, name: totals.append(total)  # noqa: E731
    folder = predict_store(run, data, out, progress=progress, **options)
    return folder, manifest.read(folder), totals[0]


def test_patients_of_the_run_are_left_out_by_name_and_named_first(labels_run, with_known_patients):
    lines = []
    folder, record, _ = predict(labels_run, with_known_patients, arms=ARMS, notify=lines.append)
    assert folder == labels_run / "evaluations" / "mixed"
    about = record.evaluation_of
    assert (about.num_clips, record.data.clips, len(about.left_out)) == (10, 6, 4)
    named = [own.patient for own in about.left_out]
    assert [line for line in lines if line.startswith("left out")] == [
        f"left out: {name} (1 clip): a patient of the run has this name" for name in named
    ]
    result = report.write(folder, num_draws=5)
    first = dict(result.document.lead[0].items)
    assert first["Left out"].startswith("4 patients with 4 clips who may be patients of the run")
    assert named[0] in first["Left out"]


def test_patients_who_trained_the_initial_weights_are_left_out(labels_run, external):
    first, *others = sorted(set(store.read_index(external)["patient"].to_pylist()))
    path = labels_run / "experiment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights_patients": [first]}))
    lines = []
    _, record, _ = predict(labels_run, external, arms=ARMS, notify=lines.append)
    assert [own.patient for own in record.evaluation_of.left_out] == [first]
    assert record.data.patients == len(others)
    assert "names alone of patients who trained its initial weights (1)" in lines[0]


def test_the_same_call_predicts_only_what_is_missing_or_stale(labels_run, external):
    folder, _, number = predict(labels_run, external)
    tables = sorted((folder / "predictions").rglob("*.parquet"))
    assert number == len(tables)
    assert predict(labels_run, external)[2] == 0
    tables[0].unlink()
    assert predict(labels_run, external)[2] == 1
    before = {path: path.stat().st_mtime_ns for path in tables}
    checkpoint = labels_run / "cells" / "biomarkers" / "fold0" / "checkpoint" / "task.json"
    checkpoint.write_text(json.dumps(json.loads(checkpoint.read_text()), indent=3))
    number = predict(labels_run, external)[2]  # biomarkers and all that read them
    kept = [path.parent.name for path in tables if path.stat().st_mtime_ns == before[path]]
    assert (kept, number) == (["intensity", "network", "prior"], len(tables) - 3)


def test_external_scores_stand_beside_those_of_the_run_and_nothing_of_the_paper(
    labels_run, external
):
    result = evaluate(labels_run, external, num_draws=5)
    shifts = {own.name: own for own in result.external.shifts}
    assert (shifts["tree"].num_internal, shifts["tree"].num_external) == (3, 6)
    assert result.document.title == "External validation on elsewhere: Labels"
    written = json.loads((result.out / "report.json").read_text())
    assert [own["name"] for own in written["external"]["shifts"]] == list(shifts)
    assert (written["claims"], written["gaps"]) == ([], [])
    assert {own.fold for own in result.contents.splits} == {0}


def test_a_label_that_the_store_lacks_is_named_and_its_arms_are_left_out(
    labels_run, external, tmp_path
):
    rows = [{**row, "sf_ratio": None} for row in store.read(external)]
    data = write_store(tmp_path / "no_ratio", rows)
    _, record, _ = predict(labels_run, data)
    assert "neighbours, sf_ratio" not in [arm.name for arm in record.arms]
    assert "no clip has S/F ratio: 1 arm cannot be scored" in record.evaluation_of.notes


def test_without_the_run_the_report_is_written_and_says_so(labels_run, external, tmp_path):
    predict(labels_run, external, tmp_path / "out", arms=ARMS)
    labels_run.rename(tmp_path / "moved")
    result = report.write(tmp_path / "out", num_draws=5)
    assert result.external is None
    assert "The run is no longer at" in result.text()


def test_clips_can_be_chosen_by_value(labels_run, external):
    probe = next(store.read(external))["probe"]
    number = sum(row["probe"] == probe for row in store.read(external))
    folder, record, _ = predict(labels_run, external, arms=ARMS, where={"probe": probe})
    assert folder == labels_run / "evaluations" / f"elsewhere-{probe}"
    assert record.data.clips == number


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": {"probe": "laser"}}, "--where probe=laser: no clip of .*it has"),
        ({"where": {"frames": "1"}}, "clips have no such column"),
        ({"arms": "forest"}, "no arm 'forest'"),
    ],
)
def test_options_that_fit_nothing_are_refused(labels_run, external, options, message):
    with pytest.raises(InputError, match=message):
        predict(labels_run, external, **options)
    assert not (labels_run / "evaluations").exists()


def test_wrong_folders_are_refused_in_one_line(labels_run, runs, external, tmp_path):
    for run, data, message in (
        (tmp_path, external, "experiment.json"),
        (labels_run, tmp_path / "nowhere", "no clips here"),
        (labels_run, runs / "clips", "every patient is one of the run"),
    ):
        with pytest.raises((InputError, StoreError), match=message):
            predict(run, data)
    with pytest.raises(InputError, match="give --out a folder"):
        default_folder("s3://bucket/run", external, {})


def test_an_evaluation_is_not_mixed_with_other_clips_or_taken_for_a_run(
    labels_run, external, tmp_path
):
    folder, *_ = predict(labels_run, external, arms=ARMS)
    rows = list(store.read(external))
    fewer = write_store(tmp_path / "fewer", rows[:-1])
    with pytest.raises(InputError, match="holds an evaluation of other clips"):
        predict(labels_run, fewer, folder)
    with pytest.raises(InputError, match="is an evaluation itself"):
        predict(folder, external)


def test_the_report_of_a_run_shows_its_external_tests_and_what_the_paper_says_of_its_own(
    labels_run, external
):
    path = labels_run / "experiment.json"
    record = json.loads(path.read_text()) | {"remarks": {"external": "The place of Table 3."}}
    path.write_text(json.dumps(record))
    evaluate(labels_run, external, arms=ARMS, num_draws=5)
    (labels_run / "evaluations" / "broken").mkdir()
    shutil.copy(path, labels_run / "evaluations" / "broken")
    document = report.write(labels_run, num_draws=5).document
    (section,) = [own for own in document.sections if own.title == "External tests"]
    texts = [block.text for block in section.blocks if isinstance(block, Paragraph)]
    assert "evaluations/broken has no readable report" in texts[0]
    assert "elsewhere: 6 clips of 6 patients. Whole report: evaluations/elsewhere" in texts[1]
    assert texts[-1] == "The place of Table 3."
    assert "external_elsewhere_severity.csv" in [p.name for p in (labels_run / "tables").iterdir()]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "runs/x"), "Missing option '--data'"),
        (("evaluate", "runs/x", "--data", "clips", "--where", "probe"), "write COLUMN=VALUE"),
        (("report", "runs/x", "--where", "probe=linear"), "--where: chooses clips of --external"),
        (("report", "a", "b", "--external", "clips"), "--external: tests one run"),
    ],
)
def test_wrong_words_are_answered_with_one_line(words, message):
    answer = CliRunner().invoke(cli.main, list(words))
    assert (answer.exit_code, answer.stderr.count("\n")) == (2, 1)
    assert message in answer.stderr


def write_store(path, rows):
    with store.Writer(path, "phantom") as writer:
        for row in sorted(rows, key=lambda row: row["patient"]):
            pixels = {
                name: row[name] if row[name] is None else row[name].to_pylist()
                for name in ("frames", "masks")
            }
            writer.add(row | pixels)
    return path
