"""Connecting to Ray: a cluster of one's own for a command, or one that is there."""

import contextlib
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import ray
from ray._private import ray_constants
from ray._private.grpc_utils import init_grpc_channel
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray._private.services import find_node_ids
from ray.core.generated import gcs_service_pb2 as gcs
from ray.core.generated import ray_client_pb2 as client_server
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
from ray.core.generated.ray_client_pb2_grpc import RayletDriverStub
from ray.exceptions import AuthenticationError, RayError

from lus_ray.errors import InputError
from lus_ray.orchestration.cluster.watchdog import ClusterWatchdog
from lus_ray.storage.paths import PathOrUri

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
}
"""Ray's own output is replaced by ours; its own pickled records are not kept."""

CELL_MODULE = "lus_ray.orchestration.trial"
"""What a process imports before it can run a cell."""

PRELOAD = "RAY_preload_python_modules"

FOR_WORKERS = ("RAY_TRAIN_V2_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO")
"""Those that Ray reads where cells run: nodes of a cluster do not have this process's."""

UNSAFE = "RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE"
SETTINGS = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": True}
KNOCK_SECONDS = 5
TOKEN = (
    "it asks for a token, and this process has another or none; set RAY_AUTH_MODE=token and put "
    "the cluster's in ~/.ray/auth_token (or RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH)"
)
SUBMIT = "ray job submit --working-dir . -- lus run ..."


@contextlib.contextmanager
def connect(address: str | None, *, imports: str = "") -> Iterator[None]:
    """A Ray cluster for the length of the block.

    `address` None starts one on this machine, without a dashboard, and stops it afterwards. Its
    processes import the module `imports` as soon as they start, and the first ones start with it.
    Otherwise the cluster at the address is joined as a driver of this node, and left as it was:
    "auto" for that of this machine or of RAY_ADDRESS, host:port, or ray://host:port, which is
    asked for the former. Where the cluster goes away meanwhile, the process ends (`guard`).

    Raises:
        InputError: nothing answers at the address, it does not let this process in, or this
            machine is no node of its cluster; or the environment is unsafe.
    """
    if os.environ.get(UNSAFE) not in (None, "", "0"):
        raise InputError(f"{UNSAFE} is set, which lets a Parquet file run code; unset it")
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    if ray.is_initialized():
        yield
        return
    try:
        with ClusterWatchdog(own=address is None) as guard:
            try:
                if address is None:
                    _start(imports)
                else:
                    _join(address)
                guard.started()
            except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
                where = address or "this machine"
                raise InputError(f"no Ray cluster at {where}: {_reason(error)}") from error
            yield
    finally:
        ray.shutdown()


def _start(imports: str) -> None:
    """A cluster on this machine, which never joins one that happens to run here.

    Every port of it is on loopback. Ray does so by itself where it has no clusters of several
    machines; elsewhere it takes this machine's own address instead, and listens on all of them.
    """
    clusters = ray_constants.ENABLE_RAY_CLUSTER
    os.environ[PRELOAD] = imports
    ray_constants.ENABLE_RAY_CLUSTER = False  # its variable was read when Ray was imported
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            dashboard_host="127.0.0.1",
            _node_ip_address="127.0.0.1",
            **SETTINGS,
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        del os.environ[PRELOAD]  # no cluster that starts later is meant


@contextlib.contextmanager
def reuse_idle_workers() -> Iterator[None]:
    """Trials take the processes that wait ready, where this process started the cluster.

    Why: Tune hands every trial a part of the driver's environment, which such processes have
    already, and Ray then starts new ones for it. On other clusters they need what they are handed.
    """
    from ray.tune.execution import class_cache  # which a service does without

    names = ("DEFAULT_ENV_VARS", "ENV_VARS_TO_PROPAGATE")
    before = {name: getattr(class_cache, name) for name in names}
    if ray._private.worker._global_node.is_head():
        for name in names:
            setattr(class_cache, name, {})
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(class_cache, name, value)


def _join(address: str) -> None:
    """Be a driver of the cluster at an address."""
    if address.startswith(("http://", "https://")):
        raise ValueError(f"that is where jobs are submitted to; {SUBMIT}, or unset RAY_ADDRESS")
    _knock(address)
    if address.startswith("ray://"):
        address = _asked(address)
    if not find_node_ids():  # Ray itself would look for one for half a minute
        raise ValueError(_stranger())
    mine = {name: os.environ[name] for name in FOR_WORKERS}
    ray.init(address=address, runtime_env={"env_vars": _merged(mine)}, **SETTINGS)


def _knock(address: str) -> None:
    """Refuse an address where nobody listens or lets this process in; Ray would try for a minute.

    Raises:
        OSError: nobody is there, or the token is not that of the cluster.
    """
    is_client = address.startswith("ray://")
    known = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    host, _, port = known.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    with socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS):
        pass
    with contextlib.closing(init_grpc_channel(f"{host}:{port}")) as channel:
        try:
            if is_client:
                ping = client_server.ClusterInfoType.PING
                question = client_server.ClusterInfoRequest(type=ping)
                RayletDriverStub(channel).ClusterInfo(question, timeout=KNOCK_SECONDS)
            else:
                question = gcs.CheckAliveRequest()
                NodeInfoGcsServiceStub(channel).CheckAlive(question, timeout=KNOCK_SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise PermissionError(TOKEN) from None


def _asked(address: str) -> str:
    """Where the cluster behind a client's address has its store; the client is closed again.

    Why not stay a client: every call of a campaign would go through one process of the head.
    """
    client = ray.init(address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        return str(ray.get_runtime_context().gcs_address)
    finally:
        client.disconnect()


def refuse_job_folder(out: PathOrUri) -> None:
    """A job's copy of its folder goes when it ends, with all that was written there.

    Raises:
        InputError: this is a job, and `out` lies in that copy.
    """
    in_job = bool(os.environ.get(RAY_JOB_CONFIG_JSON_ENV_VAR))
    if in_job and isinstance(out, Path) and out.resolve().is_relative_to(Path.cwd()):
        raise InputError(
            f"--out {out}: a job's own folder is lost with it; give a URI (s3://bucket/runs) or a "
            "folder that all machines share"
        )


def _merged(mine: dict[str, str]) -> dict[str, str]:
    """Without what a job sets itself: Ray refuses two values for one name."""
    job = json.loads(os.environ.get(RAY_JOB_CONFIG_JSON_ENV_VAR) or "{}")
    theirs = (job.get("runtime_env") or {}).get("env_vars") or {}
    return {name: value for name, value in mine.items() if name not in theirs}


def _reason(error: BaseException) -> str:
    """One line for what Ray says over many, with what to do where that is known."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    text = " ".join(" ".join(str(each).split()) for each in chain)
    if any(isinstance(each, AuthenticationError) for each in chain) or "nauthenticated" in text:
        return TOKEN
    if "ersion mismatch" in text:
        told = text[text.index("ersion mismatch") + len("ersion mismatch") :].strip(": ")
        return f"another version of Ray or Python; install that of the cluster ({told[:150]})"
    if "No node info found" in text:
        return _stranger()
    lines = str(error).strip().splitlines()
    if any(line.startswith("Traceback") for line in lines):
        lines = lines[-1:]  # what was raised, after where
    return " ".join(" ".join(lines).split())[:200]


def _stranger() -> str:
    return f"this machine is no node of it; run it there as a job: {SUBMIT}"
