"""An ingest on a cluster: the store of one process, also after a worker is killed."""

import os
import signal

import psutil
import pytest

from lus_ray.data import ledger, store
from lus_ray.data.ingest import parts
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.errors import InputError
from lus_ray.orchestration.cluster_ingest import ingest_on_cluster

PHANTOM = {"patients": 6, "clips": 2, "frames": 3, "size": 64}


def content(path):
    sources = store.read_sources(path).items()
    records = {source: {**facts, "summary": None} for source, facts in sources}
    return list(store.read(path)), records, ledger.read(path / "ledger.jsonl")


def test_workers_are_those_of_the_cluster(tmp_path):
    with pytest.raises(InputError, match="--workers is for this machine alone"):
        ingest_on_cluster("auto", "phantom", None, tmp_path / "store", workers=2)


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_ingests_as_one_process_does_also_if_a_worker_is_killed(
    ray_cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(parts, "FEWEST_CLIPS", 2)
    killed = []

    def kill_one(done, *_):
        if not killed:
            every = psutil.process_iter(["cmdline"])  # None of one that ends meanwhile
            names = {p.pid: " ".join(p.info["cmdline"] or ()) for p in every}
            killed.extend(pid for pid, name in names.items() if "MapWorker" in name)
            os.kill(killed[0], signal.SIGKILL)

    ingest("phantom", None, tmp_path / "here", **PHANTOM)
    ingest_on_cluster("auto", "phantom", None, tmp_path / "there", **PHANTOM, progress=kill_one)
    assert killed
    assert content(tmp_path / "there") == content(tmp_path / "here")
