"""Unlabelled means unlabelled: no mask of the target can reach the training of an arm."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from lus_ray.clip import make_row
from lus_ray.data.loading.batches import InMemory
from lus_ray.data.transforms.view import View
from lus_ray.errors import CellError
from lus_ray.experiment import Arm, Experiment, Recipe, Rows
from lus_ray.folds import Fold, rotating
from lus_ray.nets import SifaSegmenter, UNet
from lus_ray.runs import cell_rows, predictions, run_cell
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan
from lus_ray.tasks import MatchedSegmentation, Sifa
from lus_ray.training import checkpoint

VIEW = View(num_frames=1, height=16, width=16, num_samples=0)
SIDES = {"train": "ab", "val": "c", "test": "d"}
FOLD = Fold(0, **{side: tuple(f"t/{d}-{p}" for d in ("covid", "cap") for p in names)
                  for side, names in SIDES.items()})  # fmt: skip
LABELS = ("severity", "frame_severity", "disease", "sf_ratio", "biomarkers", "raters",
          "masks", "mask_scheme")  # fmt: skip
TASKS = {
    "sifa": partial(Sifa, net=partial(SifaSegmenter, width=1), view=VIEW, num_units=1, pool=2),
    "matched": partial(MatchedSegmentation, net=partial(UNet, widths=(2, 4)), view=VIEW),
}
ROWS = Rows(learns={"domain": "covid"}, unlabelled={"domain": "cap"}, with_val=True)
RECIPE = Recipe(epochs=2, batch=4, lr=1e-3, draws=12, select="last")

every_task = pytest.mark.parametrize("name", TASKS)
every_protocol = pytest.mark.parametrize(
    "rows", [ROWS, replace(ROWS, reduced=True), replace(ROWS, with_val=False)],
    ids=["without validation", "reduced", "validated"],
)  # fmt: skip


class Asked(Mapping):
    """Masks by clip, and the clips whose masks anybody asked for so far."""

    def __init__(self, masks):
        self.masks, self.clips = masks, set()

    def __getitem__(self, clip):
        self.clips.add(clip)
        return self.masks[clip]

    def __iter__(self):
        return iter(self.masks)

    def __len__(self):
        return len(self.masks)


def outlined(scrambled=""):
    """Four patients of each domain with a clip of four frames; another seed for one's labels."""
    rows, frames, ids = [], {}, {}
    for number, (domain, patient) in enumerate((d, p) for d in ("covid", "cap") for p in "abcd"):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 256, (4, 16, 16), np.uint8)
        again = np.random.default_rng(number + 99 * (domain == scrambled))
        masks = again.integers(0, 2, (4, 16, 16), np.uint8)
        row = make_row(
            pixels, clip=f"t/{domain}-{patient}", patient=f"t/{domain}-{patient}", source="t",
            domain=domain, masks=masks, mask_scheme="bline", severity=int(again.integers(4)),
        )  # fmt: skip
        images = [[frame, 0] for frame in range(4 if domain == "covid" else 3)]
        rows.append({**row, "num_frames": 4, "images": images})
        frames[row["clip"]], ids[row["clip"]] = pixels, masks
    pixels = InMemory({(16, 16): frames}, {(16, 16): Asked(ids)})
    pixels.class_ids[16, 16].clips.clear()  # a check of types may have looked at one
    return rows, pixels


def work(folder, rows, name, wanted):
    arm = Arm(name, TASKS[name], RECIPE, "bline masks", wanted)
    experiment = Experiment("t", "t", rotating(3), (arm,), ("dice",))
    return RunPlan(experiment, "smoke", (FOLD,), rows, "0", RunFolder(folder))


def train(folder, name, wanted, scrambled=""):
    """The rows and the masks that training asked for, and the trained weights."""
    rows, pixels = outlined(scrambled)
    seen = {}

    def fit(task, train, val, *, second, **settings):
        fitted = run_cell.fit_task(task, train, val, second=second, **settings)
        asked = set(pixels.class_ids[16, 16].clips)
        seen.update(train=train, val=val, second=second, asked=asked)
        return fitted

    run_cell.run(Cell(name, 0), work(folder, rows, name, wanted), pixels, lambda v: None, fit=fit)
    return seen, checkpoint.load_weights(RunFolder(folder).cell(Cell(name, 0)).checkpoint)


@pytest.mark.slow
@every_task
@every_protocol
def test_until_training_has_ended_only_masks_of_the_source_are_asked_for(tmp_path, name, rows):
    seen, _ = train(tmp_path, name, rows)
    taught = "abc" if rows.with_val else "ab"
    assert {row["clip"] for row in seen["train"]} == {f"t/covid-{p}" for p in taught}
    assert {row["clip"] for row in seen["val"]} == (set() if rows.with_val else {"t/covid-c"})
    assert {row["clip"] for row in seen["second"]} == {f"t/cap-{p}" for p in taught}
    assert seen["asked"] == {f"t/covid-{p}" for p in "abc"}
    _, table = predictions.read(RunFolder(tmp_path).cell(Cell(name, 0)).predictions)
    tested = {row["clip"] for row in table.to_pylist() if row["split"] == "test"}
    assert tested == {"t/covid-d", "t/cap-d"}, "and then both domains are tested"


@pytest.mark.slow
@every_task
def test_rows_and_batches_of_the_unlabelled_stream_hold_no_label(tmp_path, name):
    seen, _ = train(tmp_path, name, ROWS)
    _, pixels = outlined()
    for row in seen["second"]:
        assert not set(row) & set(LABELS)
        assert set(row) == {*cell_rows.UNLABELLED_COLUMNS, "split"}
        assert row["images"] == [[0, 0], [1, 0], [2, 0]]
    batches = pixels.epochs(
        seen["second"], view=VIEW, columns=(), batch=2, seed=0, by_frame=True, num_samples=4
    )
    assert [set(batch) for batch in batches(0)] == [{"frames"}] * 2
    assert not pixels.class_ids[16, 16].clips


@pytest.mark.slow
@every_task
@every_protocol
def test_with_other_masks_of_the_target_the_trained_weights_are_the_same_bits(tmp_path, name, rows):
    weights = [train(tmp_path / s, name, rows, s)[1] for s in ("", "cap", "covid")]
    as_it_is, other_target, other_source = weights
    assert all(torch.equal(value, other_target[key]) for key, value in as_it_is.items())
    changed = [not torch.equal(value, other_source[key]) for key, value in as_it_is.items()]
    assert any(changed), "masks of the source teach"


@every_task
def test_without_a_clip_of_the_target_to_train_on_a_cell_ends_in_one_line(tmp_path, name):
    rows, pixels = outlined()
    kept = [row for row in rows if row["domain"] == "covid" or row["patient"] == "t/cap-d"]
    with pytest.raises(CellError, match=r"no training clip equals .*'cap'") as caught:
        run_cell.run(Cell(name, 0), work(tmp_path, kept, name, ROWS), pixels, lambda values: None)
    assert "\n" not in str(caught.value)
