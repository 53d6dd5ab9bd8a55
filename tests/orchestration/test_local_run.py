"""Small runs: cells in forked processes, also when one is killed; and which runs are small."""

import contextlib
import threading
import time
from dataclasses import replace

import psutil
import pytest
import sklearn.dummy  # noqa: F401 - once, not in every process that is forked

from experiments.biomarkers import EXPERIMENT
from lus_ray.orchestration import campaign, run_options
from lus_ray.orchestration.cells import local_run
from lus_ray.orchestration.cells.inputs import is_small
from lus_ray.runs import layout
from lus_ray.runs.plan import RunRequest
from lus_ray.runs.prepare import prepare
from tests.orchestration.cheap_cells import experiment

CHEAP = experiment(4)  # features on three folds, and experts that predict the commonest class

NETWORK = run_options.apply_options(EXPERIMENT, "smoke", arms="biomarkers")


def request(store, out, chosen, **options):
    return RunRequest(chosen, data=store, out=out, size="smoke", **options)


def read_predictions(out):
    folder = out / layout.PREDICTIONS
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.parquet")}


def kill_first_cell(killed):
    """Kill the first process that is named for a cell."""
    while not killed:
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if child.name().startswith("intensity/"):
                    child.kill()
                    killed.append(child.pid)
                    return
        time.sleep(0.001)


def test_a_killed_process_is_forked_again_and_changes_no_result(phantom_store, tmp_path, capsys):
    campaign.run(request(phantom_store, tmp_path / "whole", CHEAP))
    assert "retry" not in capsys.readouterr().err
    killed: list[int] = []
    thread = threading.Thread(target=kill_first_cell, args=(killed,))
    thread.start()
    campaign.run(request(phantom_store, tmp_path / "killed", CHEAP))
    thread.join()
    assert (
        "its process was killed; resuming from its last state (retry 1" in capsys.readouterr().err
    )
    assert read_predictions(tmp_path / "killed") == read_predictions(tmp_path / "whole")
    assert not [child for child in psutil.Process().children() if child.pid in killed]


def test_without_free_memory_the_youngest_process_ends_and_fewer_run(
    phantom_store, tmp_path, monkeypatch, capsys
):
    plan = prepare(request(phantom_store, tmp_path, CHEAP), notify=print)
    monkeypatch.setattr(local_run, "MEMORY_PERCENT", 0.0)  # always beyond it
    with campaign.observed(plan, tensorboard=False) as observers:
        local_run.run_cells(plan, observers)
    assert "it ran out of memory (1 at a time from now on)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "recipe", "expected"),
    [
        ({}, {}, True),
        ({"address": "auto"}, {}, False),
        ({"dashboard": True}, {}, False),
        ({}, {"workers": 2}, False),
        ({}, {"epochs": 100_000}, False),
    ],
)
def test_a_run_is_small_if_it_trains_little_and_asks_for_no_cluster(
    phantom_store, tmp_path, changes, recipe, expected
):
    (arm,) = NETWORK.arms
    chosen = NETWORK.with_arms((replace(arm, recipe=replace(arm.recipe, **recipe)),))
    wanted = request(phantom_store, tmp_path, chosen, **changes)
    assert is_small(wanted, prepare(wanted, notify=print)) is expected
