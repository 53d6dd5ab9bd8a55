"""The service over real HTTP: its answers are those of the models, its refusals one line."""

import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import numpy as np
import psutil
import pytest

from lus_ray.clip import frames_of
from lus_ray.data import store
from lus_ray.data.decoding.decoder import decode
from lus_ray.inference import model_selection
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.parity import replay
from lus_ray.inference.response import Local
from lus_ray.inference.schema import Answer, Models
from tests.data.decoding import dicom_files
from tests.serve.service import ROOT, ask, film

pytestmark = [pytest.mark.ray, pytest.mark.slow]
LIMITS = ServiceLimits()


@pytest.fixture(scope="module")
def rows(runs: Path):
    return list(store.read(runs / "clips"))


@pytest.fixture(scope="module")
def clip(rows) -> bytes:
    return film(frames_of(rows[0]))


@pytest.fixture(scope="module")
def local(runs: Path) -> Local:
    return Local(model_selection.find(model_selection.beside(runs / "signs")))


def test_an_answer_over_http_has_the_numbers_of_the_same_models_in_one_process(
    served, local, clip, tmp_path
):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    here = local.answer(decode(path, LIMITS.clip, max_side=LIMITS.max_side))
    there = ask(f"{served}/v1/clips", clip).json
    Answer.model_validate(there)
    assert numbers(there) == pytest.approx(numbers(here), abs=1e-5)
    assert there["clip"] == here["clip"]
    assert there["masks"]["sprite"] == here["masks"]["sprite"]


def test_stored_clips_are_answered_as_they_were_predicted_when_models_were_trained(served, local):
    def answer(frames: np.ndarray):
        return ask(f"{served}/v1/clips", film(frames, lossless=True)).json

    found = replay(local.models, answer)
    assert set(found) == {model.id for model in local.models}
    assert max(found.values()) <= 1e-5


def test_a_form_and_a_bare_body_are_answered_alike(served, clip):
    form = ask(f"{served}/v1/clips", multipart(clip), Content_Type=FORM)
    assert form.status == 200
    assert numbers(form.json) == numbers(ask(f"{served}/v1/clips", clip).json)


def test_a_picture_of_the_clip_and_uncertainty_come_when_asked_for(served, clip):
    plain = ask(f"{served}/v1/clips", clip).json
    asked = ask(f"{served}/v1/clips?preview=1&uncertainty=1", clip).json
    assert plain["preview"] is plain["masks"]["uncertainty"] is None
    assert asked["preview"]["num_frames"] == 6
    spread = asked["masks"]["uncertainty"]
    assert len(spread) == len(asked["masks"]["classes"])
    assert min(spread) >= 0 < max(spread)


def test_the_command_says_the_same_with_the_service_and_without(served, runs, clip, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    command = [sys.executable, "-m", "lus_ray.cli", "predict", str(path), "--json"]
    there, here = (
        subprocess.run([*command, *ways], capture_output=True, text=True, check=True, cwd=ROOT)
        for ways in (["--url", served], ["--run", str(runs / "signs")])
    )
    said, expected = json.loads(there.stdout), json.loads(here.stdout)
    assert numbers(said) == pytest.approx(numbers(expected), abs=1e-5)
    told = ("clip", "lung_ultrasound", "masks", "notice")
    assert {name: said[name] for name in told} == {name: expected[name] for name in told}


def test_dicom_is_refused_with_writing_beside_its_fan_and_tells_its_spacing(served, tmp_path):
    sound, written_on = (
        dicom_files.write(
            tmp_path / "a.dcm", frames, SequenceOfUltrasoundRegions=[dicom_files.region()]
        ).read_bytes()
        for frames in (dicom_files.fan(2), dicom_files.with_text(dicom_files.fan(2)))
    )
    said = ask(f"{served}/v1/clips", sound).json
    assert (said["clip"]["format"], said["clip"]["num_frames"]) == ("DICOM", 2)
    assert said["clip"]["mm_per_pixel"] == pytest.approx(0.2)
    refused = ask(f"{served}/v1/clips", written_on)
    assert refused.status == 422
    assert "allow it on purpose" in refused.json["error"]
    allowed = ask(f"{served}/v1/clips?allow_text=1", written_on).json
    assert "were allowed" in " ".join(allowed["clip"]["notes"])


@pytest.mark.data
@pytest.mark.parametrize("kind", ["mov", "avi", "gif", "mpeg"])
def test_a_real_clip_of_each_container_is_answered_as_in_one_process(
    served, local, shared_data, kind
):
    path = min(shared_data.rglob(f"*.{kind}"), key=lambda path: path.stat().st_size)
    here = local.answer(decode(path, LIMITS.clip, max_side=LIMITS.max_side))
    there = ask(f"{served}/v1/clips", path.read_bytes()).json
    assert there["clip"]["sha256"] == here["clip"]["sha256"]
    assert numbers(there) == pytest.approx(numbers(here), abs=1e-5)


def test_it_says_what_is_served_and_how_far_replays_were_off(served, local):
    told = ask(f"{served}/v1/models").json
    Models.model_validate(told)
    assert {one["id"] for one in told["models"]} == {model.id for model in local.models}
    assert all(one["parity"] <= 1e-5 for one in told["models"])
    assert told["limits"]["body_bytes"] == 64 * 2**20


def test_probes_metrics_and_schema_answer(served, clip):
    for _ in range(16):  # whichever replica tells its counts, it has answered a clip
        ask(f"{served}/v1/clips", clip)
    assert ask(f"{served}/healthz").status == ask(f"{served}/readyz").status == 200
    metrics = ask(f"{served}/metrics").body.decode()
    assert re.search(r'lus_answers_total{replica="\w+",status="200"} [1-9]', metrics)
    assert re.search(r'lus_stage_seconds_count{replica="\w+",stage="decode"} [1-9]', metrics)
    schema = ask(f"{served}/openapi.json").json
    assert "multipart/form-data" in schema["paths"]["/v1/clips"]["post"]["requestBody"]["content"]
    assert "429" in schema["paths"]["/v1/clips"]["post"]["responses"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b"<html>", "application/octet-stream", 400, "neither a video nor an image"),
        (b"", "application/octet-stream", 400, "no clip came"),
        (b"{}", "application/json", 415, "send a clip"),
        (b"x", "multipart/form-data", 400, "no usable boundary"),
        (b"x", "multipart/form-data; boundary=b", 400, "not well formed"),
        (b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
         "multipart/form-data; boundary=b", 400, "0 fields 'file'"),
    ],
)  # fmt: skip
def test_what_is_no_clip_is_refused_in_one_line(served, body, kind, status, words):
    reply = ask(f"{served}/v1/clips", body, Content_Type=kind)
    assert (reply.status, list(reply.json)) == (status, ["error"])
    assert words in reply.json["error"]
    assert "\n" not in reply.json["error"]


def test_paths_and_methods_that_do_not_exist_say_so(served):
    assert ask(f"{served}/etc/passwd").json == {"error": "there is nothing here"}
    assert ask(f"{served}/v1/clips").json == {"error": "not with this method"}


def test_every_answer_forbids_to_load_from_elsewhere_and_to_be_kept(served, clip):
    for reply in (ask(f"{served}/v1/clips", clip), ask(f"{served}/nowhere"), ask(f"{served}/")):
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["cache-control"] == "no-store"


def test_a_page_of_another_site_and_a_foreign_name_of_this_machine_are_refused(served, clip):
    assert ask(f"{served}/v1/clips", clip, Origin="http://evil.example").status == 403
    assert ask(f"{served}/v1/models", Host="evil.example").status == 403
    assert ask(f"{served}/v1/clips", clip, Origin=served).status == 200


def test_a_declared_length_over_the_limit_is_refused_before_a_byte_is_sent(served):
    with connected(served) as client:
        client.sendall(head(served, f"Content-Length: {LIMITS.body_bytes + 1}"))
        assert status_of(client) == 413


def test_a_body_without_end_is_refused_at_the_limit(served):
    with connected(served) as client:
        client.sendall(head(served, "Transfer-Encoding: chunked"))
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 4 * LIMITS.body_bytes:
                client.sendall(b"100000\r\n" + b"\0" * 2**20 + b"\r\n")
                sent += 2**20
        assert LIMITS.body_bytes <= sent < LIMITS.body_bytes + 16 * 2**20
        assert status_of(client) in (413, None)


def test_clients_that_say_nothing_or_stop_are_sent_away(served):
    with connected(served) as silent, connected(served) as stuck, connected(served) as halfway:
        began = time.monotonic()
        stuck.sendall(b"POST /v1/cl")
        halfway.sendall(head(served, "Content-Length: 1000") + b"half a clip")
        assert status_of(halfway) == 408
        for client in (silent, stuck):
            with contextlib.suppress(ConnectionError):
                assert client.recv(1) == b""
        assert LIMITS.idle_seconds - 1 < time.monotonic() - began < LIMITS.idle_seconds + 5


def test_only_this_machine_reaches_what_listens_but_messages_of_replicas_that_need_the_token(
    service,
):
    open_to_others, port = [], urlsplit(service.url).port
    for process in service.processes():
        listening = [
            one.laddr for one in process.net_connections(kind="inet") if one.status == "LISTEN"
        ]
        beyond = [at.port for at in listening if at.ip not in ("127.0.0.1", "::ffff:127.0.0.1")]
        is_replica = "ServeReplica:" in " ".join(process.cmdline())
        assert len(beyond) == int(is_replica), process
        open_to_others += beyond
        assert port in {at.port for at in listening} or process not in service.replicas("ingress")
    assert open_to_others
    for number in open_to_others:
        with grpc.insecure_channel(f"127.0.0.1:{number}") as channel:
            ask_replica = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as refused:
                ask_replica(b"", timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_what_answers_is_no_work_in_the_background(service):
    assert {one.nice() for one in service.lasting()} == {psutil.Process().nice()}


def test_clips_are_answered_on_when_every_decoder_was_killed(service, clip):
    waiting = service.decoders()
    assert len(waiting) == 4
    for one in waiting:
        one.kill()
    for _ in range(8):  # whichever ingress it comes to
        assert ask(f"{service.url}/v1/clips", clip).status == 200


def numbers(answer: dict) -> list[float]:
    """All probabilities of an answer."""
    experts = [one for group in answer["experts"] for one in group["answers"]]
    parts = [answer["biomarkers"], *experts, *answer["clip_scores"]]
    frames = [value for frame in answer["frames"]["probability"] for value in frame]
    return [value for part in parts for value in part["probability"]] + frames


FORM = "multipart/form-data; boundary=edge"


def multipart(content: bytes) -> bytes:
    """A form with a clip under a name that tells a patient's, and another field."""
    return (
        b'--edge\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="../../Mustermann.mp4"'
        b"\r\nContent-Type: video/mp4\r\n\r\n" + content + b"\r\n--edge--\r\n"
    )


def connected(url: str) -> socket.socket:
    return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=30)


def head(url: str, *headers: str) -> bytes:
    lines = ["POST /v1/clips HTTP/1.1", f"Host: {urlsplit(url).netloc}", *headers]
    return "\r\n".join([*lines, "Content-Type: video/mp4", "", ""]).encode()


def status_of(client: socket.socket) -> int | None:
    """The status that comes back; None where the connection was closed before it was read."""
    response = http.client.HTTPResponse(client)
    try:
        response.begin()
        json.loads(response.read())
    except (ConnectionError, http.client.HTTPException):
        return None
    return response.status
