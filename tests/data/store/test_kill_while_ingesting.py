"""An ingest killed at whichever step: the store is as it was or as it is to be, and joined."""

import multiprocessing
import os
import shutil
import sys
from pathlib import Path

import pytest

from lus_ray.clip import frames_of, make_row
from lus_ray.data import check, ledger, store
from lus_ray.data.duplicates.groups import assign_groups
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.store import publishing
from lus_ray.storage import files, paths

PHANTOM = {"patients": 2, "clips": 2, "frames": 4, "size": 64, "masks": "none", "workers": 1}
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([__name__])
MOST_STEPS = 99
PAIR = ("clip", "patient")
MADE = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
"""What Python tells of changes to a folder before they are made, beside files it opens to write."""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A store of the phantom's clips under names of another source, and an earlier phantom."""
    folder = tmp_path_factory.mktemp("earlier") / "store"
    ingest("phantom", None, folder, **PHANTOM)
    rows = list(store.read(folder))
    ingest("phantom", None, folder, **PHANTOM, seed=1)
    with store.stage_source(folder, "zzz") as work:
        with store.Writer(work.folder, "zzz") as writer:
            for row in rows:
                clip, patient = (row[name].replace("phantom/", "zzz/") for name in PAIR)
                writer.add(make_row(frames_of(row), clip=clip, patient=patient, source="zzz"))
        assign_groups(work.folder, work.beside)
        store.record_source(work.folder, "zzz", {})
    return folder


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_store_is_whole_and_joined_whichever_step_of_an_ingest_is_the_last(
    kind, earlier, tmp_path, request
):
    def lain(number):
        if kind == "bucket":
            return request.getfixturevalue("bucket").copied(earlier)
        return Path(shutil.copytree(earlier, tmp_path / str(number)))

    before, whole = facts(earlier), lain("whole")
    ingest("phantom", None, whole, **PHANTOM)
    after, seen = facts(whole), []
    for step in range(MOST_STEPS):
        place = lain(step)
        writer = SERVER.Process(target=ingest_and_die, args=(place, step, dict(os.environ)))
        writer.start()
        writer.join()
        found = facts(place)
        seen.append(found["clips"])
        assert found["clips"] in (before["clips"], after["clips"])
        assert found["ledger"] in (before["ledger"], after["ledger"])
        assert check.check_store(place).loose == ()
        if writer.exitcode == 0:
            break
        assert writer.exitcode == 9
        if len(phantoms(place)) > 1 or step % 8 == 0:
            ingest("phantom", None, place, **PHANTOM)
            assert facts(place) == after
            assert len(phantoms(place)) == 1
            assert kind == "bucket" or not list(place.glob(".writing-*"))
    assert writer.exitcode == 0
    # The earlier store until one step, and from there on the new one.
    switch = seen.index(after["clips"])
    assert 4 <= switch < len(seen) - 1
    assert seen == [before["clips"]] * switch + [after["clips"]] * (len(seen) - switch)


def facts(place):
    """What a reader of a store can tell of it; the time that an ingest took is left out."""
    notes = {
        source: {**told, "summary": None} for source, told in store.read_sources(place).items()
    }
    return {
        "clips": (store.fingerprint(store.read_index(place)), notes),
        "ledger": ledger.read(paths.join(place, "ledger.jsonl")),
    }


def phantoms(place):
    """The shards of the source that lie there, of the store or not."""
    found = map(paths.basename, paths.list_files(paths.join(place, "clips")))
    return [name for name in found if name.startswith("phantom-")]


def ingest_and_die(place, step, environment):
    """Ingest and die just before the change of this number to the folder or to the storage."""
    os.environ.update(environment)  # that of the storage; the server of processes began earlier
    left = step

    def dies():
        nonlocal left
        if left == 0:
            os._exit(9)
        left -= 1

    def hook(event, args):
        opened = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)
        if event in MADE or (opened and str(place) in str(args[0])):
            dies()

    def dying(action):
        def instead(*args):
            dies()
            return action(*args)

        return instead

    if paths.is_remote(place):
        files._put = dying(files._put)  # in a process that ends with this function
        publishing._upload = dying(publishing._upload)
        publishing._delete = dying(publishing._delete)
    else:
        sys.addaudithook(hook)
        files.fsync = publishing.fsync = dying(files.fsync)
    ingest("phantom", None, place, **PHANTOM)
