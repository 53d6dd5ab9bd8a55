"""Which clips an arm learns from, validates on, and sees without their labels; and how few."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.experiment import Arm, Experiment, Rows
from lus_ray.folds import Fold, rotating
from lus_ray.runs import cell_rows, predictions
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan
from lus_ray.tasks import Segmentation

COVID, CAP = {"domain": "covid"}, {"domain": "cap"}
FOLD = Fold(0, train=("a", "A"), val=("b", "B"), test=("c", "C"))


def table():
    """A clip of each patient; names of the other domain's patients are capital letters."""
    return [
        {"clip": f"t/{p}", "patient": p, "group": p, "source": "t", "mask_scheme": "bline",
         "domain": "cap" if p.isupper() else "covid", "height": 8, "width": 8, "num_frames": 2,
         "severity": 1}
        for p in "abcABC"
    ]  # fmt: skip


def given_to(rows, tmp_path):
    """Patients of each side, and those of the second stream."""
    arm = Arm("t", Segmentation, rows=rows)
    experiment = Experiment("t", "t", rotating(3), (arm,), ("dice",))
    work = RunPlan(experiment, "smoke", (FOLD,), table(), "0", RunFolder(tmp_path))
    found = {}
    for row in cell_rows.rows_of(arm, FOLD, Cell("t", 0), work):
        found[row["split"]] = found.get(row["split"], "") + row["patient"]
    second = cell_rows.unlabelled_rows(arm, FOLD, work)
    return found, "".join(row["patient"] for row in second)


def test_an_arm_learns_from_one_domain_and_is_tested_on_both(tmp_path):
    found, second = given_to(Rows(learns=COVID), tmp_path)
    assert found == {"train": "a", "val": "b", "test": "cC"}
    assert second == ""


def test_without_a_domain_to_learn_it_learns_from_all(tmp_path):
    assert given_to(Rows(), tmp_path)[0] == {"train": "aA", "val": "bB", "test": "cC"}


def test_the_second_stream_is_the_training_side_of_the_other_domain(tmp_path):
    rows = Rows(learns=CAP, unlabelled=COVID)
    assert given_to(rows, tmp_path) == ({"train": "A", "val": "B", "test": "cC"}, "a")


def test_where_clips_are_dealt_at_random_patients_of_the_fold_are_on_either_side(tmp_path):
    rows = [{**row, "disease": "healthy"} for row in table()]
    diagnosed = Arm("t", Segmentation, label="diagnosis", rows=Rows(clips=True, where=COVID))
    experiment = Experiment("t", "t", rotating(3), (diagnosed,), ("accuracy",))
    folds = rotating(3).assign(index_of(rows), seed=0)
    work = RunPlan(experiment, "smoke", folds, rows, "0", RunFolder(tmp_path))
    found = []
    for fold in folds:
        dealt = cell_rows.rows_of(diagnosed, fold, Cell("t", fold.number), work)
        found.append({row["clip"]: row["split"] for row in dealt})
    assert [sorted(dealt.values()) for dealt in found] == [["test", "train", "train"]] * 3
    assert all(sorted(dealt) == ["t/a", "t/b", "t/c"] for dealt in found)


def test_what_reads_images_dealt_at_random_has_the_sides_of_that_arm(tmp_path):
    images = Arm("images", Segmentation, label="dense masks", rows=Rows(images=True))
    reader = Arm("reader", Segmentation, label="sparse masks", reads="images")
    again = Arm("again", Segmentation, label="sparse masks", reads="reader")
    experiment = Experiment("t", "t", rotating(3), (images, reader, again), ("mean_iou",))
    work = RunPlan(experiment, "smoke", (FOLD,), table(), "0", RunFolder(tmp_path))
    about = predictions.PredictionInfo("images", 0, "dense masks", (), False, "0", scheme="dense")
    said = [prediction(row) for row in table()]
    for name in ("images", "reader"):
        predictions.write(RunFolder(tmp_path).cell(Cell(name, 0)).predictions, said, about)
    for arm in (reader, again):
        rows = cell_rows.rows_of(arm, FOLD, Cell(arm.name, 0), work)
        assert {row["clip"]: row["split"] for row in rows} == {f"t/{p}": "test" for p in "abcABC"}


def prediction(row):
    """A row of a prediction table, on the test side."""
    known = {**dict.fromkeys(predictions.KEPT), **row, "sha256": "0"}
    return predictions.make_row(known, fold=0, split="test", target=None, prediction={})


def index_of(rows):
    """What a protocol deals folds from."""
    return pa.table(
        {name: [row[name] for row in rows] for name in ("clip", "patient", "group", "severity")}
    )


def test_where_validation_trains_too_so_does_that_of_the_second_stream(tmp_path):
    rows = Rows(learns=CAP, unlabelled=COVID, with_val=True)
    assert given_to(rows, tmp_path) == ({"train": "AB", "test": "cC"}, "ab")


def test_what_equals_is_asked_of_every_column(tmp_path):
    assert cell_rows.has_values({"domain": "cap", "severity": 1}, {"domain": "cap"})
    assert cell_rows.has_values({"domain": "cap"}, {})
    assert not cell_rows.has_values(
        {"domain": "cap", "severity": 1}, {"domain": "cap", "severity": 2}
    )
    found, _ = given_to(Rows(learns={"domain": "covid", "severity": 2}), tmp_path)
    assert found == {"test": "cC"}


patients = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=6)
"""Of each patient the number of frames of each clip."""


def clips(lengths):
    """Every second frame of a clip is one that counts."""
    return [
        {"clip": f"t/{p}-{c}", "patient": f"t/{p}", "num_frames": 2 * length,
         "images": [[2 * n, 0] for n in range(length)]}
        for p, own in enumerate(lengths) for c, length in enumerate(own)
    ]  # fmt: skip


def per_patient(rows):
    counts = Counter()
    for row in rows:
        counts[row["patient"]] += len(row["images"])
    return counts


@given(patients, st.data(), st.integers(0, 99))
def test_frames_are_reduced_to_the_number_and_each_patient_in_proportion(lengths, data, seed):
    train = clips(lengths)
    total = sum(map(sum, lengths))
    number = data.draw(st.integers(1, total))
    kept = cell_rows.reduce_images(train, number, seed=seed)
    had, has = per_patient(train), per_patient(kept)
    assert sum(has.values()) == number
    for patient, own in had.items():
        assert abs(has[patient] - number * own / total) < 1
    images = {row["clip"]: row["images"] for row in train}
    for row in kept:
        assert row["images"]
        assert len({tuple(image) for image in row["images"]}) == len(row["images"])
        assert all(image in images[row["clip"]] for image in row["images"])
        assert row["images"] == sorted(row["images"])
    assert kept == cell_rows.reduce_images(train, number, seed=seed)


def test_another_seed_keeps_other_frames():
    train = clips([[9, 9], [9, 9]])
    kept = [cell_rows.reduce_images(train, 12, seed=seed) for seed in range(5)]
    assert len({str(rows) for rows in kept}) == 5


@pytest.mark.parametrize("number", [6, 7, 100])
def test_where_there_are_not_more_all_frames_stay(number):
    train = clips([[2, 1], [3]])
    assert cell_rows.reduce_images(train, number, seed=0) == train


def test_frames_of_a_patient_are_alike_likely_to_be_kept():
    train = clips([[4], [4]])
    seen = Counter()
    for seed in range(800):
        for row in cell_rows.reduce_images(train, 4, seed=seed):
            seen.update((row["clip"], frame) for frame, _ in row["images"])
    assert len(seen) == 8
    assert all(count / 800 == pytest.approx(0.5, abs=0.07) for count in seen.values())


def test_what_is_given_stays_as_it_is():
    train = clips([[4], [4]])
    cell_rows.reduce_images(train, 3, seed=0)
    assert train == clips([[4], [4]])
