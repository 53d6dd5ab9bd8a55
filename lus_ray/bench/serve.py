"""`lus serve` against FastAPI and uvicorn around the same predictors, and its own latency.

Served: the backbone of the biomarkers study in its smoke size (4 frames of 48 x 48, two samples a
clip) and one expert of each label, on one fold, trained here. A request is one phantom video of 12
frames of 96 x 96 pixels: small models show the cost of the service.
Clips a second at equal p99: more and more closed-loop clients load both services in turn. The
rival's p99 at its highest throughput bounds ours; each side counts with its best number of
clients within that. A time is the wall time for one clip. CPU seconds are those of all processes
of a service.
Path: the latency for a single client beyond decoder and models one after the other in one process.
The rival's path is the floor: HTTP on loopback, a queue, and three threads.
Started: seconds until the service answers. Idle: CPU time of all its processes in a second.
"""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from lus_ray.bench.cell_runs import Runs, new_processes, phantom_store
from lus_ray.bench.inputs import write_video
from lus_ray.bench.measure import (
    Result,
    Timings,
    compare_timings,
    refuse,
    single_result,
    torch_threads,
)
from lus_ray.bench.server_process import RESPONSE_S, ServerProcess, load, post_clip, run_server
from lus_ray.data.decoding.decoder import FileDecoder
from lus_ray.data.ingest import phantom
from lus_ray.inference import model_selection
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.response import LocalPipeline
from lus_ray.inference.schema import to_dict
from lus_ray.orchestration import run_options

TOLERANCE = 1e-6
READY_MS, IDLE_MS, IDLE_S = 15_000.0, 30.0, 5.0


@dataclass(frozen=True)
class Variant:
    """Options of `lus serve`, the milliseconds of its path, and its ratio of clips if measured.

    Fewer `turns` where the ratio is far from its target.
    """

    options: tuple[str, ...]
    path_ms: float
    ratio: float | None = None
    turns: int = 5


VARIANTS = {
    "one process": Variant(("--layout", "colocated", "--replicas", "1"), 3.0, 0.95),
    "two processes": Variant(("--layout", "colocated", "--replicas", "2"), 3.0, 1.3, turns=3),
    "composed": Variant(("--layout", "composed", "--replicas", "1"), 6.0),
}
RIVAL = "FastAPI, one process, batching"
BACKBONE = "biomarkers"
ARMS = (BACKBONE, *(f"MLP on {BACKBONE}, {label}" for label in ("severity", "sf_ratio", "disease")))
PHANTOM: dict[str, Any] = {"patients": 24, "clips": 2, "frames": 12, "size": 96}
COMPARED = ("lung_ultrasound", "biomarkers", "experts", "frames", "clip_scores", "masks")


def compare(
    *,
    turns: int = 5,
    clients: Sequence[int] = (4, 8, 16),
    seconds: float = 0.5,
    num_alone: int = 40,
    variants: Sequence[str] = tuple(VARIANTS),
) -> Iterator[tuple[str, Result]]:
    """Clips a second at equal p99; the path of `num_alone` clips, each beside one in this process.

    Each number of clients loads a service for so many seconds.
    """
    study = run_options.apply_options(run_options.find_experiment(BACKBONE), "smoke")
    study = replace(study.only(ARMS), claims=(), published={})
    with phantom_store(**PHANTOM) as (root, data), ExitStack() as stack:
        run = Runs(study, data, root).run_alone("served", folds=(0,))
        (row,) = phantom.clips(**{**PHANTOM, "patients": 1, "clips": 1})
        file = root / "clip.mp4"
        write_video(file, row["frames"])
        theirs = stack.enter_context(run_server("lus_ray.bench.serve_rival", str(run)))
        limits, models = ServiceLimits(), LocalPipeline(model_selection.select_models([run]))
        decoder = stack.enter_context(FileDecoder(limits.clip, max_side=limits.max_side))
        stack.enter_context(torch_threads(1))
        pool = stack.enter_context(new_processes(1))
        sending = {"pool": pool, "body": file.read_bytes(), "seconds": seconds}

        def local(file: Path) -> dict[str, Any]:
            return to_dict(models.predict(decoder.decode(file)))

        yield f"path of {RIVAL}", measure_path(theirs, local, file, num_alone)
        for name in variants:
            variant, command = VARIANTS[name], ("lus_ray.cli", "serve", str(run))
            with run_server(*command, *variant.options, "--port") as ours:
                check_equal(request_clip(ours, file), local(file), "one process")
                check_equal(request_clip(ours, file), request_clip(theirs, file), RIVAL)
                yield f"started, {name}", single_result(1e3 * ours.ready_s, READY_MS)
                limit_ms = variant.path_ms
                yield f"path, {name}", measure_path(ours, local, file, num_alone, limit_ms=limit_ms)
                if variant.ratio is not None:
                    services = {"": ours, RIVAL: theirs}
                    loaded = put_loads(services, min(turns, variant.turns), clients, **sending)
                    clips = at_equal_p99(loaded, target=variant.ratio)
                    yield f"clips at equal p99, {name}", clips
                before = ours.cpu_s()
                time.sleep(IDLE_S)
                idle_ms = 1e3 * (ours.cpu_s() - before) / IDLE_S
                yield f"idle, {name}", single_result(idle_ms, IDLE_MS)


@dataclass(frozen=True)
class Loaded:
    """A service under load: seconds of each response, wall and CPU seconds a clip."""

    seconds: tuple[float, ...]
    wall_s: float
    cpu_s: float


Turn = Mapping[str, Mapping[int, Loaded]]
"""One repeat: loads by service and number of clients."""


def put_loads(
    services: dict[str, ServerProcess], turns: int, clients: Sequence[int], **options: Any
) -> list[Turn]:
    """The loads of both services in turn, the first one last in the next turn."""
    return [
        {
            name: {number: put_load(services[name], number, **options) for number in clients}
            for name in (services if turn % 2 else reversed(services))
        }
        for turn in range(turns)
    ]


def put_load(
    service: ServerProcess, clients: int, *, pool: Executor, body: bytes, seconds: float
) -> Loaded:
    before = service.cpu_s()
    sending = pool.submit(load, service.url, body, clients=clients, seconds=seconds)
    spent, elapsed = sending.result()
    cpu_s = (service.cpu_s() - before) / (len(spent) + clients)  # one request a client is untimed
    return Loaded(tuple(spent), elapsed / len(spent), cpu_s)


def at_equal_p99(loaded: Sequence[Turn], *, target: float) -> Result:
    """Ours within the p99 of the rival at its highest throughput."""
    theirs = best_clients(loaded, RIVAL, within_s=np.inf)
    ours = best_clients(loaded, "", within_s=p99_s(loaded, RIVAL, theirs))

    def timings(name: str, number: int) -> Timings:
        loads = [turn[name][number] for turn in loaded]
        cpu_s = float(np.median([load.cpu_s for load in loads]))
        return Timings(np.array([load.wall_s for load in loads]), cpu_s)

    rivals = {RIVAL: timings(RIVAL, theirs)}
    return compare_timings(timings("", ours), rivals, target=target)


def best_clients(loaded: Sequence[Turn], name: str, *, within_s: float) -> int:
    """The number of clients with the highest throughput within a p99, else with the lowest p99."""
    p99 = {number: p99_s(loaded, name, number) for number in loaded[0][name]}
    if fit := [number for number in p99 if p99[number] <= within_s]:
        return min(fit, key=lambda n: np.median([turn[name][n].wall_s for turn in loaded]))
    return min(p99, key=lambda number: p99[number])


def p99_s(loaded: Sequence[Turn], name: str, number: int) -> float:
    return float(np.percentile([s for turn in loaded for s in turn[name][number].seconds], 99))


def measure_path(
    service: ServerProcess,
    local: Callable[[Path], object],
    file: Path,
    num_clips: int,
    *,
    limit_ms: float | None = None,
) -> Result:
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
    cpu_s = (service.cpu_s() - before) / num_clips
    return compare_timings(Timings(extra_s, cpu_s), {}, target=limit_ms)


def request_clip(service: ServerProcess, file: Path) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=RESPONSE_S)
    with closing(connection):
        return dict(json.loads(post_clip(connection, file.read_bytes())))


def check_equal(ours: Mapping[str, Any], theirs: Mapping[str, Any], name: str) -> None:
    """Raise LusError, naming field and values, if responses differ by more than 1e-6."""
    fields, others = (
        dict(flatten_json({"clip": r["clip"]["sha256"], **{part: r[part] for part in COMPARED}}))
        for r in (ours, theirs)
    )
    for field in fields | others:
        value, other = fields.get(field, "nothing"), others.get(field, "nothing")
        is_equal = value == other
        if isinstance(value, float) and isinstance(other, float):
            is_equal |= abs(value - other) <= TOLERANCE
        if not is_equal:
            refuse(f"serve: {name} returns {other} at {field} where ours returns {value}")


def flatten_json(value: Any, field: str = "") -> list[tuple[str, Any]]:
    """The scalar values of a JSON response by field."""
    if isinstance(value, Mapping):
        parts = [(f"{field}.{key}".lstrip("."), part) for key, part in value.items()]
    elif isinstance(value, list):
        parts = [(f"{field}[{number}]", part) for number, part in enumerate(value)]
    else:
        return [(field, value)]
    return [leaf for name, part in parts for leaf in flatten_json(part, name)]
