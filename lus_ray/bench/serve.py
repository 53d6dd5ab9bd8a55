"""`lus serve` against FastAPI and uvicorn around the same predictors, and what its path adds.

What is served: the backbone of the biomarkers study in its smoke size (4 frames of 48 x 48, two
samples a clip) and one expert of each label, trained by this bench. What is asked: one phantom
film of 12 frames of 96 x 96 pixels, in MP4. Small on purpose: the less a model computes, the more
of a request is the service's own.
Clips a second at equal p99: clients that ask again at once, of whom there are more and more, put
both services under load in turn. The rival's p99 where it answers most is what ours may take at
most; each side counts with the number of clients with which it answers most within that. A time is
the wall time for one clip, so that a ratio of 2 is twice as many clips a second. Answers of all
repeats together give a p99. CPU seconds and memory are those of all processes of a service, in
MiB that no other process shares, with all that Ray needs.
The path: from a client that is alone, what an answer takes more than decoder and models one after
the other in one process. Stages that `lus serve` has at work at the same time come off that.
What is equal: every number of the answers, to 1e-6, in ours, the rival's and one process.
The rival's path, which has no limit, is the floor: HTTP on loopback, a queue, and three threads.
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from lus_ray.bench import serve_fixture
from lus_ray.bench.http_server import Hosted, free_port, hosted, script
from lus_ray.bench.measure import Measured, Rival, median_interval, threads
from lus_ray.data.decoding.decoder import FileDecoder
from lus_ray.errors import LusError
from lus_ray.inference import model_selection
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.response import LocalPipeline
from lus_ray.inference.schema import to_dict

CLIENTS = (2, 4, 8, 16)
LOAD_S = 0.5
NUM_ALONE = 40
"""Clips of one client for the path, each beside one in this process."""

TOLERANCE = 1e-6
TARGET = 1.0
PATH_MS = 6.0
"""Of the composition, whose stages are processes of their own."""

RIVAL = "FastAPI, one process, batching"
COMPARED = ("lung_ultrasound", "biomarkers", "experts", "frames", "clip_scores", "masks")


def measure(
    repeats: int = 7, *, clients: Sequence[int] = CLIENTS, seconds: float = LOAD_S,
    num_alone: int = NUM_ALONE,
) -> dict[str, Measured]:  # fmt: skip
    """Clips a second at equal p99, and the path of a request.

    Raises:
        LusError: a service does not start, or the answers of two differ.
    """
    with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder, ExitStack() as stack:
        run, file = serve_fixture.trained(Path(folder)), serve_fixture.film(Path(folder))
        ours, theirs = (
            stack.enter_context(hosted([sys.executable, "-m", *command, str(port)], port=port))
            for command, port in zip(commands(run), (free_port(), free_port()), strict=True)
        )
        with threads(1), Here(run) as here:
            said = here(file)
            check_equal(asked(ours, file), said, "one process")
            check_equal(asked(ours, file), asked(theirs, file), RIVAL)
            path = measured_path(ours, here, file, num_alone, limit_ms=PATH_MS)
            floor = measured_path(theirs, here, file, num_alone)
        loaded = [
            {name: under_load(service, file, clients, seconds) for name, service in turn}
            for turn in in_turn({"": ours, RIVAL: theirs}, repeats)
        ]
        held = {"": ours.held_mb(), RIVAL: theirs.held_mb()}
    return {
        "clips at equal p99": at_equal_p99(loaded, held),
        "path": path,
        f"path of {RIVAL}": floor,
    }


def commands(run: Path) -> tuple[list[str], list[str]]:
    """Modules that serve a run, with all arguments but the last, a port: ours and the rival's."""
    return (
        ["lus_ray.cli", "serve", str(run), "--port"],
        ["lus_ray.bench.serve_rival", str(run)],
    )


def in_turn(services: Mapping[str, Hosted], repeats: int) -> list[list[tuple[str, Hosted]]]:
    """Each service once a repeat, the other one first every other time."""
    order = list(services.items())
    return [order if number % 2 else order[::-1] for number in range(repeats)]


@dataclass(frozen=True)
class Loaded:
    """What a service did under load: seconds of each answer, and wall and CPU seconds a clip."""

    seconds: tuple[float, ...]
    wall_s: float
    cpu_s: float


def under_load(
    service: Hosted, file: Path, clients: Sequence[int], seconds: float
) -> dict[int, Loaded]:
    """By the number of clients, from few to many, what a service answers in so many seconds."""
    found = {}
    for number in clients:
        command = [sys.executable, "-P", script("http_load"), service.url, str(file),
                   "--clients", str(number), "--seconds", str(seconds)]  # fmt: skip
        before = service.cpu_s()
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            last = ended.stderr.strip().rpartition("\n")[-1]
            raise LusError(f"serve: {number} clients at once: {last}")
        said = json.loads(ended.stdout)
        num_clips = len(said["seconds"])
        cpu_s = (service.cpu_s() - before) / (num_clips + number)  # each asks once before the clock
        found[number] = Loaded(tuple(said["seconds"]), said["elapsed"] / num_clips, cpu_s)
    return found


def at_equal_p99(
    loaded: Sequence[Mapping[str, Mapping[int, Loaded]]], held_mb: Mapping[str, float]
) -> Measured:
    """Ours within the p99 that the rival has where it answers most."""
    theirs = best(loaded, RIVAL, within_s=np.inf)
    ours = best(loaded, "", within_s=p99_s(loaded, RIVAL, theirs))
    mine = np.array([turn[""][ours].wall_s for turn in loaded])
    other = np.array([turn[RIVAL][theirs].wall_s for turn in loaded])
    ratios = other / mine
    low, high = median_interval(ratios, rng=np.random.default_rng(0))
    return Measured(
        repeats=len(loaded),
        threads=1,
        wall_ms=1000 * float(np.median(mine)),
        cpu_s=float(np.median([turn[""][ours].cpu_s for turn in loaded])),
        peak_mb=held_mb[""],
        rivals=(
            Rival(
                name=RIVAL,
                wall_ms=1000 * float(np.median(other)),
                cpu_s=float(np.median([turn[RIVAL][theirs].cpu_s for turn in loaded])),
                peak_mb=held_mb[RIVAL],
                ratio=float(np.median(ratios)),
                low=low,
                high=high,
            ),
        ),
        target=TARGET,
    )


def best(
    loaded: Sequence[Mapping[str, Mapping[int, Loaded]]], name: str, *, within_s: float
) -> int:
    """The clients with which a service answers most, of those with a p99 within some seconds.

    Where no number has, the one with the lowest p99.
    """
    clients = list(loaded[0][name])
    fit = [number for number in clients if p99_s(loaded, name, number) <= within_s]
    if not fit:
        return min(clients, key=lambda number: p99_s(loaded, name, number))
    return min(fit, key=lambda number: np.median([turn[name][number].wall_s for turn in loaded]))


def p99_s(loaded: Sequence[Mapping[str, Mapping[int, Loaded]]], name: str, number: int) -> float:
    """Of all answers of all repeats to so many clients."""
    every = [second for turn in loaded for second in turn[name][number].seconds]
    return float(np.percentile(every, 99))


class Here:
    """Decoder and models one after the other in this process: what `lus predict FILE` does."""

    def __init__(self, run: Path) -> None:
        limits = ServiceLimits()
        self.local = LocalPipeline(model_selection.select_models([run]))
        self.decoder = FileDecoder(limits.clip, max_side=limits.max_side)

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *error: object) -> None:
        self.decoder.close()

    def __call__(self, file: Path) -> dict[str, Any]:
        """The answer to a file."""
        return to_dict(self.local.predict(self.decoder.decode(file)))


def measured_path(
    service: Hosted, here: Here, file: Path, num_clips: int, *, limit_ms: float | None = None
) -> Measured:
    """What an answer of the service takes more than one of this process, in turn.

    CPU seconds are those of the service over all of that time, as it never rests altogether.
    """
    over, before = np.empty(num_clips), 0.0
    for number in range(-num_clips // 4, num_clips):
        if number == 0:
            before = service.cpu_s()
        began = time.perf_counter()
        asked(service, file)
        middle = time.perf_counter()
        here(file)
        if number >= 0:
            over[number] = (middle - began) - (time.perf_counter() - middle)
    return Measured(
        repeats=num_clips, threads=1, wall_ms=1000 * float(np.median(over)),
        cpu_s=(service.cpu_s() - before) / num_clips, peak_mb=0.0, rivals=(), target=limit_ms,
    )  # fmt: skip


def asked(service: Hosted, file: Path) -> dict[str, Any]:
    """The answer of a service to a file."""
    request = urllib.request.Request(
        f"{service.url}/v1/clips", file.read_bytes(), {"Content-Type": "application/octet-stream"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return dict(json.load(response))


def check_equal(ours: Mapping[str, Any], theirs: Mapping[str, Any], name: str) -> None:
    """Refuse to compare services whose answers differ by more than 1e-6 anywhere.

    Raises:
        LusError: names the other one, the place in the answer, and what stands there.
    """
    pixels = [answer["clip"]["sha256"] for answer in (ours, theirs)]
    found = {"clip": pixels[0], **{part: ours[part] for part in COMPARED}}
    others = {"clip": pixels[1], **{part: theirs[part] for part in COMPARED}}
    nothing = ("the end", None)
    pairs = zip_longest(leaves(found), leaves(others), fillvalue=nothing)
    for (place, mine), (where, other) in pairs:
        same = place == where and (
            np.isclose(mine, other, rtol=0, atol=TOLERANCE)
            if isinstance(mine, float) and isinstance(other, float)
            else mine == other
        )
        if not same:
            raise LusError(
                f"serve: {name} says {other} at {where} where ours says {mine} at {place}; "
                "no ratio is given for unequal work"
            )


def leaves(value: Any, place: str = "") -> list[tuple[str, Any]]:
    """Every value of a JSON answer that holds no others, with its place."""
    if isinstance(value, Mapping):
        return [leaf for key in value for leaf in leaves(value[key], f"{place}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [leaf for n, one in enumerate(value) for leaf in leaves(one, f"{place}[{n}]")]
    return [(place, value)]
