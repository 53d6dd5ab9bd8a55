"""A training that is killed in an epoch continues alike from memory, a mapped file and a stream.

One worker or two of them, each with its share of the batches, and single frames within a window.
"""

from dataclasses import replace

import pytest
import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from lus_ray.clip import frames_of
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.loading import memmap
from lus_ray.data.loading.batches import InMemory, size_of
from lus_ray.training import state as state_module
from lus_ray.training.loop import fit
from lus_ray.training.state import TrainingState
from tests.training.test_state import PLAIN, Grey, Killed, assert_equal, position_of, seeded

VIEW = Grey().view
SIZE = size_of(VIEW)
CLIPS = {"columns": ("severity",), "balance": "severity", "batch": 3}
FRAMES = {"columns": ("frame_severity",), "balance": "frame_severity", "batch": 4,
          "by_frame": True, "num_samples": 20, "window": 3}  # fmt: skip
RECIPE = replace(PLAIN, epochs=2)
KILLED_IN = (1, 2)
"""Epoch and step; two workers agree whether to save after every second step."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume") / "store"
    ingest("phantom", None, folder, patients=8, clips=1, frames=3, size=64, masks="none")
    return folder


def read(data):
    return InMemory({SIZE: {c["clip"]: VIEW.resize(frames_of(c)) for c in store.read(data)}})


def map_file(data):
    return memmap.attach(memmap.plan_files(data, {SIZE}, set()))


def stream(data):
    from lus_ray.data.loading.streaming import StreamedFrames

    return StreamedFrames(str(data))


def train(pixels, rows, settings, path=None, *, killed_in=None, rank=0, workers=1):
    """The reports, the weights, and the steps whose batches were read, by one of the workers."""
    task, log, steps = seeded(Grey), [], []
    epochs = pixels.epochs(rows, view=VIEW, seed=3, rank=rank, workers=workers, **settings)

    def data(epoch, start):
        for step, batch in enumerate(epochs(epoch, start), start):
            if (epoch, step) == killed_in:
                raise Killed
            steps.append((epoch, step))
            yield batch

    fit(
        task, batches=data, validate=lambda task: {"score": 0.0}, recipe=RECIPE, seed=3,
        report=log.append, rank=rank, prepare=DistributedDataParallel if workers > 1 else None,
        state=path and TrainingState(path, every_s=0, num_workers=workers),
    )  # fmt: skip
    return log, task.state_dict(), steps


def open_pixels(transport, data):
    """The rows of the clips, and their frames in memory and by a transport."""
    return store.read_index(data).to_pylist(), read(data), transport(data)


def check_resumes(rows, memory, pixels, settings, path, *, blocks=None, **place):
    """Killed and resumed, against undisturbed from memory; `place` is rank and workers.

    Both parts have `blocks` of Ray Data, where it takes part.
    """
    log, weights, steps = train(memory, rows, settings, **place)
    with pytest.raises(Killed):
        train(pixels, rows, settings, path, killed_in=KILLED_IN, **place)
    if place:
        distributed.barrier()  # the first worker has written the state of both
    assert position_of(path) == KILLED_IN
    num_blocks = len(blocks or ())
    rest, restored, rest_steps = train(pixels, rows, settings, path, **place)
    assert rest == log[KILLED_IN[0] :]
    assert rest_steps == steps[steps.index(KILLED_IN) :]
    assert_equal(restored, weights)
    assert blocks is None or len(blocks) > num_blocks > 0


def check_resumes_on_worker(rank, opened, settings, folder, **more):
    torch.set_num_threads(1)  # OpenMP's threads, as Arrow's, do not survive a fork
    state_module.SYNC_STEPS = KILLED_IN[1]
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    check_resumes(*opened, settings, folder / "state", rank=rank, workers=2, **more)
    distributed.destroy_process_group()


def check_with_ray_data(check, *arguments):
    """A check in which Ray Data reads blocks for this process."""
    from tests.ray_data import join_short_streams

    blocks = []
    with pytest.MonkeyPatch.context() as patch:
        join_short_streams(patch, lambda: blocks.append(1))
        check(*arguments, blocks=blocks)


@pytest.mark.parametrize("settings", [CLIPS, FRAMES], ids=["clips", "frames"])
@pytest.mark.parametrize("transport", [read, map_file])
def test_training_resumes_in_an_epoch_from_these_transports(data, tmp_path, transport, settings):
    check_resumes(*open_pixels(transport, data), settings, tmp_path / "state")


@pytest.mark.slow
@pytest.mark.parametrize("transport", [read, map_file])
def test_two_workers_resume_in_an_epoch_from_these_transports(data, tmp_path, transport):
    arguments = (open_pixels(transport, data), FRAMES, tmp_path)
    multiprocessing.start_processes(
        check_resumes_on_worker, arguments, nprocs=2, start_method="fork"
    )


@pytest.mark.ray
@pytest.mark.parametrize("settings", [CLIPS, FRAMES], ids=["clips", "frames"])
def test_training_resumes_in_an_epoch_from_a_stream(ray_cluster, data, tmp_path, settings):
    opened = open_pixels(stream, data)
    check_with_ray_data(check_resumes, *opened, settings, tmp_path / "state")


@pytest.mark.ray
def test_two_workers_resume_in_an_epoch_from_a_stream(ray_cluster, data, tmp_path):
    import ray

    opened = open_pixels(stream, data)
    worker = ray.remote(num_cpus=0, max_calls=1)(check_with_ray_data)
    checks = [
        worker.remote(check_resumes_on_worker, rank, opened, FRAMES, tmp_path) for rank in range(2)
    ]
    ray.get(checks)
