"""Connecting: nobody at an address is said at once, and unsafe settings are refused."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray.exceptions import AuthenticationError

from lus_ray.errors import InputError
from lus_ray.orchestration.cluster import connection
from lus_ray.orchestration.cluster.connection import UNSAFE, connect


def test_nobody_at_an_address_is_said_within_seconds():
    began = time.monotonic()
    with (
        pytest.raises(InputError, match=r"no Ray cluster at 127\.0\.0\.1:1"),
        connect("127.0.0.1:1"),
    ):
        pass
    assert time.monotonic() - began < 10


def test_a_setting_that_lets_parquet_run_code_is_refused(monkeypatch):
    monkeypatch.setenv(UNSAFE, "1")
    with pytest.raises(InputError, match="unset it"), connect(None):
        pass


def test_the_address_of_the_dashboard_is_told_apart_from_that_of_the_cluster():
    with (
        pytest.raises(InputError, match=r"where jobs are submitted to; ray job submit"),
        connect("http://127.0.0.1:8265"),
    ):
        pass


def test_a_job_that_would_lose_its_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    connection.refuse_job_folder(Path("runs/first"))
    monkeypatch.setenv(connection.RAY_JOB_CONFIG_JSON_ENV_VAR, "{}")
    for kept in (tmp_path.parent / "shared", "s3://bucket/runs/first"):
        connection.refuse_job_folder(kept)
    with pytest.raises(InputError, match="a job's own folder is lost with it; give a URI"):
        connection.refuse_job_folder(Path("runs/first"))


LISTENING = """
import psutil, ray
from lus_ray.orchestration.cluster.connection import connect
with connect(None):
    ray.get(ray.remote(lambda: None).remote())  # until a worker is there
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        for one in process.net_connections(kind="inet"):
            if one.status == "LISTEN":
                print(process.name(), one.laddr.ip)
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_of_ones_own_listens_on_loopback_alone():
    script = [sys.executable, "-c", LISTENING]
    said = subprocess.run(script, capture_output=True, text=True, check=True).stdout.splitlines()
    parts = {line.rpartition(" ")[0] for line in said}
    assert {"gcs_server", "raylet"} < parts
    assert {line.rpartition(" ")[2].removeprefix("::ffff:") for line in said} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (AuthenticationError("invalid token"), "asks for a token.*RAY_AUTH_MODE=token"),
        (
            RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.58.0"),
            r"another version of Ray.*The cluster was started with: Ray: 2\.58\.0",
        ),
        (RuntimeError("No node info found matching attributes"), "no node of it.*ray job submit"),
        (RuntimeError("something\nelse"), "^something else$"),
        (
            RuntimeError(
                "Initialization failure from server:\nTraceback (most recent call last):\n"
                "  File server.py, line 1\nTimeoutError: no server came up\n"
            ),
            "^TimeoutError: no server came up$",
        ),
    ],
)
def test_what_ray_says_over_many_lines_becomes_one_with_a_remedy(error, told):
    wrapped = ConnectionError("Failed to connect")
    wrapped.__cause__ = error
    for each in (error, wrapped)[: 1 if told.startswith("^") else 2]:
        line = connection._reason(each)
        assert "\n" not in line
        assert re.search(told, line)


def test_a_setting_that_a_job_makes_itself_is_left_to_it(monkeypatch):
    job = {"runtime_env": {"env_vars": {"RAY_TRAIN_V2_ENABLED": "1"}}}
    monkeypatch.setenv(connection.RAY_JOB_CONFIG_JSON_ENV_VAR, json.dumps(job))
    mine = {"RAY_TRAIN_V2_ENABLED": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    assert connection._merged(mine) == {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
