"""Trained segmenters over the clips of another store: the command, its pictures, its refusals."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from experiments.marker_segmentation import EXPERIMENT
from lus_ray import cli
from lus_ray.clip import frames_of
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.orchestration import run_options
from lus_ray.runs import example_images
from lus_ray.runs.cell import Cell
from lus_ray.runs.external_images import draw, select_examples
from lus_ray.runs.layout import RunFolder
from lus_ray.training import checkpoint
from tests.inference import fixture_runs

pytestmark = pytest.mark.slow

ARMS = ("place", "unet, augmented")
WORDS = ("run", "marker_segmentation", "--smoke", "--arms", ",".join(ARMS))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Twelve phantom patients with masks of markers."""
    folder = tmp_path_factory.mktemp("markers") / "clips"
    ingest("phantom", None, folder, patients=12, clips=1, frames=3, size=64, masks="markers")
    return folder


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory):
    """A finished run of two arms in the smoke size."""
    chosen = run_options.apply_options(EXPERIMENT, "smoke", arms=",".join(ARMS))
    return fixture_runs.train_run(chosen, clips, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it for each test."""
    return shutil.copytree(trained, tmp_path / "run")


def lus(run, clips, *words):
    given = (*WORDS, "--data", str(clips), "--out", str(run))
    return CliRunner().invoke(cli.main, [*given, *map(str, words)])


def captions(run, arm):
    return json.loads((folder(run, arm) / "captions.json").read_text())


def folder(run, arm):
    return RunFolder(run).cell(Cell(arm, 0)).images


def test_the_command_draws_every_segmenter_over_clips_without_masks_and_reports_them(
    run, clips, phantom_store
):
    before = {arm: captions(run, arm) for arm in ARMS}
    assert all(len(own) == example_images.NUM_EXAMPLES for own in before.values())
    for _ in range(2):  # drawn again, they take the place of those before
        done = lus(run, clips, "--over", phantom_store)
        assert done.exit_code == 0, done.output
        assert "8 images of external clips" in done.output
    shown = select_examples(phantom_store)
    index = store.read_index(phantom_store).to_pylist()
    patients = {row["clip"]: row["patient"] for row in index}
    assert len({patients[row["clip"]] for row, _ in shown}) == example_images.NUM_EXAMPLES
    page = (run / "report.html").read_text()
    for arm in ARMS:
        assert captions(run, arm)[: len(before[arm])] == before[arm]
        added = captions(run, arm)[len(before[arm]) :]
        assert [one["example"] for one in added] == [f"{row['clip']}#4" for row, _ in shown]
        assert {(one["kind"], one["caption"]) for one in added} == {("masks", "no expert mask")}
        for one in added:
            assert "prediction" in (folder(run, arm) / one["file"]).read_text()
            assert one["example"].partition("#")[0] in page


def test_what_is_drawn_is_what_the_checkpoint_says_of_the_middle_frame(run, phantom_store):
    experiment = run_options.apply_options(EXPERIMENT, "smoke")
    draw(experiment, RunFolder(run), select_examples(phantom_store))
    task = checkpoint.load(RunFolder(run).cell(Cell("unet, augmented", 0)).checkpoint)
    number, (row, frame) = 1, select_examples(phantom_store)[1]
    (whole,) = store.read(phantom_store, [row["clip"]])
    assert np.array_equal(frame, frames_of(whole)[4:5])
    svg, _ = example_images.draw_masks(task, task.view.resize(frame)[0], None, device="cpu")
    assert (folder(run, "unet, augmented") / f"over-{number}.svg").read_text() == svg


def test_two_stores_are_drawn_one_after_the_other(run, clips, phantom_store):
    chosen = run_options.apply_options(EXPERIMENT, "smoke", arms="place")
    examples = [*select_examples(phantom_store), *select_examples(clips)]
    assert draw(chosen, RunFolder(run), examples) == 8
    drawn = captions(run, "place")[-8:]
    assert [one["file"] for one in drawn] == [f"over-{number}.svg" for number in range(8)]
    assert drawn[4]["example"].partition("#")[0] in store.read_index(clips)["clip"].to_pylist()


def test_arms_that_outline_nothing_or_are_not_finished_are_passed_over(
    clips, phantom_store, tmp_path
):
    scores = fixture_runs.train_run(fixture_runs.SCORES, clips, tmp_path / "scores")
    examples = select_examples(phantom_store)
    assert draw(fixture_runs.SCORES, RunFolder(scores), examples) == 0
    assert draw(EXPERIMENT, RunFolder(tmp_path / "empty"), examples) == 0


def test_a_store_that_is_none_is_refused_in_one_line_and_leaves_the_pictures(run, clips, tmp_path):
    before = {arm: captions(run, arm) for arm in ARMS}
    refused = lus(run, clips, "--over", tmp_path / "nowhere")
    assert refused.exit_code == 2
    (line,) = refused.output.strip().splitlines()
    assert str(tmp_path / "nowhere") in line
    assert {arm: captions(run, arm) for arm in ARMS} == before


def test_the_lowest_finished_fold_is_drawn_and_no_other(phantom_store, tmp_path):
    place = run_options.apply_options(EXPERIMENT, "smoke", arms="place")
    unfinished = made(place.arms[0], 0, tmp_path, finished=False)
    second, tenth = (made(place.arms[0], fold, tmp_path) for fold in (2, 10))
    shown = select_examples(phantom_store)
    assert draw(place, RunFolder(tmp_path), shown) == len(shown) > 1
    assert not (unfinished / "pictures").exists()
    assert not (tenth / "pictures").exists()
    assert (second / "pictures" / "captions.json").is_file()


def made(arm, fold, out, *, finished=True):
    """The folder of a cell with a checkpoint."""
    cell = Cell(arm.name, fold)
    folder = RunFolder(out).cell(cell).path
    checkpoint.save(folder / "checkpoint", arm.task(), checkpoint.describe(arm.task), seed=0)
    if finished:
        RunFolder(out).cell(cell).predictions.parent.mkdir(parents=True, exist_ok=True)
        RunFolder(out).cell(cell).predictions.touch()
    return folder
