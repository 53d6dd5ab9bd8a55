"""A training that is killed in an epoch continues alike from memory, a mapped file and a stream."""

from dataclasses import replace

import pytest

from lus_ray.clip import frames_of
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.loading import memmap
from lus_ray.data.loading.batches import InMemory, size_of
from lus_ray.training.loop import fit
from lus_ray.training.state import TrainingState
from tests.training.test_state import PLAIN, Grey, Killed, assert_equal, position_of, seeded

VIEW = Grey().view
SIZE = size_of(VIEW)
CLIPS = {"columns": ("severity",), "balance": "severity", "batch": 3}
FRAMES = {"columns": ("frame_severity",), "balance": "frame_severity", "batch": 4,
          "by_frame": True, "num_samples": 20}  # fmt: skip
RECIPE = replace(PLAIN, epochs=2)
KILLED_IN = (1, 2)


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


def train(pixels, rows, settings, path=None, *, killed_in=None):
    """The reports, the weights, and the steps whose batches were read."""
    task, log, steps = seeded(Grey), [], []
    epochs = pixels.epochs(rows, view=VIEW, seed=3, **settings)

    def data(epoch, start):
        for step, batch in enumerate(epochs(epoch, start), start):
            if (epoch, step) == killed_in:
                raise Killed
            steps.append((epoch, step))
            yield batch

    fit(
        task, batches=data, validate=lambda task: {"score": 0.0}, recipe=RECIPE, seed=3,
        report=log.append, state=path and TrainingState(path, every_s=0),
    )  # fmt: skip
    return log, task.state_dict(), steps


def check_resumes(pixels, data, settings, path):
    rows = store.read_index(data).to_pylist()
    memory = read(data)
    log, weights, steps = train(memory, rows, settings)
    with pytest.raises(Killed):
        train(pixels, rows, settings, path, killed_in=KILLED_IN)
    assert position_of(path) == KILLED_IN
    rest, restored, rest_steps = train(pixels, rows, settings, path)
    assert rest == log[KILLED_IN[0] :]
    assert rest_steps == steps[steps.index(KILLED_IN) :]
    assert_equal(restored, weights)


@pytest.mark.parametrize("settings", [CLIPS, FRAMES], ids=["clips", "frames"])
@pytest.mark.parametrize("transport", [read, map_file])
def test_training_resumes_in_an_epoch_from_these_transports(data, tmp_path, transport, settings):
    check_resumes(transport(data), data, settings, tmp_path / "state")


@pytest.mark.ray
@pytest.mark.parametrize("settings", [CLIPS, FRAMES], ids=["clips", "frames"])
def test_training_resumes_in_an_epoch_from_a_stream(ray_cluster, data, tmp_path, settings):
    check_resumes(stream(data), data, settings, tmp_path / "state")
