"""Shared fixtures: public clips where available, a small phantom store, a Ray cluster, `lus`."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import jaxtyping
import pytest
import torch
from filelock import FileLock

from lus_ray.data.ingest.pipeline import ingest
from tests.object_storage import Bucket
from tests.object_storage import bucket as bucket

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so does a shell in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["LUS_CACHE"] = tempfile.mkdtemp(prefix="lus-cache-")  # and not the user's own

if "PYTEST_XDIST_WORKER" in os.environ:  # threads that wait for a CPU of another worker spin on one
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

# A busy machine is slower than Hypothesis allows by default.
hypothesis.settings.register_profile("lus", deadline=None, max_examples=40)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=200)
hypothesis.settings.load_profile("lus")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of public clips beside the checkout; skips without it."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the public clips are not here: no ../shared/data beside the checkout")
    return folder


# Whole runs call array functions a million times; their own tests, and `make test-all`, check them.
WHOLE_RUNS = (
    "api", "bench", "cli", "evaluation", "external_validation", "inference", "report", "runs",
    "test_arms.py",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick-runs",
        action="store_true",
        help="check annotations of arrays only where functions are tested alone, not in whole runs",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    part = item.path.relative_to(ROOT / "tests").parts[0]
    is_off = item.config.getoption("--quick-runs") and part in WHOLE_RUNS
    jaxtyping.config.update("jaxtyping_disable", is_off)
    return (yield)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off the checks of annotations, as for users."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def phantom_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four phantom patients with two short clips each."""

    def make(folder: Path) -> None:
        options = {"patients": 24, "clips": 2, "frames": 8, "size": 64, "masks": "none"}
        ingest("phantom", None, folder / "store", **options)

    return make_once(tmp_path_factory, "phantom", make) / "store"


def make_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """A folder that the first worker to need it makes for all of them."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, made = root / name, root / f"{name}.made"
    with FileLock(root / f"{name}.lock"):
        if not made.exists():
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file without a marked test for `-m ray...`: all of them take twenty seconds."""
    is_other = collection_path.name.startswith("test_") and config.option.markexpr.startswith("ray")
    return True if is_other and "mark.ray" not in collection_path.read_text() else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of trained runs as slow, and start the shared cluster last.

    No test with a cluster of its own then runs beside the shared one.
    """
    fixtures = {item: getattr(item, "fixturenames", ()) for item in items}
    for item in items:
        if "runs" in fixtures[item]:
            item.add_marker("slow")
    items.sort(key=lambda item: "ray_cluster" in fixtures[item])


@pytest.fixture(scope="session")
def ray_cluster(bucket: Bucket) -> Iterator[str]:
    """The address of the cluster that campaigns, searches and workers share.

    Its processes know the bucket, as they take their environment when they start.
    """
    # Ray Train looks every two seconds otherwise.
    with local_cluster(
        num_cpus=2, variables={"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}
    ) as address:
        yield address


@contextlib.contextmanager
def local_cluster(*, variables: Mapping[str, str] | None = None, **settings: Any) -> Iterator[str]:
    """Connect this process to a cluster of its own on loopback, started with these variables."""
    import ray

    from lus_ray.orchestration.cluster import connection

    with pytest.MonkeyPatch.context() as patch:
        for name, value in (connection.QUIET | dict(variables or {})).items():
            patch.setenv(name, value)
        context = ray.init(
            address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR",
            _node_ip_address="127.0.0.1", **settings,
        )  # fmt: skip
        yield context.address_info["gcs_address"]
        ray.shutdown()


@pytest.fixture(scope="session")
def lus() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`lus("run", ...)` runs the command in a process of its own and returns what it did."""

    def command(*words: object, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lus_ray.cli", *map(str, words)],
            capture_output=True, text=True, timeout=timeout, cwd=ROOT, check=False,
        )  # fmt: skip

    return command
