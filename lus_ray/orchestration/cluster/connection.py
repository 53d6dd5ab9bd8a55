"""Connecting to Ray: a cluster of one's own for one command, or a running one."""

import contextlib
import json
import logging
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import ray
from ray.exceptions import AuthenticationError, RayError
from ray.job_config import JobConfig

from lus_ray.errors import InputError
from lus_ray.loopback import exempt_from_proxies
from lus_ray.orchestration.cluster import ray_private
from lus_ray.orchestration.cluster.reachability import NOT_A_NODE, WRONG_TOKEN, refuse_unreachable
from lus_ray.orchestration.cluster.session_folder import choose_session_folder, find_home_problem
from lus_ray.orchestration.cluster.watchdog import ClusterWatchdog

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Replace Ray's own output with ours and its pickled records with none, and report nothing: Ray
would ask a cloud for metadata and send statistics of its use."""

WORKER_VARIABLES = ("RAY_TRAIN_V2_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO")
"""Those that Ray reads where cells run; nodes of a joined cluster do not have this process's."""
CELL_MODULE = "lus_ray.orchestration.cells.trial"
"""What a process imports before it can run a cell."""
PRELOAD = "RAY_preload_python_modules"
TRAIN_RUNS = "RAY_TRAIN_ENABLE_STATE_TRACKING"
"""Lists runs of Ray Train on the dashboard, by an actor that outlives the job."""
UNSAFE = "RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE"
SETTINGS = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": True}
TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@contextlib.contextmanager
def connect(
    address: str | None, *, imports: str = "", dashboard: bool = False,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[str | None]:  # fmt: skip
    """A Ray cluster for the length of the block; yields the address of its dashboard, if any.

    Without an address, starts a cluster on this machine, with its dashboard on loopback if asked,
    and stops it after the block; its first processes start at once and import the module `imports`.
    With an address (host:port, ray://host:port, or "auto" for RAY_ADDRESS or this machine's
    cluster), joins that cluster as a driver on this node. A cluster that goes away ends the
    process. `metadata` describes the job on the dashboard.

    Raises:
        InputError: nothing answers at the address, it refuses this process, this machine is not
            one of its nodes, or the environment is unsafe.
    """
    if os.environ.get(UNSAFE) not in (None, "", "0"):
        raise InputError(f"{UNSAFE} is set, which lets a Parquet file run code; unset it")
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    exempt_from_proxies()
    if ray.is_initialized():
        yield None
        return
    address = refuse_unreachable(address)
    try:
        with ClusterWatchdog(own=address is None) as watchdog:
            try:
                job = JobConfig(metadata=dict(metadata))
                url = _join(address, job) if address else _start(imports, dashboard, job)
                watchdog.attach()
            except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
                where = address or "this machine"
                raise InputError(f"no Ray cluster at {where}: {_reason(error)}") from error
            yield url
    finally:
        ray.shutdown()


def _start(imports: str, dashboard: bool, job: JobConfig) -> str | None:
    """Start a cluster on this machine, on loopback, even where another one runs here."""
    folder, note = choose_session_folder()
    if note:
        print(f"note: {note}", file=sys.stderr, flush=True)
    _ensure_token()
    os.environ[PRELOAD] = imports
    if dashboard:
        os.environ.setdefault(TRAIN_RUNS, "1")
    try:
        with ray_private.loopback_only(), ray_private.without_helpers(dashboard=dashboard):
            context = ray.init(
                address="local", include_dashboard=dashboard, dashboard_host="127.0.0.1",
                job_config=job, _node_ip_address="127.0.0.1", _temp_dir=str(folder), **SETTINGS,
            )  # fmt: skip
    finally:
        del os.environ[PRELOAD]  # later clusters must not import it
    return context.dashboard_url or None


def _ensure_token() -> None:
    """Pass the token of an own cluster by the environment where the home folder cannot hold it."""
    if not any(os.environ.get(name) for name in TOKEN_VARIABLES) and find_home_problem():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def gcs_address() -> str:
    return str(ray.get_runtime_context().gcs_address)


def _join(address: str, job: JobConfig) -> str | None:
    if address.startswith("ray://"):
        address = _resolve_client_address(address)
        refuse_unreachable(address)
    variables = {name: os.environ[name] for name in WORKER_VARIABLES}
    runtime_env = {"env_vars": _without_job_variables(variables)}
    context = ray.init(address=address, runtime_env=runtime_env, job_config=job, **SETTINGS)
    return context.dashboard_url or None


def _resolve_client_address(address: str) -> str:
    """host:port of the cluster behind ray://, where every call would go through one process."""
    client = ray.init(address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        return gcs_address()
    finally:
        client.disconnect()


def _without_job_variables(variables: dict[str, str]) -> dict[str, str]:
    """Without those that the job sets itself: Ray refuses two values for one name."""
    job = json.loads(os.environ.get(ray_private.JOB_CONFIG) or "{}")
    job_variables = (job.get("runtime_env") or {}).get("env_vars") or {}
    return {name: value for name, value in variables.items() if name not in job_variables}


def _reason(error: BaseException) -> str:
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    text = " ".join(" ".join(str(link).split()) for link in chain)
    if any(isinstance(link, AuthenticationError) for link in chain) or "nauthenticated" in text:
        return WRONG_TOKEN
    if "ersion mismatch" in text:
        versions = text[text.index("ersion mismatch") + len("ersion mismatch") :].strip(": ")
        return f"another version of Ray or Python; install the cluster's ({versions[:150]})"
    if "No node info found" in text:
        return NOT_A_NODE
    lines = str(error).strip().splitlines()
    has_traceback = any(line.startswith("Traceback") for line in lines)
    return " ".join(" ".join(lines[-1:] if has_traceback else lines).split())[:200]
