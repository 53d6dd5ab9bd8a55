"""The service under attack: every response is a 4xx or a correct 200, and nothing dies or leaks."""

import contextlib
import json
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lus_ray.bench.serve import flatten_json
from lus_ray.data.decoding.decoder import FileDecoder
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.model_selection import neighbouring_runs, select_models
from lus_ray.inference.response import LocalPipeline
from lus_ray.inference.schema import CLIP_RESPONSE, to_dict
from tests.data.decoding.dicom_files import SECRETS
from tests.serve import bad_clients, hostile_bodies, load_client
from tests.serve.bad_clients import CLOSED
from tests.serve.hostile_bodies import CANARY, RAW, Attack
from tests.serve.service import Reply, Service, eventually, request, serving

pytestmark = [pytest.mark.ray, pytest.mark.slow]
full = pytest.mark.full
LIMITS = ServiceLimits()
TOKEN = "token-which-nobody-may-see-1f3c"
BEARER = f"Authorization: Bearer {TOKEN}"
NUM_BODIES = 2_000
NUM_BODIES_LIGHT = 100
NUM_CONCURRENT = 8
MAX_GROWTH = 64 * 2**20
"""Bytes by which the memory of the service may grow after a quarter of the requests."""
COMPARED_EVERY = 10
"""One in so many responses is compared with one of this process."""
SECRET = [CANARY, TOKEN, *SECRETS]
LEAKS = re.compile("|".join(map(re.escape, [*SECRET, "Traceback", 'File \\"', "site-packages"])))
NUM_DECODERS = 4
"""Two in each of the two replicas of the ingress."""


@pytest.fixture(scope="module")
def guarded(runs: Path) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUS_TOKEN", TOKEN)
        with serving(runs / "labels") as running:
            yield running


@pytest.fixture(scope="module")
def predict_locally(runs: Path) -> Iterator[Callable[[Attack], dict]]:
    local = LocalPipeline(select_models(neighbouring_runs(runs / "labels")))
    with FileDecoder(LIMITS.clip, max_side=LIMITS.max_side) as decoder:

        def predict(attack: Attack) -> dict:
            with tempfile.TemporaryFile() as file:
                file.write(attack.body)
                file.flush()
                path = Path(f"/proc/self/fd/{file.fileno()}")
                decoded = decoder.decode(path, allow_text="allow_text=1" in attack.query)
                return to_dict(local.predict(decoded))

        yield predict


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return hostile_bodies.clips(tmp_path_factory.mktemp("valid"))


@pytest.mark.full
def test_hostile_bodies_are_rejected_or_answered_and_nothing_dies(service, valid):
    before, rng = service.permanent(), np.random.default_rng(7)
    attacks = hostile_bodies.attacks(valid, NUM_BODIES, rng)[:NUM_BODIES_LIGHT]
    statuses = {reply.status for reply in post_all(service, attacks, num_groups=1)}
    assert {400, 415, 200} <= statuses <= {200, 400, 413, 415, 422}
    assert before <= service.permanent()


@full
def test_two_thousand_hostile_bodies_are_rejected_or_answered_and_nothing_dies_or_grows(
    guarded, valid, predict_locally, capsys
):
    for clip in valid.values():
        assert post(guarded, Attack("valid", clip)).status == 200
    before = guarded.permanent()
    attacks = hostile_bodies.attacks(valid, NUM_BODIES, np.random.default_rng(6))
    quarter = len(attacks) // 4
    replies = post_all(guarded, attacks[:quarter])
    memory = own_bytes(guarded)
    replies += post_all(guarded, attacks[quarter:])
    growth = own_bytes(guarded) - memory
    counts = Counter(reply.status for reply in replies)
    with capsys.disabled():
        print(f"\n  statuses {dict(sorted(counts.items()))}, memory {growth / 2**20:+.1f} MiB")
    assert counts.total() == NUM_BODIES
    assert {400, 415, 422, 200} <= set(counts) <= {200, 400, 413, 415, 422}
    assert before <= guarded.permanent()
    assert eventually(lambda: has_all_decoders(guarded, valid["png"]), 15)
    assert growth < MAX_GROWTH
    pairs = zip(attacks, replies, strict=True)
    answered = [pair for pair in pairs if pair[1].status == 200 and pair[0].kind == RAW]
    parts = ("lung_ultrasound", "biomarkers", "experts", "frames", "clip_scores")
    for attack, reply in answered[::COMPARED_EVERY]:
        values, expected = (
            dict(flatten_json([response["clip"]["sha256"], *map(response.get, parts)]))
            for response in (reply.json, predict_locally(attack))
        )
        assert values == pytest.approx(expected, abs=1e-5), attack.name


def test_malformed_requests_are_rejected(service):
    before = service.permanent()
    for name, content in bad_clients.malformed(service.url, "Connection: close"):
        status, body = bad_clients.send(service.url, content)
        assert status == CLOSED or 400 <= status < 500, name
        assert not LEAKS.search(body.decode(errors="replace")), name
    assert before <= service.permanent()
    assert request(f"{service.url}/healthz").status == 200


def test_clients_that_disconnect_within_their_body_leave_nothing_behind(service, video_file):
    before = service.permanent()
    for turn in range(LIMITS.num_at_work + LIMITS.num_waiting):
        bad_clients.break_off(service.url, reset=bool(turn % 2))
    assert eventually(lambda: read_gauge(service, "lus_clips_at_work") <= 0, 15)
    assert request(f"{service.url}/v1/clips", video_file.read_bytes()).status == 200
    assert before <= service.permanent()


@full
def test_endless_bodies_are_cut_off_at_the_limit(guarded):
    memory = own_bytes(guarded)
    limit = LIMITS.body_bytes + 48 * 2**20
    with ThreadPoolExecutor(2) as threads:
        sends = [threads.submit(bad_clients.send_endless, guarded.url, BEARER, limit=2 * limit)
                 for _ in range(2)]  # fmt: skip
        for status, num_bytes in (send.result() for send in sends):
            assert status in (413, CLOSED)
            assert num_bytes <= limit
    assert own_bytes(guarded) - memory < MAX_GROWTH


@full
def test_slow_bodies_are_rejected_and_delay_nobody(guarded, valid):
    num_slow = LIMITS.num_at_work + LIMITS.num_waiting
    with ThreadPoolExecutor(num_slow) as threads:
        patience = LIMITS.idle_seconds + 20
        slow = [threads.submit(bad_clients.drip, guarded.url, BEARER, seconds=patience)
                for _ in range(num_slow)]  # fmt: skip
        time.sleep(2)
        start = time.monotonic()
        assert post(guarded, Attack("valid", valid["mp4"])).status == 200
        assert time.monotonic() - start < LIMITS.idle_seconds
        ends = [drip.result() for drip in slow]
    assert {status for status, _ in ends} == {408}
    assert max(seconds for _, seconds in ends) < patience


@full
def test_no_log_names_a_file_a_patient_a_token_or_a_place_in_the_code(guarded):
    folder = log_folder(guarded)
    assert list(folder.glob("serve/*ingress*"))
    assert find_in_logs(folder, "*", SECRET) == []
    # Ray's own parts log more, such as ports.
    for pattern in ("serve/*", "worker*"):
        assert find_in_logs(folder, pattern, ["Traceback"]) == []
    assert find_in_logs(folder, "serve/*", [" CALL "]) == []  # no line for every clip
    assert not [line for line in guarded.read_lines if LEAKS.search(line)]


@full
def test_an_interrupt_after_all_this_leaves_no_process(guarded):
    assert guarded.end(signal.SIGINT) == []


def find_in_logs(folder: Path, pattern: str, words: list[str]) -> list[tuple[str, str]]:
    """The logs that contain one of these words, with the word."""
    logs = [path for path in folder.rglob(pattern) if path.is_file()]
    texts = {path.name: path.read_text(errors="replace") for path in logs}
    return [(name, word) for name, text in texts.items() for word in words if word in text]


def post_all(service: Service, attacks: list[Attack], *, num_groups: int = 2) -> list[Reply]:
    check = partial(post_and_check, service, num_groups=num_groups)
    with ThreadPoolExecutor(NUM_CONCURRENT) as threads:
        return list(threads.map(check, attacks))


def post_and_check(service: Service, attack: Attack, *, num_groups: int) -> Reply:
    reply = post(service, attack)
    text = reply.body.decode()
    assert not LEAKS.search(text), f"{attack.name}: {text[:200]}"
    if reply.status != 200:
        error = json.loads(text)
        assert list(error) == ["error"], f"{attack.name}: {text[:200]}"
        assert "\n" not in error["error"], attack.name
        return reply
    response = CLIP_RESPONSE.validate_json(text)
    assert response.frames is not None
    assert response.biomarkers is not None
    assert len(response.frames.probability) == response.clip.num_frames, attack.name
    assert len(response.biomarkers.probability) == 38, attack.name
    assert len(response.experts) >= num_groups, attack.name
    assert (response.preview is not None) == ("preview=1" in attack.query), attack.name
    return reply


def post(service: Service, attack: Attack) -> Reply:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": attack.kind}
    for _ in range(3):
        with contextlib.suppress(*load_client.NO_RESPONSE):
            return Reply(*load_client.post(service.url, attack.body, headers, attack.query))
    raise AssertionError(f"{attack.name}: no reply")


def has_all_decoders(service: Service, clip: bytes) -> bool:
    """Whether every decoder waits for clips; a lost one restarts with its next clip."""
    reply = request(f"{service.url}/v1/clips", clip, Authorization=f"Bearer {TOKEN}")
    assert reply.status == 200
    return len(service.decoders()) >= NUM_DECODERS


def own_bytes(service: Service) -> int:
    return sum(int(process.memory_full_info().uss) for process in service.permanent())


def read_gauge(service: Service, name: str) -> float:
    text = request(f"{service.url}/metrics").body.decode()
    return float(re.search(rf"^{name}{{.*}} (\S+)$", text, re.M).group(1))  # type: ignore[union-attr]


def log_folder(service: Service) -> Path:
    for process in service.processes():
        match = re.search(r"--log_dir[= ](\S+)", " ".join(process.cmdline()))
        if match:
            return Path(match.group(1))
    raise AssertionError("no Ray process names its log folder")
