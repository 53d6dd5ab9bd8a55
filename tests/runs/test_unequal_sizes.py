"""Arms of two domains run on clips of several sizes and shapes."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from experiments.bline_adaptation import EXPERIMENT
from lus_ray.clip import make_row
from lus_ray.data import store
from lus_ray.data.loading import resizing
from lus_ray.data.loading.batches import InMemory
from lus_ray.runs import predictions
from lus_ray.runs.cell import Cell
from lus_ray.runs.plan import RunRequest
from lus_ray.runs.prepare import prepare
from lus_ray.runs.run_cell import run
from lus_ray.training import checkpoint

SIZES = {"covid": ((40, 56), (64, 48)), "cap": ((72, 96), (33, 47))}
SIZE = (48, 48)
ARMS = ("unet covid", "sifa covid→cap", "matched covid→cap", "sifa covid→cap, translated")


@pytest.fixture(scope="module")
def unequal(tmp_path_factory):
    """Six patients of each domain with a clip of two frames; a B-line is a bright column."""
    folder = tmp_path_factory.mktemp("unequal") / "store"
    rng = np.random.default_rng(0)
    with store.Writer(folder, "t") as writer:
        for domain, sizes in SIZES.items():
            for patient in range(6):
                shape = (2, *sizes[patient % 2])
                pixels = rng.integers(0, 200, shape, np.uint8)
                masks = np.zeros(shape, np.uint8)
                masks[:, 10:, 12:20] = 1
                pixels[masks == 1] += 55
                name = f"t/{domain}-{patient}"
                writer.add(
                    make_row(pixels, clip=name, patient=name, source="t", domain=domain,
                             masks=masks, mask_scheme="bline")
                )  # fmt: skip
    return folder


def run_cells(data, out, names):
    """The plan of these arms at the smoke size, after short trainings of fold 0."""
    chosen = EXPERIMENT.at("smoke").only(names)
    recipes = [a.recipe and replace(a.recipe, epochs=min(a.recipe.epochs, 1), draws=4)
               for a in chosen.arms]  # fmt: skip
    chosen = chosen.with_arms(
        tuple(replace(a, recipe=r) for a, r in zip(chosen.arms, recipes, strict=True))
    )
    plan = prepare(RunRequest(chosen, data=data, out=out, size="smoke"))
    rows = store.read_index(data).to_pylist()
    assert len({(row["height"], row["width"]) for row in rows}) == 4
    located = [tuple(row[n] for n in ("clip", "shard", "row_group", "row")) for row in rows]
    resize = partial(resizing.resize_chunk, str(data), located, SIZE)
    pixels = InMemory({SIZE: resize("frames")}, {SIZE: resize("masks")})
    for arm in chosen.arms:
        run(Cell(arm.name, 0), plan, pixels, lambda values: None)
    return plan


@pytest.mark.slow
def test_arms_of_two_domains_train_and_test_on_clips_of_any_size(unequal, tmp_path):
    plan = run_cells(unequal, tmp_path, ARMS)
    for arm in plan.experiment.arms:
        path = plan.folder_of(Cell(arm.name, 0)).predictions
        rows = predictions.read(path)[1].to_pylist()
        tested = {row["clip"] for row in rows if row["split"] == "test"}
        domains = {"covid"} if "translated" in arm.name else {"covid", "cap"}
        assert {clip.split("/")[1].split("-")[0] for clip in tested} == domains
        assert {sum(counts) for row in rows for counts in row["counts"]} == {48 * 48}
    notes = [json.loads(path.read_text())["notes"] for path in tmp_path.rglob("cost.json")]
    assert notes == [[]] * len(ARMS)


@pytest.mark.slow
def test_a_reestimated_arm_differs_from_its_start_in_statistics_alone(unequal, tmp_path):
    name = "sifa covid→cap, batch norm re-estimated"
    plan = run_cells(unequal, tmp_path, (name,))
    before, after = (
        checkpoint.load_weights(plan.folder_of(Cell(arm, 0)).checkpoint)
        for arm in ("sifa covid→cap", name)
    )
    changed = {key for key, value in before.items() if not torch.equal(value, after[key])}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert changed == {key for key in before if key.endswith(statistics)}
    assert all(key.startswith("net.") for key in changed)
    assert any(key.startswith("translator.") for key in before)
