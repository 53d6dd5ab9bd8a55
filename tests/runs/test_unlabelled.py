"""No mask of the target domain reaches the training of an arm."""

from collections import UserDict
from dataclasses import replace
from functools import cache, partial

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
DOMAINS = ("covid", "cap")
FOLD = Fold(0, *(tuple(f"t/{d}-{p}" for d in DOMAINS for p in names) for names in ("ab", "c", "d")))
LABELS = ("severity", "frame_severity", "disease", "sf_ratio", "biomarkers", "raters",
          "masks", "mask_scheme")  # fmt: skip
TASKS = {
    "sifa": partial(Sifa, net=partial(SifaSegmenter, width=1), view=VIEW, num_units=1, pool=2),
    "matched": partial(MatchedSegmentation, net=partial(UNet, widths=(2, 4)), view=VIEW),
}
ROWS = Rows(learns={"domain": "covid"}, unlabelled={"domain": "cap"}, with_val=True)
RECIPE = Recipe(epochs=1, batch=4, lr=1e-3, draws=8, select="last")

PROTOCOLS = {
    "without validation": ROWS, "reduced": replace(ROWS, reduced=True),
    "validated": replace(ROWS, with_val=False),
}  # fmt: skip

every_task = pytest.mark.parametrize("name", TASKS)
every_protocol = pytest.mark.parametrize(
    "protocol", ["without validation", pytest.param("reduced", marks=pytest.mark.full), "validated"]
)


class RecordingMasks(UserDict):
    """Masks by clip, and the clips whose masks were read."""

    def __init__(self, masks):
        super().__init__(masks)
        self.clips = set()

    def __getitem__(self, clip):
        self.clips.add(clip)
        return super().__getitem__(clip)


def make_clips(relabelled=""):
    """Four patients of each domain with a clip of four frames; other labels for one domain."""
    rows, frames, ids = [], {}, {}
    for number, (domain, patient) in enumerate((d, p) for d in DOMAINS for p in "abcd"):
        pixels = np.random.default_rng(number).integers(0, 256, (4, 16, 16), np.uint8)
        rng = np.random.default_rng(number + 99 * (domain == relabelled))
        masks = rng.integers(0, 2, (4, 16, 16), np.uint8)
        name = f"t/{domain}-{patient}"
        row = make_row(
            pixels, clip=name, patient=name, source="t", domain=domain, masks=masks,
            mask_scheme="bline", severity=int(rng.integers(4)),
        )  # fmt: skip
        images = [[frame, 0] for frame in range(4 if domain == "covid" else 3)]
        rows.append({**row, "num_frames": 4, "images": images})
        frames[name], ids[name] = pixels, masks
    pixels = InMemory({(16, 16): frames}, {(16, 16): RecordingMasks(ids)})
    pixels.class_ids[16, 16].clips.clear()  # type checks may read one
    return rows, pixels


def plan_of(folder, rows, name, wanted):
    arm = Arm(name, TASKS[name], RECIPE, "bline masks", wanted)
    experiment = Experiment("t", "t", rotating(3), (arm,), ("dice",))
    return RunPlan(experiment, "smoke", (FOLD,), rows, "0", RunFolder(folder))


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """`train(task, protocol, relabelled domain)` returns inputs, weights and predictions."""

    @cache
    def run(name, protocol, relabelled=""):
        rows, pixels = make_clips(relabelled)
        inputs = {}

        def fit(task, train, val, *, second, **settings):
            fitted = run_cell.fit_task(task, train, val, second=second, **settings)
            masks = set(pixels.class_ids[16, 16].clips)
            inputs.update(train=train, val=val, second=second, masks=masks)
            return fitted

        out, cell = tmp_path_factory.mktemp("run"), Cell(name, 0)
        plan = plan_of(out, rows, name, PROTOCOLS[protocol])
        run_cell.run(cell, plan, pixels, lambda values: None, fit=fit)
        folder = plan.folder_of(cell)
        weights = checkpoint.load_weights(folder.checkpoint)
        return inputs, weights, predictions.read(folder.predictions)[1].to_pylist()

    return run


@pytest.mark.slow
@every_task
@every_protocol
def test_training_reads_only_masks_of_the_source_and_both_domains_are_tested(train, name, protocol):
    inputs, _, table = train(name, protocol)
    trained, val = ("ab", {"t/covid-c"}) if protocol == "validated" else ("abc", set())
    assert {row["clip"] for row in inputs["train"]} == {f"t/covid-{p}" for p in trained}
    assert {row["clip"] for row in inputs["val"]} == val
    assert {row["clip"] for row in inputs["second"]} == {f"t/cap-{p}" for p in trained}
    assert inputs["masks"] == {f"t/covid-{p}" for p in "abc"}
    tested = {row["clip"] for row in table if row["split"] == "test"}
    assert tested == {"t/covid-d", "t/cap-d"}


@pytest.mark.slow
@every_task
def test_rows_and_batches_of_the_unlabelled_stream_hold_no_label(train, name):
    second = train(name, "without validation")[0]["second"]
    _, pixels = make_clips()
    for row in second:
        assert not set(row) & set(LABELS)
        assert set(row) == {*cell_rows.UNLABELLED_COLUMNS, "split"}
        assert row["images"] == [[0, 0], [1, 0], [2, 0]]
    batches = pixels.epochs(
        second, view=VIEW, columns=(), batch=2, seed=0, by_frame=True, num_samples=4
    )
    assert [set(batch) for batch in batches(0)] == [{"frames"}] * 2
    assert not pixels.class_ids[16, 16].clips


@pytest.mark.slow
@every_task
@every_protocol
def test_masks_of_the_target_change_no_bit_of_the_weights(train, name, protocol):
    first, new_target = (train(name, protocol, *domain)[1] for domain in ((), ("cap",)))
    assert all(torch.equal(value, new_target[key]) for key, value in first.items())


@pytest.mark.slow
@every_task
def test_masks_of_the_source_change_the_weights(train, name):
    protocol = "without validation"
    first, new_source = (train(name, protocol, *domain)[1] for domain in ((), ("covid",)))
    assert not all(torch.equal(value, new_source[key]) for key, value in first.items())


@every_task
def test_without_a_training_clip_of_the_target_a_cell_fails_in_one_line(tmp_path, name):
    rows, pixels = make_clips()
    kept = [row for row in rows if row["domain"] == "covid" or row["patient"] == "t/cap-d"]
    plan = plan_of(tmp_path, kept, name, ROWS)
    with pytest.raises(CellError, match=r"^[^\n]*no training clip equals [^\n]*'cap'[^\n]*$"):
        run_cell.run(Cell(name, 0), plan, pixels, lambda values: None)
