"""Predicted masks for clips of another store: the command, its images, its refusals."""

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
SETTINGS = ("arm.recipe.epochs=1", "arm.recipe.draws=8")
WORDS = ("run", "marker_segmentation", "--smoke", "--arms", ",".join(ARMS),
         *(word for setting in SETTINGS for word in ("--set", setting)))  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Twelve phantom patients with masks of markers."""
    folder = tmp_path_factory.mktemp("markers") / "clips"
    ingest("phantom", None, folder, patients=12, clips=1, frames=3, size=64, masks="markers")
    return folder


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory):
    """A finished run of two arms in the smoke size."""
    chosen = run_options.apply_options(EXPERIMENT, "smoke", arms=",".join(ARMS), settings=SETTINGS)
    return fixture_runs.train_run(chosen, clips, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it for each test."""
    return shutil.copytree(trained, tmp_path / "run")


def lus(run, clips, *words):
    options = ("--data", clips, "--out", run, *words)
    return CliRunner().invoke(cli.main, [*WORDS, *map(str, options)])


def folder(run, arm, fold=0):
    return RunFolder(run).cell(Cell(arm, fold))


def captions(run, arm):
    return json.loads((folder(run, arm).images / "captions.json").read_text())


def test_the_command_draws_masks_of_every_segmenter_on_external_clips_and_reports_them(
    run, clips, phantom_store
):
    before = {arm: captions(run, arm) for arm in ARMS}
    assert all(len(own) == example_images.NUM_EXAMPLES for own in before.values())
    done = lus(run, clips, "--over", phantom_store)
    assert done.exit_code == 0, done.output
    assert "8 images of external clips" in done.output
    shown = select_examples(phantom_store)
    patients = {r["clip"]: r["patient"] for r in store.read_index(phantom_store).to_pylist()}
    assert len({patients[row["clip"]] for row, _ in shown}) == example_images.NUM_EXAMPLES
    page = (run / "report.html").read_text()
    for arm in ARMS:
        assert captions(run, arm)[: len(before[arm])] == before[arm]
        added = captions(run, arm)[len(before[arm]) :]
        assert [c["example"] for c in added] == [f"{row['clip']}#4" for row, _ in shown]
        assert {(c["kind"], c["caption"]) for c in added} == {("masks", "no expert mask")}
        assert all("prediction" in (folder(run, arm).images / c["file"]).read_text() for c in added)
        assert all(c["example"].partition("#")[0] in page for c in added)
    cell = folder(run, "unet, augmented")
    task, (row, frame) = checkpoint.load(cell.checkpoint), shown[1]
    (clip,) = store.read(phantom_store, [row["clip"]])
    assert np.array_equal(frame, frames_of(clip)[4:5])
    svg, _ = example_images.draw_masks(task, task.view.resize(frame)[0], None, device="cpu")
    assert (cell.images / "over-1.svg").read_text() == svg


def test_images_of_two_stores_replace_those_before(run, clips, phantom_store):
    chosen = run_options.apply_options(EXPERIMENT, "smoke", arms="place")
    for stores in ([phantom_store], [phantom_store, clips]):
        examples = [example for path in stores for example in select_examples(path)]
        assert draw(chosen, RunFolder(run), examples) == len(examples)
    own, added = captions(run, "place")[:-8], captions(run, "place")[-8:]
    assert len(own) == example_images.NUM_EXAMPLES
    assert [caption["file"] for caption in added] == [f"over-{n}.svg" for n in range(8)]
    assert added[4]["example"].partition("#")[0] in store.read_index(clips)["clip"].to_pylist()


def test_arms_without_masks_or_finished_cells_are_skipped(phantom_store, tmp_path):
    fixture_runs.write_cell(tmp_path / "scores", "frames", fixture_runs.frames)
    examples = select_examples(phantom_store)
    assert draw(fixture_runs.SCORES, RunFolder(tmp_path / "scores"), examples) == 0
    assert draw(EXPERIMENT, RunFolder(tmp_path / "empty"), examples) == 0


def test_a_missing_store_is_refused_in_one_line_and_the_images_stay(run, clips, tmp_path):
    before = {arm: captions(run, arm) for arm in ARMS}
    refused = lus(run, clips, "--over", tmp_path / "nowhere")
    assert refused.exit_code == 2
    (line,) = refused.output.strip().splitlines()
    assert str(tmp_path / "nowhere") in line
    assert {arm: captions(run, arm) for arm in ARMS} == before


def test_the_lowest_finished_fold_is_drawn_and_no_other(phantom_store, tmp_path):
    chosen = run_options.apply_options(EXPERIMENT, "smoke", arms="place")
    (arm,) = chosen.arms
    cells = [folder(tmp_path, arm.name, fold) for fold in (0, 2, 10)]
    for cell in cells:
        checkpoint.save(cell.checkpoint, arm.task(), checkpoint.describe(arm.task), seed=0)
        if cell.fold != "fold0":
            cell.predictions.parent.mkdir(parents=True, exist_ok=True)
            cell.predictions.touch()
    shown = select_examples(phantom_store)
    assert draw(chosen, RunFolder(tmp_path), shown) == len(shown) > 1
    assert [cell.images.exists() for cell in cells] == [False, True, False]
    assert (cells[1].images / "captions.json").is_file()
