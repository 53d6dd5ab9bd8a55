"""Connecting to Ray: bad addresses and unsafe settings are refused at once, in one line."""

import json
import re
import time
from pathlib import Path

import psutil
import pytest
import ray
from ray.exceptions import AuthenticationError

from lus_ray.errors import InputError
from lus_ray.orchestration.cluster import connection, job_folder, ray_private
from lus_ray.orchestration.cluster.connection import UNSAFE, connect


@pytest.mark.parametrize(
    ("address", "unsafe", "message"),
    [
        ("127.0.0.1:1", "", r"no Ray cluster at 127\.0\.0\.1:1"),
        ("http://127.0.0.1:8265", "", r"accepts jobs: ray job submit"),
        (None, "1", "unset it"),
    ],
)
def test_a_bad_address_or_environment_is_refused_within_seconds(
    address, unsafe, message, monkeypatch
):
    monkeypatch.setenv(UNSAFE, unsafe)
    began = time.monotonic()
    with pytest.raises(InputError, match=message), connect(address):
        pass
    assert time.monotonic() - began < 10


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
