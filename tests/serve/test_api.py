"""The service over real HTTP: predictions equal those in one process, errors are one line."""

import json
import re
import select
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.parse import urlsplit

import grpc
import psutil
import pytest
from click.testing import CliRunner

from lus_ray.cli import main
from lus_ray.data.decoding.decoder import FileDecoder
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.model_selection import neighbouring_runs, select_models
from lus_ray.inference.response import LocalPipeline
from lus_ray.inference.schema import SERVED_MODELS, to_dict
from tests.data.decoding import dicom_files
from tests.inference.conftest import RUNS
from tests.serve.bad_clients import CLOSED, connect, head, read_reply, send_endless
from tests.serve.conftest import PROXY_VARIABLES
from tests.serve.service import COLOCATED, is_replica, request

pytestmark = [pytest.mark.ray, pytest.mark.slow]
LIMITS = ServiceLimits()
FORM = "multipart/form-data; boundary=edge"
FORM_BODY = (
    b'--edge\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    b'--edge\r\nContent-Disposition: form-data; name="file"; filename="../../Mustermann.mp4"'
    b"\r\nContent-Type: video/mp4\r\n\r\n%s\r\n--edge--\r\n"
)


@pytest.fixture(scope="module")
def clip(video_file) -> bytes:
    return video_file.read_bytes()


@pytest.fixture(scope="module")
def local(served_run) -> LocalPipeline:
    models = select_models(neighbouring_runs(served_run), on_skip=lambda run, why: None)
    return LocalPipeline(models)


@pytest.fixture(scope="module", autouse=True)
def stalled(url) -> Iterator[list[Future[tuple[int, float]]]]:
    """Clients that stall while the other tests run: the status, and the seconds until it came."""

    def stall(content: bytes) -> tuple[int, float]:
        start = time.monotonic()
        with connect(url) as client:
            client.sendall(content)
            return read_reply(client)[0], time.monotonic() - start

    halfway = head(url, "Content-Length: 1000") + b"half a clip"
    with ThreadPoolExecutor(3) as threads:
        yield [threads.submit(stall, content) for content in (b"", b"POST /v1/cl", halfway)]


def probabilities(response: dict) -> list[float]:
    experts = [expert for group in response["experts"] for expert in group["answers"]]
    parts = [response["biomarkers"], *experts, *response["clip_scores"]]
    frames = [value for frame in response["frames"]["probability"] for value in frame]
    return [value for part in parts for value in part["probability"]] + frames


def test_a_response_has_the_numbers_of_the_same_models_in_one_process(url, local, clip, video_file):
    with FileDecoder(LIMITS.clip, max_side=LIMITS.max_side) as decoder:
        decoded = decoder.decode(video_file)
    expected = to_dict(local.predict(decoded))
    response = request(f"{url}/v1/clips", clip).json
    assert probabilities(response) == pytest.approx(probabilities(expected), abs=1e-5)
    assert response["clip"] == expected["clip"]
    assert response["masks"]["sprite"] == expected["masks"]["sprite"]


def test_a_form_and_a_raw_body_give_the_same_response(url, clip):
    form = request(f"{url}/v1/clips", FORM_BODY % clip, Content_Type=FORM)
    assert form.status == 200
    assert probabilities(form.json) == probabilities(request(f"{url}/v1/clips", clip).json)


def test_preview_and_uncertainty_come_on_request(url, clip):
    plain = request(f"{url}/v1/clips", clip).json
    full = request(f"{url}/v1/clips?preview=1&uncertainty=1", clip).json
    assert plain["preview"] is plain["masks"]["uncertainty"] is None
    assert full["preview"]["num_frames"] == 4
    uncertainty = full["masks"]["uncertainty"]
    assert len(uncertainty) == len(full["masks"]["classes"])
    assert min(uncertainty) >= 0 < max(uncertainty)


def test_the_command_predicts_the_same_with_and_without_the_service(url, served_run, video_file):
    runs = [option for run in RUNS for option in ("--run", served_run.parent / run.name)]
    results = [
        CliRunner().invoke(main, ["predict", "--json", str(video_file), *map(str, options)])
        for options in (["--url", url], runs)
    ]
    assert [result.exit_code for result in results] == [0, 0], results[0].stderr + results[1].stderr
    there, here = (json.loads(result.stdout) for result in results)
    assert probabilities(there) == pytest.approx(probabilities(here), abs=1e-5)
    for part in ("clip", "lung_ultrasound", "masks", "notice"):
        assert there[part] == here[part]


def test_with_a_proxy_in_the_environment_nothing_goes_through_it(
    url, proxy, video_file, monkeypatch
):
    for name in PROXY_VARIABLES:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.setenv(name, "")  # restored afterwards, as the command extends them
    done = CliRunner().invoke(main, ["predict", str(video_file), "--url", url])
    assert done.exit_code == 0, done.stderr
    requests = []
    while select.select([proxy], [], [], 0)[0]:
        connection, _ = proxy.accept()
        with connection:
            connection.settimeout(1)
            requests.append(connection.recv(300))
    assert requests == []  # neither by the command nor by the service


def test_dicom_with_burned_in_text_is_rejected_unless_allowed(url, tmp_path):
    region = {"SequenceOfUltrasoundRegions": [dicom_files.region()]}
    clean, with_text = (
        dicom_files.write(tmp_path / "a.dcm", frames, **region).read_bytes()
        for frames in (dicom_files.fan(2), dicom_files.with_text(dicom_files.fan(2)))
    )
    info = request(f"{url}/v1/clips", clean).json["clip"]
    assert (info["format"], info["num_frames"]) == ("DICOM", 2)
    assert info["mm_per_pixel"] == pytest.approx(0.2)
    assert request(f"{url}/v1/clips", with_text).status == 422
    assert request(f"{url}/v1/clips?allow_text=1", with_text).json["clip"]["notes"]


def test_it_lists_the_served_models_with_parity_layout_and_limits(url, local):
    reply = request(f"{url}/v1/models")
    SERVED_MODELS.validate_json(reply.body)
    assert {model["id"] for model in reply.json["models"]} >= {model.id for model in local.models}
    assert all(model["parity"] <= 1e-5 for model in reply.json["models"])
    layout = reply.json["layout"]
    assert {slot for slot, where in layout.items() if where == "colocated"} == set(
        layout
    ) & COLOCATED
    assert {slot for slot, where in layout.items() if where == "composed"} >= {"backbone", "scorer"}
    assert reply.json["limits"]["body_bytes"] == 64 * 2**20
    assert {".mp4", ".dcm", ".png"} < set(reply.json["formats"])


def test_every_model_has_a_card_and_the_banner_warns_of_synthetic_clips(url, clip):
    for reply in (request(f"{url}/v1/models"), request(f"{url}/v1/clips", clip)):
        assert reply.json["banner"].startswith("These models saw synthetic clips only")
        assert all(model["card"]["dataset"] == "phantom clips" for model in reply.json["models"])


def test_the_example_clip_is_a_file_that_the_service_reads(url):
    reply = request(f"{url}/v1/example")
    assert 'filename="phantom.png"' in reply.headers["content-disposition"]
    info = request(f"{url}/v1/clips?attention=true", reply.body).json["clip"]
    assert (info["format"], info["num_frames"], info["fps"]) == ("PNG", 30, 25)


def test_probes_metrics_and_schema_respond(url, clip):
    for _ in range(16):  # so that each replica counts a clip
        request(f"{url}/v1/clips", clip)
    assert request(f"{url}/healthz").status == request(f"{url}/readyz").status == 200
    metrics = request(f"{url}/metrics").body.decode()
    assert re.search(r'lus_answers_total{replica="\w+",status="200"} [1-9]', metrics)
    assert re.search(r'lus_stage_seconds_count{replica="\w+",stage="decode"} [1-9]', metrics)
    upload = request(f"{url}/openapi.json").json["paths"]["/v1/clips"]["post"]
    assert "multipart/form-data" in upload["requestBody"]["content"]
    assert "429" in upload["responses"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b"<html>", "application/octet-stream", 400, "neither a video nor an image"),
        (b"", "application/octet-stream", 400, "the clip is empty"),
        (b"{}", "application/json", 415, "send a clip"),
        (b"x", "multipart/form-data", 400, "no usable boundary"),
        (b"x", "multipart/form-data; boundary=b", 400, "malformed"),
        (b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
         "multipart/form-data; boundary=b", 400, "0 fields 'file'"),
    ],
)  # fmt: skip
def test_what_is_not_a_clip_is_an_error_of_one_line(url, body, kind, status, words):
    reply = request(f"{url}/v1/clips", body, Content_Type=kind)
    assert (reply.status, list(reply.json)) == (status, ["error"])
    assert words in reply.json["error"]
    assert "; " in reply.json["error"]  # the remedy
    assert "\n" not in reply.json["error"]


def test_unknown_paths_and_methods_are_errors_with_a_remedy(url):
    for path in ("etc/passwd", "v1/clips"):
        error = request(f"{url}/{path}").json["error"]
        assert error.endswith("; the routes are listed at /openapi.json")


def test_every_response_has_the_security_headers(url, clip):
    for path, body in (("v1/clips", clip), ("nowhere", None), ("", None)):
        headers = request(f"{url}/{path}", body).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        names = ("x-content-type-options", "referrer-policy", "cache-control")
        assert [headers[name] for name in names] == ["nosniff", "no-referrer", "no-store"]


def test_a_declared_length_over_the_limit_is_rejected_before_the_body(url):
    with connect(url) as client:
        client.sendall(head(url, f"Content-Length: {LIMITS.body_bytes + 1}"))
        assert read_reply(client)[0] == 413


def test_an_endless_body_is_rejected_at_the_limit(url):
    status, sent = send_endless(url, "Content-Type: video/mp4", limit=4 * LIMITS.body_bytes)
    assert status in (413, CLOSED)
    assert LIMITS.body_bytes <= sent < LIMITS.body_bytes + 16 * 2**20


def test_others_reach_only_the_message_ports_of_replicas_which_require_a_token(service):
    open_ports, port = [], urlsplit(service.url).port
    for process in service.processes():
        connections = process.net_connections(kind="inet")
        listening = [c.laddr for c in connections if c.status == "LISTEN"]
        public = [at.port for at in listening if at.ip not in ("127.0.0.1", "::ffff:127.0.0.1")]
        assert len(public) == int(is_replica(process)), process
        open_ports += public
        assert port in {at.port for at in listening} or process not in service.replicas("ingress")
    assert open_ports
    for number in open_ports:
        with grpc.insecure_channel(f"127.0.0.1:{number}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as raised:
                call(b"", timeout=10)
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_no_permanent_process_has_a_lowered_priority(service):
    assert {process.nice() for process in service.permanent()} == {psutil.Process().nice()}


def test_clips_are_predicted_after_every_decoder_was_killed(service, clip):
    decoders = service.decoders()
    assert len(decoders) == 4
    for decoder in decoders:
        decoder.kill()
    for _ in range(8):  # so that each ingress gets a clip
        assert request(f"{service.url}/v1/clips", clip).status == 200


def test_silent_and_stalled_clients_are_disconnected(stalled):
    statuses, seconds = zip(*(client.result() for client in stalled), strict=True)
    assert statuses == (CLOSED, CLOSED, 408)
    assert LIMITS.idle_seconds - 1 < min(seconds) <= max(seconds) < LIMITS.idle_seconds + 5
