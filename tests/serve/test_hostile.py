"""The service under fire: whatever comes, an answer of 4xx or a correct 200, and nothing dies."""

import http.client
import json
import re
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from lus_ray.bench.serve import leaves
from lus_ray.data.decoding.decoder import FileDecoder
from lus_ray.inference import model_selection
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.response import Local
from lus_ray.inference.schema import Answer
from tests.data.decoding.dicom_files import SECRETS
from tests.serve import hostile, rude
from tests.serve.hostile import CANARY, RAW, Attack
from tests.serve.service import Reply, Service, ask, serving

pytestmark = [pytest.mark.ray, pytest.mark.slow]
LIMITS = ServiceLimits()
TOKEN = "token-which-nobody-may-see-1f3c"
BEARER = f"Authorization: Bearer {TOKEN}"
NUM_WHOLE = 2_000
NUM_AT_ONCE = 8
GROWTH = 64 * 2**20
"""Bytes that the service may hold more after everything than after a quarter of it."""
EVERY = 10
"""One in so many answers is held against that of one process."""
SECRET = [CANARY, TOKEN, *SECRETS]
PLACES = ["Traceback", 'File \\"', "site-packages"]
NUM_DECODERS = 4
"""Two in each of the two replicas of the ingress."""
LEAKS = re.compile("|".join([*map(re.escape, SECRET), *PLACES]))


@pytest.fixture(scope="module")
def fort(runs: Path) -> Iterator[Service]:
    """A service that asks for a token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUS_TOKEN", TOKEN)
        with serving(runs / "signs") as running:
            yield running


@pytest.fixture(scope="module")
def here(runs: Path) -> Iterator[Callable[[Attack], dict]]:
    """The answer to an attack in this process."""
    local = Local(model_selection.find(model_selection.beside(runs / "signs")))
    with FileDecoder(LIMITS.clip, max_side=LIMITS.max_side) as decoder:

        def answer(attack: Attack) -> dict:
            with tempfile.TemporaryFile() as file:
                file.write(attack.body)
                file.flush()
                path = Path(f"/proc/self/fd/{file.fileno()}")
                return local.answer(decoder.decode(path, allow_text="allow_text=1" in attack.query))

        yield answer


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A sound clip of each kind."""
    return hostile.clips(tmp_path_factory.mktemp("sound"))


def test_two_thousand_hostile_bodies_are_refused_or_answered_and_nothing_dies_or_grows(
    fort, sound, here, capsys
):
    for clip in sound.values():
        assert post(fort, Attack("sound", clip)).status == 200
    before = fort.lasting()
    attacks = hostile.attacks(sound, NUM_WHOLE, np.random.default_rng(6))
    quarter = len(attacks) // 4
    first = fire(fort, attacks[:quarter])
    held = own_bytes(fort)
    others = fire(fort, attacks[quarter:])
    grown = own_bytes(fort) - held
    replies = [*first, *others]
    counts = Counter(reply.status for reply in replies)
    with capsys.disabled():
        print(f"\n  answers {dict(sorted(counts.items()))}, memory {grown / 2**20:+.1f} MiB")
    assert counts.total() == NUM_WHOLE
    assert {400, 415, 422, 200} <= set(counts) <= {200, 400, 413, 415, 422}
    assert before <= fort.lasting()
    assert eventually(lambda: decodes_with_all(fort, sound["png"]))
    assert grown < GROWTH
    answered = [
        (attack, reply)
        for attack, reply in zip(attacks, replies, strict=True)
        if reply.status == 200 and attack.kind == RAW
    ]
    for attack, reply in answered[::EVERY]:
        said, expected = reply.json, here(attack)
        assert said["clip"]["sha256"] == expected["clip"]["sha256"], attack.name
        for part in ("lung_ultrasound", "biomarkers", "experts", "frames", "clip_scores"):
            assert equal(said[part], expected[part]), (attack.name, part)


def test_requests_that_contradict_themselves_are_refused(fort):
    before = fort.lasting()
    for name, request in rude.lies(fort.url, BEARER, "Connection: close"):
        status, body = rude.send(fort.url, request)
        assert status == rude.GONE or 400 <= status < 500, name
        assert not LEAKS.search(body.decode(errors="replace")), name
    assert before <= fort.lasting()
    assert ask(f"{fort.url}/healthz").status == 200


def test_a_token_that_is_wrong_or_strange_is_refused_before_the_body(fort):
    for given in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer \xe9\xff", TOKEN):
        reply = ask(f"{fort.url}/v1/clips", b"x" * 1000, Authorization=given)
        assert reply.status == 401
        assert not LEAKS.search(reply.body.decode())


def test_clients_that_leave_in_their_body_leave_nothing_behind(fort, sound):
    before = fort.lasting()
    for turn in range(3 * LIMITS.num_at_work + LIMITS.num_waiting):
        rude.break_off(fort.url, BEARER, reset=bool(turn % 2))
    assert eventually(lambda: gauge(fort, "lus_clips_at_work") <= 0)
    assert post(fort, Attack("sound", sound["png"])).status == 200
    assert before <= fort.lasting()


def test_endless_bodies_are_cut_off_at_the_limit(fort):
    held = own_bytes(fort)
    most = LIMITS.body_bytes + 48 * 2**20
    with ThreadPoolExecutor(2) as threads:
        ends = list(threads.map(lambda _: rude.endless(fort.url, BEARER, most=2 * most), range(2)))
    for status, sent in ends:
        assert status in (413, rude.GONE)
        assert sent <= most
    assert own_bytes(fort) - held < GROWTH


def test_slow_bodies_are_sent_away_and_hold_nobody_up(fort, sound):
    num_slow = LIMITS.num_at_work + LIMITS.num_waiting
    with ThreadPoolExecutor(num_slow) as threads:
        patience = LIMITS.idle_seconds + 20
        slow = [threads.submit(rude.drip, fort.url, BEARER, seconds=patience)
                for _ in range(num_slow)]  # fmt: skip
        time.sleep(2)
        began = time.monotonic()
        honest = post(fort, Attack("sound", sound["mp4"]))
        took = time.monotonic() - began
        ends = [one.result() for one in slow]
    assert honest.status == 200
    assert took < LIMITS.idle_seconds
    assert {status for status, _ in ends} == {408}
    assert max(seconds for _, seconds in ends) < patience


def test_no_log_tells_a_name_a_patient_a_token_or_a_place_in_the_code(fort):
    folder = log_folder(fort)
    assert list(folder.glob("serve/*ingress*"))
    assert found(folder, "*", SECRET) == {}
    # Ray's own parts log more, such as a port that another cluster has.
    assert found(folder, "serve/*", ["Traceback"]) == found(folder, "worker*", ["Traceback"]) == {}
    assert found(folder, "serve/*", [" CALL "]) == {}  # no line for every clip
    assert not [line for line in fort.heard if LEAKS.search(line)]


def test_an_interrupt_after_all_this_leaves_no_process(fort, capsys):
    with capsys.disabled():
        assert fort.left_by(signal.SIGINT) == []


def found(folder: Path, which: str, words: list[str]) -> dict[str, str]:
    """The first of these words in each log that holds one."""
    told = re.compile("|".join(map(re.escape, words)))
    logs = {
        path: path.read_text(errors="replace") for path in folder.rglob(which) if path.is_file()
    }
    return {path.name: hit.group() for path, text in logs.items() if (hit := told.search(text))}


def fire(service: Service, attacks: list[Attack]) -> list[Reply]:
    """The answers; each is looked at."""
    with ThreadPoolExecutor(NUM_AT_ONCE) as threads:
        return list(threads.map(lambda attack: shot(service, attack), attacks))


def shot(service: Service, attack: Attack) -> Reply:
    """An answer that is all right."""
    reply = post(service, attack)
    text = reply.body.decode()
    assert not LEAKS.search(text), f"{attack.name}: {text[:200]}"
    if reply.status == 200:
        complete(json.loads(text), attack)
    else:
        error = json.loads(text)
        assert list(error) == ["error"], f"{attack.name}: {text[:200]}"
        assert "\n" not in error["error"], attack.name
    return reply


def complete(answer: dict, attack: Attack) -> None:
    """See that an answer has everything, of as many frames as the clip has."""
    Answer.model_validate(answer)
    num_frames = answer["clip"]["num_frames"]
    assert len(answer["frames"]["probability"]) == num_frames, attack.name
    assert len(answer["biomarkers"]["probability"]) == 38, attack.name
    assert len(answer["experts"]) == 2, attack.name
    assert (answer["preview"] is not None) == ("preview=1" in attack.query), attack.name


def equal(said: Any, expected: Any) -> bool:
    """Whether two parts of an answer are the same but for rounding."""
    pairs = zip(leaves(said), leaves(expected), strict=True)
    return all(
        where == place
        and (one == pytest.approx(other, abs=1e-5) if other is not None else one is None)
        for (where, one), (place, other) in pairs
    )


WIRES = threading.local()


def post(service: Service, attack: Attack) -> Reply:
    """The answer to an upload, over this thread's connection, or a new one where it was closed."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": attack.kind}
    for attempt in range(3):
        wire = getattr(WIRES, "wire", None)
        if wire is None or attempt:
            wire = WIRES.wire = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=60)
        try:
            wire.request("POST", f"/v1/clips{attack.query}", attack.body, headers)
            response = wire.getresponse()
            return Reply(response.status, dict(response.headers), response.read())
        except (ConnectionError, http.client.RemoteDisconnected, http.client.CannotSendRequest):
            continue
    raise AssertionError(f"{attack.name}: no answer")


def decodes_with_all(service: Service, clip: bytes) -> bool:
    """Whether every decoder waits for clips; one that was lost comes again with its next clip."""
    reply = ask(f"{service.url}/v1/clips", clip, Authorization=f"Bearer {TOKEN}")
    assert reply.status == 200
    return len(service.decoders()) >= NUM_DECODERS


def own_bytes(service: Service) -> int:
    """Memory of all that lives as long as the service, which no other process shares."""
    return sum(int(one.memory_full_info().uss) for one in service.lasting())


def gauge(service: Service, name: str) -> float:
    text = ask(f"{service.url}/metrics", Authorization=f"Bearer {TOKEN}").body.decode()
    return float(re.search(rf"^{name}{{.*}} (\S+)$", text, re.M).group(1))  # type: ignore[union-attr]


def eventually(holds, seconds: float = 15.0) -> bool:
    """Whether it becomes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.2)
    return False


def log_folder(service: Service) -> Path:
    """Where Ray writes for this service."""
    for process in service.processes():
        found = re.search(r"--log_dir[= ](\S+)", " ".join(process.cmdline()))
        if found:
            return Path(found.group(1))
    raise AssertionError("no Ray process tells its log folder")
