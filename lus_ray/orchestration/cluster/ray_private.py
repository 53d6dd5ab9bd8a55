"""Every use of Ray's private parts, each with the reason why no public way exists in Ray 2.60.

A new release of Ray may break this file and no other.
"""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR as JOB_CONFIG
from ray._private.state import state
from ray._raylet import setproctitle as set_process_title  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError

__all__ = ["JOB_CONFIG", "set_process_title"]
"""The first marks the driver of a job; ray.job_submission only sets it. Ray links its own
setproctitle, which overwrites titles that others set."""

MAX_UPLOAD_FILES = 100_000
GRAFANA_BASE = "train_grafana_dashboard_base.json"
"""The dashboard of Ray Train without its panels."""


def available_resources_per_node() -> dict[str, dict[str, float]]:
    """Free resources by node ID. Why private: `ray.available_resources` only has their sum."""
    resources: dict[str, dict[str, float]] = state.available_resources_per_node()
    return resources


def managed_node_groups() -> list[Any]:
    """Node groups of a managed cluster. Why private: Ray tells drivers no autoscaler's limit."""
    config = state.get_cluster_config()
    return [] if config is None else list(config.node_group_configs)


@contextlib.contextmanager
def loopback_only() -> Iterator[None]:
    """Let a cluster that starts in the block bind to 127.0.0.1 alone.

    Why private: with multi-node clusters enabled, Ray listens on every interface, and it reads
    the environment variable that disables them only once, when it is imported.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def without_helpers(*, dashboard: bool) -> Iterator[None]:
    """Start a cluster in the block without processes that a command of its own has no use for.

    They forward logs to drivers, scale a cluster, and serve a dashboard: three interpreters, which
    cost seconds of CPU time at the start. Why private: Ray's parameters for them are not those of
    `ray.init`.
    """
    from ray._private.node import Node

    names = ("start_log_monitor", "start_monitor", *(() if dashboard else ("start_api_server",)))
    before = {name: getattr(Node, name) for name in names}
    for name in names:
        setattr(Node, name, lambda node, **options: None)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(Node, name, method)


@contextlib.contextmanager
def inherited_environment() -> Iterator[None]:
    """Start trials without an environment of their own, so that they reuse idle processes.

    Why private: Tune passes part of the driver's environment to each trial, with no setting to
    turn that off, and Ray then starts a new process for it, which costs seconds per trial.
    """
    from ray.tune.execution import class_cache  # not imported by a service

    names = ("DEFAULT_ENV_VARS", "ENV_VARS_TO_PROPAGATE")
    before: Mapping[str, Any] = {name: getattr(class_cache, name) for name in names}
    for name in names:
        setattr(class_cache, name, {})
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(class_cache, name, value)


def find_cluster() -> str | None:
    """host:port of the cluster that `ray start` or another process started here, if any.

    Why private: `ray.init` looks for it and joins it in one step, for up to two minutes.
    """
    from ray._private import services

    started: str | None = services.find_bootstrap_address(None)  # the last `ray start`
    running: list[str] = sorted(services.find_gcs_addresses())
    return started if started and len(running) != 1 else next(iter(running), None)


def check_head(address: str, *, is_client: bool, timeout_s: float) -> grpc.StatusCode | None:
    """How the head at host:port refuses this process and its token; None where it accepts both.

    Why private: `ray.init` retries for a minute, and only Ray's own channel carries the token.
    """
    from ray._private.grpc_utils import init_grpc_channel
    from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS  # no proxy, like Ray's own
    from ray.core.generated import gcs_service_pb2, ray_client_pb2
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
    from ray.core.generated.ray_client_pb2_grpc import RayletDriverStub

    with contextlib.closing(init_grpc_channel(address, GLOBAL_GRPC_OPTIONS)) as channel:
        try:
            if is_client:
                ping = ray_client_pb2.ClusterInfoType.PING
                request = ray_client_pb2.ClusterInfoRequest(type=ping)
                RayletDriverStub(channel).ClusterInfo(request, timeout=timeout_s)
            else:
                request = gcs_service_pb2.CheckAliveRequest()
                NodeInfoGcsServiceStub(channel).CheckAlive(request, timeout=timeout_s)
        except AuthenticationError:  # this process has no token at all
            return grpc.StatusCode.UNAUTHENTICATED
        except grpc.RpcError as error:
            status: grpc.StatusCode = error.code()
            return status
    return None


def render_grafana(config: Any) -> dict[str, Any]:
    """The JSON values of a Grafana dashboard, in the structure of Ray's own.

    Why private: Ray's generator is public for Ray's own panels alone.
    """
    from ray.dashboard.modules.metrics import grafana_dashboard_factory

    text, _ = grafana_dashboard_factory._generate_grafana_dashboard(config)
    dashboard: dict[str, Any] = json.loads(text)
    return dashboard


def measure_job_upload(folder: Path) -> tuple[Counter[str], bool]:
    """Bytes that a job submitted in a folder uploads, by entry of the folder, before compression.

    Also whether these are all: counting ends at `MAX_UPLOAD_FILES` files. Ray keeps an upload in
    the memory of the head. Why private: only its packaging knows what its ignore rules leave out.
    Raises OSError if a folder below it cannot be read; Ray could not pack it either.
    """
    from ray._private import ray_constants
    from ray._private.runtime_env import packaging

    folder, files = folder.resolve(), list[Path]()
    excludes = packaging._get_excludes(folder, ray_constants.get_runtime_env_default_excludes())
    with_git = os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    packaging._dir_travel(
        folder,
        [excludes, lambda path: len(files) >= MAX_UPLOAD_FILES],
        lambda path: files.append(path) if path.is_file() else None,
        include_gitignore=with_git,
    )
    num_bytes: Counter[str] = Counter()
    for path in files:
        num_bytes[path.relative_to(folder).parts[0]] += path.stat().st_size
    return num_bytes, len(files) < MAX_UPLOAD_FILES
