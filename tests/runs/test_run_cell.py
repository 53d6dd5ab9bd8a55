"""One cell: whom it learns from, by whom it is judged, and on which frames."""

from functools import partial

import numpy as np
import pytest
import torch

from lus_ray.clip import make_row
from lus_ray.data.loading.batches import InMemory
from lus_ray.data.transforms import augment_gare2021
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError, CellError
from lus_ray.experiment import Arm, Experiment, Recipe, Rows
from lus_ray.folds import Fold, rotating
from lus_ray.metrics import segmentation as overlap
from lus_ray.nets import FrameCNN, UNet
from lus_ray.predictor import predict
from lus_ray.runs import cell_predictions, cell_rows, predictions, run_cell
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan
from lus_ray.tasks import Ensemble, FrameScore, MergedClasses, Segmentation
from lus_ray.tasks.frame_score import frame_scores
from lus_ray.training import checkpoint

VIEW = View(num_frames=1, height=32, width=32, num_samples=0)
FOLD = Fold(0, train=("t/a",), val=("t/b",), test=("t/c",))


def row(patient, severity=None):
    return {"patient": f"t/{patient}", "severity": severity}


def sides(rows, *clips):
    return [cell_rows.split_of(rows, clip, FOLD) for clip in clips]


def test_a_clip_is_on_the_side_of_its_patient():
    assert sides(Rows(), row("a"), row("b", 1), row("c")) == ["train", "val", "test"]


def test_clips_without_the_label_that_an_arm_trains_without_can_train_and_nothing_else():
    apart = Rows(train_without="severity")
    assert sides(apart, row("a"), row("b"), row("c")) == ["train", None, None]
    assert sides(apart, row("a", 0), row("b", 0), row("c", 0)) == ["train", "val", "test"]


def test_where_patients_overlap_they_train_whoever_they_are_of():
    overlap = Rows(train_without="severity", overlap=True)
    assert sides(overlap, row("a"), row("b"), row("c")) == ["train"] * 3
    assert sides(overlap, row("a", 0), row("b", 0), row("c", 0)) == ["train", "val", "test"]


def test_an_arm_that_trains_without_a_label_learns_from_the_clips_that_lack_it():
    arm = Arm("frames", FrameScore, rows=Rows(train_without="severity"))
    both = [row("a"), row("a", 2)]
    assert cell_rows.training_rows(arm, both) == ([both[0]], ())
    assert cell_rows.training_rows(Arm("all", FrameScore), both) == (both, ())


def test_where_every_training_clip_has_the_label_all_of_them_teach_and_a_note_says_so():
    arm = Arm("frames", FrameScore, rows=Rows(train_without="severity"))
    chosen, (note,) = cell_rows.training_rows(arm, [row("a", 2)])
    assert chosen == [row("a", 2)]
    assert "every training clip has a severity" in note


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    rows = [
        {"clip": f"t/{n}", "frame_severity": [0, 1, 2, 3, 3, 1, 0], "severity": 3} for n in range(3)
    ]
    frames = {one["clip"]: rng.integers(0, 255, (7, 32, 32), np.uint8) for one in rows}
    return rows, InMemory({(32, 32): frames})


@pytest.mark.parametrize(("num_samples", "seen"), [(0, range(7)), (2, [1, 5]), (7, range(7))])
def test_validation_holds_the_frames_that_it_looks_at_against_their_own_scores(
    clips, num_samples, seen
):
    rows, pixels = clips
    recipe = Recipe(epochs=1, batch=7, lr=1e-3, select="last", val_samples=num_samples)
    make = partial(FrameScore, net=partial(FrameCNN, width=8), view=VIEW)
    arm, task = Arm("cnn", make, recipe, label="frame_severity"), make()
    fitted = run_cell.fit_task(
        task, rows, rows, arm=arm, pixels=pixels, seed=0, report=lambda values: None, device="cpu"
    )
    expected = []
    for one in rows:
        outputs = predict(task, pixels.frames[32, 32][one["clip"]])["outputs"]
        target = [one["frame_severity"][number] for number in seen]
        expected.append({"target": target, "outputs": outputs[list(seen)]})
    assert fitted.scores == pytest.approx(frame_scores(expected))


dense, sparse = (
    partial(Segmentation, net=partial(UNet, widths=(4, 8)), scheme=scheme, view=VIEW)
    for scheme in ("dense", "sparse")
)
RECIPE = Recipe(epochs=2, batch=4, lr=1e-2, draws=12)


@pytest.fixture
def outlined():
    """Six clips of three frames, two on each side; all but the last one have masks."""
    rng = np.random.default_rng(0)
    rows, frames, ids = [], {}, {}
    for number in range(6):
        side = "aabbcc"[number]
        scheme = None if number == 5 else "dense"
        pixels = rng.integers(0, 255, (3, 32, 32), np.uint8)
        masks = None if scheme is None else pixels // 40
        names = {"clip": f"t/{number}", "patient": f"t/{side}", "source": "t"}
        row = make_row(pixels, **names, mask_scheme=scheme, masks=masks)
        rows.append({**row, "num_frames": 3})
        frames[row["clip"]] = pixels
        if scheme is not None:
            ids[row["clip"]] = pixels // 40
    return rows, InMemory({(32, 32): frames}, {(32, 32): ids})


def made(factory, seed=0):
    torch.manual_seed(seed)
    return factory().eval()


def unit(pixels):
    return torch.from_numpy(pixels)[:, None] / 255


def test_masks_are_counted_of_clips_that_have_some_and_nothing_is_said_of_others(outlined):
    rows, pixels = outlined
    task = made(sparse)
    said = list(cell_predictions.predict_clips(task, rows, pixels, "cpu"))
    assert said[5] == {}
    for row, answer in zip(rows[:5], said, strict=False):
        clip = row["clip"]
        true = task.prepare_truth(pixels.class_ids[32, 32][clip], row)
        expected = task.count_pixels(unit(pixels.frames[32, 32][clip]), true)
        assert (answer["counts"] == expected["counts"]).all()
        assert answer["bins"] == pytest.approx(expected["bins"])


def test_a_validation_of_few_frames_counts_these(outlined):
    rows, pixels = outlined
    task = made(dense)
    (all_frames,) = cell_predictions.predict_clips(task, rows[:1], pixels, "cpu")
    (few,) = cell_predictions.predict_clips(task, rows[:1], pixels, "cpu", num_samples=1)
    assert (few["counts"] == all_frames["counts"][1:2]).all()


def test_copies_that_a_row_lists_are_made_of_frame_and_mask(outlined):
    rows, pixels = outlined
    task = made(dense)
    listed = [(0, 0), (2, 4), (2, 0), (1, 3)]
    (said,) = cell_predictions.predict_clips(
        task, [rows[0] | {"images": listed}], pixels, "cpu", num_samples=1
    )
    frames = unit(pixels.frames[32, 32]["t/0"])
    ids = torch.from_numpy(pixels.class_ids[32, 32]["t/0"])[:, None]
    for counts, (frame, copy) in zip(said["counts"], listed, strict=True):
        image, true = augment_gare2021.make_copies(frames[frame][None], ids[frame][None], copy)
        predicted = task.predict(image)["masks"]
        expected = overlap.count_pixels(true[:, 0].numpy(), predicted, num_classes=7)
        assert (counts == expected.ravel()).all()


def work(tmp_path, rows, *arms):
    experiment = Experiment("t", "t", rotating(3), arms, ("mean_iou",))
    folds = tuple(Fold(n, train=("t/a",), val=("t/b",), test=("t/c",)) for n in range(3))
    return RunPlan(experiment, "smoke", folds, rows, "0", RunFolder(tmp_path))


def finish(given, pixels, *names):
    for name in names:
        run_cell.run(Cell(name, 0), given, pixels, lambda values: None)


def test_members_answer_with_the_weights_of_their_arms_and_what_reads_them_is_collapsed(
    tmp_path, outlined
):
    rows, pixels = outlined
    arms = (
        Arm("one", dense, RECIPE, "dense masks"),
        Arm("two", dense, RECIPE, "dense masks"),
        Arm("both", partial(Ensemble, members=(dense, dense)), label="dense masks",
            members=("one", "two")),
        Arm("coarse", partial(MergedClasses, source="dense", scheme="sparse"), label="sparse masks",
            reads="both"),
    )  # fmt: skip
    given = work(tmp_path, rows, *arms)
    finish(given, pixels, "one", "two", "both", "coarse")
    joined = checkpoint.load_weights(RunFolder(tmp_path).cell(Cell("both", 0)).checkpoint)
    for number, name in enumerate(("one", "two")):
        state = checkpoint.load_weights(RunFolder(tmp_path).cell(Cell(name, 0)).checkpoint)
        for key, value in state.items():
            assert torch.equal(joined[f"net.{number}.{key}"], value)
    about, table = predictions.read(RunFolder(tmp_path).cell(Cell("coarse", 0)).predictions)
    assert (about.scheme, about.arm) == ("sparse", "coarse")
    read = predictions.read(RunFolder(tmp_path).cell(Cell("both", 0)).predictions)[1].to_pylist()
    for one, two in zip(table.to_pylist(), read, strict=True):
        assert one["clip"] == two["clip"]
        assert (one["counts"] is None) == (two["counts"] is None) == (one["clip"] == "t/5")
        if one["counts"] is not None:
            assert np.sum(one["counts"]) == np.sum(two["counts"]) == 3 * 32 * 32


def test_a_member_that_was_trained_with_other_settings_is_refused(tmp_path, outlined):
    rows, pixels = outlined
    other = partial(dense, centred=True)  # the same weights fit, and mean something else
    arms = (
        Arm("one", dense, RECIPE, "dense masks"),
        Arm("all", partial(Ensemble, members=(other,)), label="dense masks", members=("one",)),
    )
    given = work(tmp_path, rows, *arms)
    finish(given, pixels, "one")
    with pytest.raises(ArmError, match="all: 'one' was trained with other settings") as caught:
        finish(given, pixels, "all")
    assert "\n" not in str(caught.value)


def test_an_arm_of_images_learns_from_every_patient_and_predicts_its_own_part(tmp_path, outlined):
    rows, pixels = outlined
    recipe = Recipe(epochs=1, batch=4, lr=1e-2, copies=6, select="test")
    given = work(tmp_path, rows, Arm("images", dense, recipe, "dense masks", Rows(images=True)))
    seen = []

    def fit(task, train, val, **settings):
        seen.append((train, val))
        return run_cell.fit_task(task, train, val, **settings)

    run_cell.run(Cell("images", 1), given, pixels, lambda values: None, fit=fit)
    ((train, val),) = seen
    assert {row["patient"] for row in train} == {"t/a", "t/b", "t/c"}
    assert not any(row["clip"] == "t/5" for row in train)
    for row in val:  # the epoch is chosen by what is tested
        assert row["split"] == "test"
    about, table = predictions.read(RunFolder(tmp_path).cell(Cell("images", 1)).predictions)
    said = {row["clip"]: len(row["counts"]) for row in table.to_pylist()}
    assert said == {row["clip"]: len(row["images"]) for row in val}
    assert sum(said.values()) == 5 * 3 * 6 / 3
    assert about.fold == 1


def test_without_a_mask_to_learn_from_a_cell_ends_in_one_line(tmp_path, outlined):
    rows, pixels = outlined
    given = work(tmp_path, rows[2:], Arm("dense", dense, RECIPE, "dense masks"))
    with pytest.raises(CellError, match="no training clip has dense masks") as caught:
        finish(given, pixels, "dense")
    assert "\n" not in str(caught.value)
