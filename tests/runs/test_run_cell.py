"""One cell: the clips and frames that it trains on, validates on and predicts."""

from dataclasses import replace
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
from lus_ray.metrics import segmentation
from lus_ray.nets import FrameCNN, UNet
from lus_ray.predictor import predict
from lus_ray.runs import cell_predictions, cell_rows, predictions, run_cell
from lus_ray.runs.cell import Cell, cell_seed
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan
from lus_ray.tasks import Ensemble, FrameScore, Segmentation
from lus_ray.tasks.frame_score import frame_scores

SIZE = (32, 32)
VIEW = View(num_frames=1, height=32, width=32, num_samples=0)
FOLD = Fold(0, train=("t/a",), val=("t/b",), test=("t/c",))
OVERLAP = Rows(train_without="severity", overlap=True)
UNLABELLED = Rows(train_without="severity")
DENSE, SPARSE = (
    partial(Segmentation, net=partial(UNet, widths=(4, 8)), scheme=scheme, view=VIEW)
    for scheme in ("dense", "sparse")
)
RECIPE = Recipe(epochs=1, batch=4, lr=1e-2, draws=4)


def row(patient, severity=None):
    return {"patient": f"t/{patient}", "severity": severity}


@pytest.mark.parametrize(
    ("rows", "severities", "splits"),
    [
        (Rows(), (None, 1, None), ["train", "val", "test"]),
        (UNLABELLED, (None, None, None), ["train", None, None]),
        (UNLABELLED, (0, 0, 0), ["train", "val", "test"]),
        (OVERLAP, (None, None, None), ["train", "train", "train"]),
        (OVERLAP, (0, 0, 0), ["train", "val", "test"]),
    ],
)
def test_clips_without_the_excluded_label_can_train_only(rows, severities, splits):
    clips = [row(patient, label) for patient, label in zip("abc", severities, strict=True)]
    assert [cell_rows.split_of(rows, clip, FOLD) for clip in clips] == splits


def test_an_arm_trains_without_a_label_unless_every_clip_has_it():
    arm = Arm("frames", FrameScore, rows=UNLABELLED)
    both = [row("a"), row("a", 2)]
    assert cell_rows.training_rows(arm, both) == ([both[0]], ())
    assert cell_rows.training_rows(Arm("all", FrameScore), both) == (both, ())
    chosen, (note,) = cell_rows.training_rows(arm, both[1:])
    assert chosen == both[1:]
    assert "every training clip has a severity" in note


@pytest.mark.parametrize(("num_samples", "frames"), [(0, range(7)), (2, [1, 5]), (7, range(7))])
def test_validation_compares_sampled_frames_with_their_own_scores(num_samples, frames):
    rng = np.random.default_rng(0)
    scores = [0, 1, 2, 3, 3, 1, 0]
    rows = [{"clip": f"t/{n}", "frame_severity": scores, "severity": 3} for n in range(3)]
    videos = {row["clip"]: rng.integers(0, 255, (7, 32, 32), np.uint8) for row in rows}
    recipe = Recipe(epochs=1, batch=7, lr=1e-3, select="last", val_samples=num_samples)
    make = partial(FrameScore, net=partial(FrameCNN, width=8), view=VIEW)
    arm, task = Arm("cnn", make, recipe, label="frame_severity"), make()
    fitted = run_cell.fit_task(
        task, rows, rows, arm=arm, pixels=InMemory({SIZE: videos}), seed=0, report=ignore,
        device="cpu",
    )  # fmt: skip
    target = [scores[number] for number in frames]
    expected = [
        {"target": target, "outputs": predict(task, videos[row["clip"]])["outputs"][list(frames)]}
        for row in rows
    ]
    assert fitted.scores == pytest.approx(frame_scores(expected))


@pytest.fixture
def masked():
    """Six clips of three frames, two in each split; all but the last one have masks."""
    rng = np.random.default_rng(0)
    frames = {f"t/{n}": rng.integers(0, 255, (3, *SIZE), np.uint8) for n in range(6)}
    ids = {clip: pixels // 40 for clip, pixels in frames.items() if clip != "t/5"}
    rows = [
        make_row(pixels, clip=clip, patient=f"t/{patient}", source="t", masks=ids.get(clip),
                 mask_scheme="dense" if clip in ids else None) | {"num_frames": 3}
        for (clip, pixels), patient in zip(frames.items(), "aabbcc", strict=True)
    ]  # fmt: skip
    return rows, InMemory({SIZE: frames}, {SIZE: ids})


def build(factory):
    torch.manual_seed(0)
    return factory().eval()


def to_unit_range(pixels):
    return torch.from_numpy(pixels)[:, None] / 255


def test_masks_of_clips_that_have_some_are_counted(masked):
    rows, pixels = masked
    task = build(SPARSE)
    outputs = list(cell_predictions.predict_clips(task, rows, pixels, "cpu"))
    assert outputs[5] == {}
    for row, output in zip(rows[:5], outputs, strict=False):
        true = task.prepare_truth(pixels.class_ids[SIZE][row["clip"]], row)
        expected = task.count_pixels(to_unit_range(pixels.frames[SIZE][row["clip"]]), true)
        assert (output["counts"] == expected["counts"]).all()
        assert output["bins"] == pytest.approx(expected["bins"])


def test_validation_on_few_frames_counts_these(masked):
    rows, pixels = masked
    task = build(DENSE)
    (whole,) = cell_predictions.predict_clips(task, rows[:1], pixels, "cpu")
    (few,) = cell_predictions.predict_clips(task, rows[:1], pixels, "cpu", num_samples=1)
    assert (few["counts"] == whole["counts"][1:2]).all()


def test_copies_that_a_row_lists_are_made_of_frame_and_mask(masked):
    rows, pixels = masked
    task = build(DENSE)
    listed = [(0, 0), (2, 4), (2, 0), (1, 3)]
    (output,) = cell_predictions.predict_clips(
        task, [rows[0] | {"images": listed}], pixels, "cpu", num_samples=1
    )
    frames = to_unit_range(pixels.frames[SIZE]["t/0"])
    ids = torch.from_numpy(pixels.class_ids[SIZE]["t/0"])[:, None]
    for counts, (frame, copy) in zip(output["counts"], listed, strict=True):
        image, true = augment_gare2021.make_copies(frames[frame][None], ids[frame][None], copy)
        predicted = task.predict(image)["masks"]
        expected = segmentation.count_pixels(true[:, 0].numpy(), predicted, num_classes=7)
        assert (counts == expected.ravel()).all()


def ignore(values):
    """An epoch callback that does nothing."""


@pytest.fixture
def run_arms(tmp_path, masked):
    """`run_arms(arms, *names)` runs cells and returns their folders."""

    def run(arms, *names, rows=masked[0], fold=0, fit=None, seed=0):
        experiment = Experiment("t", "t", rotating(3), arms, ("mean_iou",))
        folds = tuple(replace(FOLD, number=number) for number in range(3))
        plan = RunPlan(experiment, "smoke", folds, rows, "0", RunFolder(tmp_path))
        for name in names:
            run_cell.run(Cell(name, fold, seed=seed), plan, masked[1], ignore, fit=fit)
        return [plan.folder_of(Cell(name, fold, seed=seed)) for name in names]

    return run


def test_another_seed_gives_other_weights_on_the_same_folds(run_arms):
    arms = (
        Arm("dense", DENSE, RECIPE, label="dense masks"),
        Arm("started", DENSE, label="dense masks", start="dense"),
        Arm("joined", partial(Ensemble, members=(DENSE,)), label="dense masks", members=("dense",)),
    )
    names = [arm.name for arm in arms]
    first, second = (run_arms(arms, *names, seed=seed) for seed in (0, 1))
    weights = [[c.checkpoint.joinpath("weights.safetensors").read_bytes() for c in cells]
               for cells in (first, second)]  # fmt: skip
    for dense, started, _ in weights:  # every arm continues with the cell of its own seed
        assert started == dense
    for one, other in zip(*weights, strict=True):
        assert one != other
    infos, tables = zip(*(predictions.read(c.predictions) for c in (*first, *second)), strict=True)
    assert [info.seed for info in infos] == [0, 0, 0, 1, 1, 1]
    splits = [table.select(["clip", "split"]).to_pylist() for table in tables]
    assert all(split == splits[0] for split in splits)
    assert (first[0].path / "pictures").exists()
    assert not (second[0].path / "pictures").exists()


def test_the_first_seed_is_that_of_earlier_versions():
    assert cell_seed(0, Cell("dense", 2)) == 1_688_211_145
    assert Cell("dense", 2).name == "dense/fold2"


def test_a_member_that_was_trained_with_other_settings_is_refused(run_arms):
    centred = partial(DENSE, centred=True)  # the same weights fit, with another meaning
    arms = (
        Arm("one", DENSE, RECIPE, "dense masks"),
        Arm("all", partial(Ensemble, members=(centred,)), label="dense masks", members=("one",)),
    )
    message = r"^all: 'one' was trained with other settings[^\n]*$"
    with pytest.raises(ArmError, match=message):
        run_arms(arms, "one", "all")


def test_an_arm_of_images_trains_on_every_patient_and_predicts_its_own_part(run_arms):
    recipe = Recipe(epochs=1, batch=4, lr=1e-2, copies=6, select="test")
    calls = []

    def fit(task, train, val, **settings):
        calls.append((train, val))
        return run_cell.fit_task(task, train, val, **settings)

    arm = Arm("images", DENSE, recipe, "dense masks", Rows(images=True))
    (folder,) = run_arms((arm,), "images", fold=1, fit=fit)
    ((train, val),) = calls
    assert {row["patient"] for row in train} == {"t/a", "t/b", "t/c"}
    assert not any(row["clip"] == "t/5" for row in train)
    assert {row["split"] for row in val} == {"test"}, "the test split selects the epoch"
    info, table = predictions.read(folder.predictions)
    num_images = {row["clip"]: len(row["counts"]) for row in table.to_pylist()}
    assert num_images == {row["clip"]: len(row["images"]) for row in val}
    assert sum(num_images.values()) == 5 * 3 * 6 / 3
    assert info.fold == 1


def test_without_a_training_clip_with_masks_a_cell_fails_in_one_line(run_arms, masked):
    arm = Arm("dense", DENSE, RECIPE, "dense masks")
    with pytest.raises(CellError, match=r"^[^\n]*no training clip has dense masks[^\n]*$"):
        run_arms((arm,), "dense", rows=masked[0][2:])
