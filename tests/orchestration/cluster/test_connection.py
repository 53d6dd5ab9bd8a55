"""Connecting to Ray: bad addresses and unsafe settings are refused at once, in one line."""

import json
import re
import socket
import time
from pathlib import Path

import psutil
import pytest
import ray
from click.testing import CliRunner
from ray._private import services
from ray.exceptions import AuthenticationError

from lus_ray import cli
from lus_ray.errors import InputError
from lus_ray.orchestration.cluster import connection, job_folder, ray_private, reachability
from lus_ray.orchestration.cluster.connection import UNSAFE, connect


@pytest.mark.parametrize(
    ("address", "known", "message"),
    [
        ("127.0.0.1:1", "", r"at 127\.0\.0\.1:1: nothing listens there; start one"),
        ("auto", "127.0.0.1:1", r"at auto \(127\.0\.0\.1:1\): nothing listens there"),
        ("auto", "ray://127.0.0.1:1", r"at auto \(ray://127\.0\.0\.1:1\): nothing"),
        ("http://127.0.0.1:8265", "", r"accepts jobs; use ray job submit"),
        ("127.0.0.1", "", r"no host and port; write auto"),
        ("127.0.0.1:99999", "", r"no Ray cluster"),
    ],
)
def test_a_bad_address_is_refused_at_once(address, known, message, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", known)
    began = time.monotonic()
    with pytest.raises(InputError, match=message), connect(address):
        pass
    assert time.monotonic() - began < 5


def test_auto_is_refused_where_no_cluster_runs(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "find_gcs_addresses", lambda: set())
    monkeypatch.setattr(services, "find_bootstrap_address", lambda folder: None)
    with pytest.raises(InputError, match="none runs on this machine; start one"):
        reachability.refuse_unreachable("auto")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_program_that_is_no_head_is_refused(scheme, monkeypatch):
    monkeypatch.setattr(reachability, "RESPONSE_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"{scheme}127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InputError, match="does not answer like Ray's head"):
            reachability.refuse_unreachable(address)


def test_an_unsafe_environment_is_refused(monkeypatch):
    monkeypatch.setenv(UNSAFE, "1")
    with pytest.raises(InputError, match="unset it"), connect(None):
        pass


@pytest.mark.parametrize(
    "control",
    [(), pytest.param(("--control",), marks=pytest.mark.slow)],  # which imports torch
)
def test_a_dead_address_is_refused_before_anything_is_written(control, tmp_path):
    words = ["run", "biomarkers", *control, "--out", f"{tmp_path}/new/run"]
    smoke = [] if control else ["--smoke"]
    done = CliRunner().invoke(cli.main, [*words, *smoke, "--address", "127.0.0.1:1"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert not any(tmp_path.iterdir())


def test_a_job_may_not_write_into_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job_folder.refuse_job_folder(Path("runs/first"))
    assert ray_private.JOB_CONFIG == job_folder.JOB_CONFIG
    monkeypatch.setenv(job_folder.JOB_CONFIG, "{}")
    for kept in (tmp_path.parent / "shared", "s3://bucket/runs/first"):
        job_folder.refuse_job_folder(kept)
    with pytest.raises(InputError, match="deleted with the job; give a URI"):
        job_folder.refuse_job_folder(Path("runs/first"))


@pytest.mark.ray
@pytest.mark.slow
def test_an_own_cluster_listens_on_loopback_alone():
    driver = psutil.Process()
    before = driver.children(recursive=True)
    with connect(None):
        ray.get(ray.remote(lambda: None).remote())  # until a worker is there
        started = [process for process in driver.children(recursive=True) if process not in before]
        listening = {
            (process.name(), port.laddr.ip.removeprefix("::ffff:"))
            for process in (driver, *started)
            for port in process.net_connections(kind="inet")
            if port.status == "LISTEN"
        }
    assert {"gcs_server", "raylet"} < {name for name, _ in listening}
    assert {address for _, address in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AuthenticationError("invalid token"), "requires a token.*RAY_AUTH_MODE=token"),
        (RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.58.0"),
         r"another version of Ray.*The cluster was started with: Ray: 2\.58\.0"),
        (RuntimeError("No node info found matching"), "not one of its nodes.*ray job submit"),
        (RuntimeError("something\nelse"), "^something else$"),
        (RuntimeError("Failed:\nTraceback (most recent call last):\n  File server.py, line 1\n"
                      "TimeoutError: no server came up\n"), "^TimeoutError: no server came up$"),
    ],
)  # fmt: skip
def test_an_error_of_ray_becomes_one_line_with_a_remedy(error, reason):
    wrapped = ConnectionError("Failed to connect")
    wrapped.__cause__ = error
    for raised in (error, wrapped)[: 1 if reason.startswith("^") else 2]:
        line = connection._reason(raised)
        assert "\n" not in line
        assert re.search(reason, line)


def test_variables_that_a_job_sets_itself_are_not_set_again(monkeypatch):
    job = {"runtime_env": {"env_vars": {"RAY_TRAIN_V2_ENABLED": "1"}}}
    monkeypatch.setenv(ray_private.JOB_CONFIG, json.dumps(job))
    variables = {"RAY_TRAIN_V2_ENABLED": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    remaining = connection._without_job_variables(variables)
    assert remaining == {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
