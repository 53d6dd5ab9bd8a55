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
NAMES = ("clip", "patient", "source")
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
"""Audit events that Python raises before it changes a folder."""


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
                names = {key: row[key].replace("phantom", "zzz") for key in NAMES}
                writer.add(make_row(frames_of(row), **names))
        assign_groups(work.folder, work.beside)
        store.record_source(work.folder, "zzz", {})
    return folder


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_store_is_whole_and_joined_after_a_kill_at_any_step(kind, earlier, tmp_path, request):
    def copy(number):
        if kind == "bucket":
            return request.getfixturevalue("bucket").copied(earlier)
        return Path(shutil.copytree(earlier, tmp_path / str(number)))

    before, whole = content(earlier), copy("whole")
    ingest("phantom", None, whole, **PHANTOM)
    after, history = content(whole), []
    for step in range(MOST_STEPS):
        path = copy(step)
        writer = SERVER.Process(target=ingest_and_die, args=(path, step, dict(os.environ)))
        writer.start()
        writer.join()
        clips, entries = content(path)
        history.append(clips)
        assert clips in (before[0], after[0])
        assert entries in (before[1], after[1])
        assert check.check_store(path).loose == ()
        if writer.exitcode == 0:
            break
        assert writer.exitcode == 9
        if len(phantom_shards(path)) > 1 or step % 8 == 0:
            ingest("phantom", None, path, **PHANTOM)
            assert content(path) == after
            assert len(phantom_shards(path)) == 1
            assert kind == "bucket" or not list(path.glob(".writing-*"))
    assert writer.exitcode == 0
    # The earlier store until one step, and from there on the new one.
    switch = history.index(after[0])
    assert 4 <= switch < len(history) - 1
    assert history == [before[0]] * switch + [after[0]] * (len(history) - switch)


def content(path):
    """Clips with records of sources, without the time that an ingest took; and the ledger."""
    sources = store.read_sources(path).items()
    records = {source: {**facts, "summary": None} for source, facts in sources}
    entries = ledger.read(paths.join(path, "ledger.jsonl"))
    return (store.fingerprint(store.read_index(path)), records), entries


def phantom_shards(path):
    """The shards of the source, also those that are not part of the store."""
    names = map(paths.basename, paths.list_files(paths.join(path, "clips")))
    return [name for name in names if name.startswith("phantom-")]


def ingest_and_die(path, step, environment):
    """Ingest and die just before the change of this number to the folder or to the storage."""
    os.environ.update(environment)  # the server of processes started before the storage
    left = step

    def dies():
        nonlocal left
        if left == 0:
            os._exit(9)
        left -= 1

    def hook(event, args):
        opened = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or (opened and str(path) in str(args[0])):
            dies()

    def dying(action):
        def instead(*args):
            dies()
            return action(*args)

        return instead

    if paths.is_remote(path):
        files._put = dying(files._put)  # in a process that ends with this function
        publishing._upload = dying(publishing._upload)
        publishing._delete = dying(publishing._delete)
    else:
        sys.addaudithook(hook)
        files.fsync = publishing.fsync = dying(files.fsync)
    ingest("phantom", None, path, **PHANTOM)
