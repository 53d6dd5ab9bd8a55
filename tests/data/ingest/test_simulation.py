import os
import signal
import threading

import numpy as np
import psutil
import pytest

from lus_ray import clip
from lus_ray.data import store as stores
from lus_ray.data.ingest import phantom, simulation
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.ingest.simulation import SimulatedClips, Simulator
from lus_ray.data.ledger import Ledger
from lus_ray.errors import LusError

SMALL = {"patients": 4, "clips": 2, "frames": 4, "size": 64}
LONG = {"patients": 1, "clips": 1, "frames": 10_000, "size": 64}
"""One clip that takes a minute."""


@pytest.fixture
def in_processes(monkeypatch):
    """Make clips in processes, however few they are."""
    monkeypatch.setattr(simulation, "WORTH_SECONDS", 0.0)


def simulators():
    """The processes that make clips for this one."""
    children = psutil.Process().children()
    return [child for child in children if "simulation_child" in " ".join(child.cmdline())]


def content(store):
    return list(stores.read(store)), (store / "ledger.jsonl").read_text()


@pytest.mark.slow
def test_clips_and_their_order_do_not_depend_on_the_number_of_workers(in_processes, tmp_path):
    seen = []

    def progress(done, total, _):
        seen.append((done, total, len(simulators())))

    for workers in (1, 2):
        store = tmp_path / str(workers)
        ingest("phantom", None, store, **SMALL, workers=workers, progress=progress)
    assert seen[:8] == [(done, 8, 0) for done in range(1, 9)]
    assert seen[8:] == [(done, 8, 2) for done in range(1, 9)]
    assert content(tmp_path / "1") == content(tmp_path / "2")
    rows = [clip.make_row(**columns) for columns in phantom.clips(**SMALL)]
    assert [row["sha256"] for row in stores.read(store)] == [row["sha256"] for row in rows]
    assert not simulators()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "error", "message"),
    [
        ("Ctrl-C", KeyboardInterrupt, None),
        (
            "kill",
            LusError,
            r"^phantom/A1-p000\d-R\d was not made: its process was ended; run again",
        ),
    ],
    ids=["Ctrl-C", "kill"],
)
def test_an_ingest_that_ends_early_leaves_the_store_as_it_was_and_no_process(
    end, error, message, in_processes, tmp_path
):
    def end_early(done, *_):
        if done == 2 and end == "Ctrl-C":
            os.kill(os.getpid(), signal.SIGINT)
        elif done == 2:
            simulators()[0].kill()

    store = tmp_path / "store"
    ingest("phantom", None, store, **SMALL, workers=1)
    before = content(store)
    with pytest.raises(error, match=message):
        ingest("phantom", None, store, **SMALL | {"seed": 1}, workers=2, progress=end_early)
    assert content(store) == before
    assert not list(store.glob(".writing-*"))
    assert not simulators()


@pytest.mark.slow
def test_a_process_names_the_clip_that_fails_and_ends_in_the_middle_of_a_clip():
    (name,) = phantom.clips(**LONG).makers
    errors = []

    def make():
        try:
            simulator.make_row(name, Ledger())
        except LusError as error:
            errors.append(str(error))

    with Simulator("phantom", LONG) as simulator:
        with pytest.raises(
            LusError, match=r"^phantom/none was not made: KeyError: 'phantom/none'$"
        ):
            simulator.make_row("phantom/none", Ledger())
        thread = threading.Thread(target=make)
        thread.start()
        while psutil.Process(simulator.process.pid).cpu_percent(0.1) < 10:
            pass
        simulator.stop()
        simulator.process.wait(timeout=10)
        thread.join(timeout=10)
    assert errors == [
        f"{name} was not made: its process was ended; run again, with fewer "
        "--workers if memory is low"
    ]


def test_a_clip_that_cannot_be_made_is_named():
    clips = SimulatedClips({"one": lambda: {"frames": np.zeros((1, 2, 2), np.uint8)}})
    with pytest.raises(LusError, match=r"^one was not made: SchemaError: "):
        clips.make_row("one")
