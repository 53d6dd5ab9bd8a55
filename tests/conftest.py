"""What tests share: the public clips where they are at hand, and a small store of phantoms."""

import os
import signal
import tempfile
from pathlib import Path

import jaxtyping
import pytest
import torch

from lus_ray.data.ingest.pipeline import ingest
from tests.object_storage import bucket as bucket

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so does a shell in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["LUS_CACHE"] = tempfile.mkdtemp(prefix="lus-cache-")  # and not the user's own

if "PYTEST_XDIST_WORKER" in os.environ:  # threads that wait for a CPU of another worker spin on one
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of public clips beside the checkout; a test that needs it is skipped without it."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the public clips are not here: no ../shared/data beside the checkout")
    return folder


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Annotations are not checked, as for users: the test gives what they forbid."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def phantom_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four phantom patients with two short clips each."""
    store = tmp_path_factory.mktemp("phantom") / "store"
    ingest("phantom", None, store, patients=24, clips=2, frames=8, size=64, masks="none")
    return store
