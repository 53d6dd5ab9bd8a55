"""`lus serve` against FastAPI and uvicorn around the same predictors, and its own latency.

Served: the backbone of the biomarkers study in its smoke size (4 frames of 48 x 48, two samples a
clip) and one expert of each label, on one fold, trained here. A request is one phantom video of 12
frames of 96 x 96 pixels: small models show the cost of the service.
Clips a second at equal p99: more and more closed-loop clients load both services in turn. The
baseline's p99 at its highest throughput bounds ours; each side counts with its best number of
clients within that. A time is the wall time for one clip. CPU seconds and memory are those of all
processes of a service, in MiB that no other process shares, with all that Ray needs.
Path: the latency for a single client beyond decoder and models one after the other in one process.
The baseline's path is the floor: HTTP on loopback, a queue, and three threads.
Every number of the responses of ours, the baseline and one process is equal to 1e-6.
"""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from lus_ray.bench.cell_runs import Runs, phantom_store
from lus_ray.bench.inputs import write_video
from lus_ray.bench.measure import Comparison, pair, refuse, torch_threads
from lus_ray.bench.server_process import ServerProcess, free_port, module_path, run_server
from lus_ray.data.decoding.decoder import FileDecoder
from lus_ray.data.ingest import phantom
from lus_ray.errors import LusError
from lus_ray.experiment import Experiment
from lus_ray.inference import model_selection
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.response import LocalPipeline
from lus_ray.inference.schema import to_dict
from lus_ray.orchestration import run_options

CLIENTS = (2, 4, 8, 16)
LOAD_S = 0.5
NUM_ALONE = 40
"""Clips of one client for the path, each beside one in this process."""

TOLERANCE = 1e-6
TARGET = 1.0
PATH_MS = 6.0
"""Of the composition, whose stages are processes of their own."""

BASELINE = "FastAPI, one process, batching"
BACKBONE = "biomarkers"
ARMS = (BACKBONE, *(f"MLP on {BACKBONE}, {label}" for label in ("severity", "sf_ratio", "disease")))
PHANTOM: dict[str, Any] = {"patients": 24, "clips": 2, "frames": 12, "size": 96}
COMPARED = ("lung_ultrasound", "biomarkers", "experts", "frames", "clip_scores", "masks")


def measure(
    repeats: int = 7, *, clients: Sequence[int] = CLIENTS, seconds: float = LOAD_S,
    num_alone: int = NUM_ALONE,
) -> dict[str, Comparison]:  # fmt: skip
    """Clips a second at equal p99, and the path of a request."""
    with phantom_store(**PHANTOM) as (root, data), ExitStack() as stack:
        run = Runs(experiment(), data, root).run_in_loop("served", 1, folds=(0,))
        file = write_clip(root)
        ours, theirs = (
            stack.enter_context(run_server([sys.executable, "-m", *command, str(port)], port=port))
            for command, port in zip(commands(run), (free_port(), free_port()), strict=True)
        )
        with torch_threads(1), in_process(run) as local:
            check_equal(request_clip(ours, file), local(file), "one process")
            check_equal(request_clip(ours, file), request_clip(theirs, file), BASELINE)
            path = measure_path(ours, local, file, num_alone, limit_ms=PATH_MS)
            floor = measure_path(theirs, local, file, num_alone)
        order, loaded = [("", ours), (BASELINE, theirs)], []
        for _ in range(repeats):
            order.reverse()
            loaded.append(
                {name: put_load(server, file, clients, seconds) for name, server in order}
            )
        memory_mb = {"": ours.memory_mb(), BASELINE: theirs.memory_mb()}
    return {
        "clips at equal p99": at_equal_p99(loaded, memory_mb),
        "path": path,
        f"path of {BASELINE}": floor,
    }


def experiment() -> Experiment:
    """The biomarkers study in smoke size with the served arms and no published numbers."""
    study = run_options.apply_options(run_options.find_experiment(BACKBONE), "smoke")
    return replace(study.only(ARMS), claims=(), published={})


def write_clip(folder: Path) -> Path:
    """A phantom clip as a video that a client sends."""
    (row,) = phantom.clips(**{**PHANTOM, "patients": 1, "clips": 1})
    path = folder / "clip.mp4"
    write_video(path, row["frames"])
    return path


def commands(run: Path) -> tuple[list[str], list[str]]:
    """The modules that serve a run, with all arguments but the port: ours and the baseline's."""
    return (
        ["lus_ray.cli", "serve", str(run), "--port"],
        ["lus_ray.bench.serve_baseline", str(run)],
    )


@dataclass(frozen=True)
class Loaded:
    """A service under load: seconds of each response, wall and CPU seconds a clip."""

    seconds: tuple[float, ...]
    wall_s: float
    cpu_s: float


Turn = Mapping[str, Mapping[int, Loaded]]
"""One repeat: loads by service and number of clients."""


def put_load(
    service: ServerProcess, file: Path, clients: Sequence[int], seconds: float
) -> dict[int, Loaded]:
    """Load by the number of clients, each for so many seconds."""
    results = {}
    for number in clients:
        command = [sys.executable, "-P", module_path("http_load"), service.url, str(file),
                   str(number), str(seconds)]  # fmt: skip
        before = service.cpu_s()
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            last = ended.stderr.strip().rpartition("\n")[-1]
            raise LusError(f"serve: {number} clients at once: {last}")
        report = json.loads(ended.stdout)
        num_clips = len(report["seconds"])
        cpu_s = (service.cpu_s() - before) / (num_clips + number)  # one request a client is untimed
        results[number] = Loaded(tuple(report["seconds"]), report["elapsed"] / num_clips, cpu_s)
    return results


def at_equal_p99(loaded: Sequence[Turn], memory_mb: Mapping[str, float]) -> Comparison:
    """Ours within the p99 of the baseline at its highest throughput."""
    theirs = best_clients(loaded, BASELINE, within_s=np.inf)
    ours = best_clients(loaded, "", within_s=p99_s(loaded, BASELINE, theirs))
    wall_s, cpu_s = {}, {}
    for name, number in (("", ours), (BASELINE, theirs)):
        loads = [turn[name][number] for turn in loaded]
        wall_s[name] = np.array([load.wall_s for load in loads])
        cpu_s[name] = float(np.median([load.cpu_s for load in loads]))
    baseline = pair(
        BASELINE, wall_s[BASELINE], wall_s[""],
        cpu_s=cpu_s[BASELINE], peak_mb=memory_mb[BASELINE],
    )  # fmt: skip
    return Comparison(
        repeats=len(loaded), threads=1, wall_ms=1000 * float(np.median(wall_s[""])),
        cpu_s=cpu_s[""], peak_mb=memory_mb[""], baselines=(baseline,), target=TARGET,
    )  # fmt: skip


def best_clients(loaded: Sequence[Turn], name: str, *, within_s: float) -> int:
    """The number of clients with the highest throughput within a p99, else with the lowest p99."""
    clients = list(loaded[0][name])
    fit = [number for number in clients if p99_s(loaded, name, number) <= within_s]
    if not fit:
        return min(clients, key=lambda number: p99_s(loaded, name, number))
    return min(fit, key=lambda number: np.median([turn[name][number].wall_s for turn in loaded]))


def p99_s(loaded: Sequence[Turn], name: str, number: int) -> float:
    """The p99 of all responses of all repeats to so many clients."""
    return float(np.percentile([s for turn in loaded for s in turn[name][number].seconds], 99))


@contextmanager
def in_process(run: Path) -> Iterator[Callable[[Path], dict[str, Any]]]:
    """Decoder and models one after the other in this process: what `lus predict FILE` does."""
    limits, local = ServiceLimits(), LocalPipeline(model_selection.select_models([run]))
    with closing(FileDecoder(limits.clip, max_side=limits.max_side)) as decoder:
        yield lambda file: to_dict(local.predict(decoder.decode(file)))


def measure_path(
    service: ServerProcess,
    local: Callable[[Path], object],
    file: Path,
    num_clips: int,
    *,
    limit_ms: float | None = None,
) -> Comparison:
    """The latency of the service beyond that of this process; CPU seconds over all of that time."""
    extra_s, before = np.empty(num_clips), 0.0
    for number in range(-num_clips // 4, num_clips):
        if number == 0:
            before = service.cpu_s()
        began = time.perf_counter()
        request_clip(service, file)
        middle = time.perf_counter()
        local(file)
        if number >= 0:
            extra_s[number] = (middle - began) - (time.perf_counter() - middle)
    return Comparison(
        repeats=num_clips, threads=1, wall_ms=1000 * float(np.median(extra_s)),
        cpu_s=(service.cpu_s() - before) / num_clips, peak_mb=0.0, baselines=(), target=limit_ms,
    )  # fmt: skip


def request_clip(service: ServerProcess, file: Path) -> dict[str, Any]:
    """The response of a service to a file."""
    request = urllib.request.Request(
        f"{service.url}/v1/clips", file.read_bytes(), {"Content-Type": "application/octet-stream"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return dict(json.load(response))


def check_equal(ours: Mapping[str, Any], theirs: Mapping[str, Any], name: str) -> None:
    """Raise LusError, naming field and values, if responses differ by more than 1e-6."""
    fields, other_fields = (
        flatten_json({"clip": response["clip"]["sha256"], **{p: response[p] for p in COMPARED}})
        for response in (ours, theirs)
    )
    pairs = zip_longest(fields, other_fields, fillvalue=("the end", None))
    for (field, value), (other_field, other_value) in pairs:
        is_equal = field == other_field and (
            np.isclose(value, other_value, rtol=0, atol=TOLERANCE)
            if isinstance(value, float) and isinstance(other_value, float)
            else value == other_value
        )
        if not is_equal:
            refuse(
                f"serve: {name} returns {other_value} at {other_field} where ours returns {value} "
                f"at {field}"
            )


def flatten_json(value: Any, field: str = "") -> list[tuple[str, Any]]:
    """The scalar values of a JSON response by field."""
    if isinstance(value, Mapping):
        parts = [(f"{field}.{key}".lstrip("."), part) for key, part in value.items()]
    elif isinstance(value, list):
        parts = [(f"{field}[{number}]", part) for number, part in enumerate(value)]
    else:
        return [(field, value)]
    return [leaf for name, part in parts for leaf in flatten_json(part, name)]
