"""`lus doctor`: what this machine or cluster can run, and a remedy for each problem."""

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import astuple, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

from lus_ray.errors import InputError, LusError
from lus_ray.orchestration import planner, run_options
from lus_ray.orchestration.cluster import ray_private
from lus_ray.orchestration.cluster.connection import UNSAFE, connect
from lus_ray.orchestration.cluster.session_folder import choose_session_folder, find_home_problem
from lus_ray.storage.paths import cache_root
from lus_ray.training.state_interval import read_state_interval

GIB = 2**30
MAX_UPLOAD_BYTES = 100 << 20
Level = Literal["ok", "note", "fail"]
PACKAGES = ("ray", "torch", "pyarrow", "av", "scikit-learn", "optuna", "skops", "safetensors")


@dataclass(frozen=True)
class DoctorCheck:
    """One line of the report; `remedy` is empty if nothing is wrong."""

    level: Level
    name: str
    result: str
    remedy: str = ""


@dataclass(frozen=True)
class DoctorReport:
    checks: tuple[DoctorCheck, ...]

    @property
    def failed(self) -> bool:
        return any(check.level == "fail" for check in self.checks)

    def text(self) -> str:
        return "\n".join(
            f"{check.level:<5} {check.name:<16} {check.result}"
            + (f"\n{'':<22} -> {check.remedy}" if check.remedy else "")
            for check in self.checks
        )

    def contents(self) -> dict[str, Any]:
        keys = ("level", "what", "found", "remedy")
        findings = [dict(zip(keys, astuple(check), strict=True)) for check in self.checks]
        return {"failed": self.failed, "findings": findings}


def run_checks(address: str | None = None, *, job: bool = False) -> DoctorReport:
    """Check Python, packages, memory, disk and Ray, and plan every size of a study.

    With `job` also what a job that is submitted here would upload.
    """
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    memory, free = psutil.virtual_memory(), shutil.disk_usage(Path.cwd()).free
    memory_text = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    memory_remedy = "close other programs; smoke needs 2 GiB"
    disk_remedy = "free some space here, or give an --out elsewhere"
    cluster, cluster_checks = _check_cluster(address)
    checks = [
        DoctorCheck("ok", "Python", python),
        *map(_check_package, PACKAGES),
        _check_size("memory", memory.available, memory_text, memory_remedy),
        _check_shared_memory(),
        _check_size("disk", free, f"{free / GIB:.1f} GiB free here", disk_remedy),
        *_check_environment(),
        *([_check_upload()] if job else []),
        *cluster_checks,
        *([] if cluster is None else _check_plans(cluster, free)),
    ]
    return DoctorReport(tuple(checks))


def _check_environment() -> list[DoctorCheck]:
    """Variables that keep other commands from working, each with its value and a remedy."""
    problems: list[tuple[Level, str, str]] = []
    if os.environ.get(UNSAFE) not in (None, "", "0"):
        remedy = f"unset {UNSAFE}: it lets a Parquet file run code"
        problems.append(("fail", f"{UNSAFE} is set", remedy))
    try:
        _, note = choose_session_folder()
        if note:
            problems.append(("note", note, "set RAY_TMPDIR to choose another"))
    except InputError as error:
        result, _, remedy = str(error).rpartition("; ")
        problems.append(("fail", result, remedy))
    if home_problem := find_home_problem():
        remedy = "set HOME to a folder that you can write to; Ray's token is passed without it"
        problems.append(("note", home_problem, remedy))
    levels: list[tuple[Level, Callable[[], Any]]]
    levels = [("note", cache_root), ("fail", read_state_interval)]
    for level, read in levels:
        try:
            read()
        except InputError as error:
            result, _, remedy = str(error).rpartition("; ")
            problems.append((level, result, remedy))
    if (encoding := sys.getfilesystemencoding()) != "utf-8":
        problems.append(("fail", f"file names are read as {encoding}", "set PYTHONUTF8=1"))
    if not problems:
        return [DoctorCheck("ok", "environment", "nothing unsafe or unusable is set")]
    return [DoctorCheck(level, "environment", *problem) for level, *problem in problems]


def _check_package(name: str) -> DoctorCheck:
    try:
        return DoctorCheck("ok", name, version(name))
    except PackageNotFoundError:
        remedy = f"pip install -c constraints.txt {name}"
        return DoctorCheck("fail", name, "not installed", remedy)


def _check_shared_memory() -> DoctorCheck:
    path = Path("/dev/shm")
    if not path.exists():
        return DoctorCheck("note", "shared memory", "no /dev/shm", "Ray will use the slower disk")
    size = shutil.disk_usage(path).total
    remedy = "in a container, start it with --shm-size=4g"
    return _check_size("shared memory", size, f"{size / GIB:.1f} GiB", remedy)


def _check_size(name: str, num_bytes: int, result: str, remedy: str) -> DoctorCheck:
    is_low = num_bytes < 2 * GIB
    return DoctorCheck("note" if is_low else "ok", name, result, remedy if is_low else "")


def _check_upload() -> DoctorCheck:
    try:
        num_bytes, is_complete = ray_private.measure_job_upload(Path.cwd())
    except OSError as error:
        return DoctorCheck("note", "upload", f"cannot be measured: {error}", "run it in a clone")
    size = f"a job submitted here would upload {num_bytes.total() / 2**20:.1f} MiB"
    size += "" if is_complete else f", of more than {ray_private.MAX_UPLOAD_FILES} files"
    if is_complete and num_bytes.total() <= MAX_UPLOAD_BYTES:
        return DoctorCheck("ok", "upload", size)
    sizes = (f"{name} ({size / 2**20:.0f} MiB)" for name, size in num_bytes.most_common(3))
    remedy = f"list everything but code in .rayignore; the largest: {', '.join(sizes)}"
    return DoctorCheck("fail", "upload", size, remedy)


def _check_cluster(address: str | None) -> tuple[planner.Cluster | None, list[DoctorCheck]]:
    try:
        with connect(address) as dashboard:
            cluster = planner.Cluster.current()
    except LusError as error:
        result, remedy = str(error), "see the lines 'environment' and 'memory' above"
        if address:
            result, _, remedy = result.partition("; ")
        return None, [DoctorCheck("fail", "Ray cluster", result, remedy)]
    result = f"{cluster.describe()}, {cluster.object_store / GIB:.1f} GiB object store per node"
    check = DoctorCheck("ok", "Ray cluster", result)
    if not cluster.gpus and torch.cuda.is_available():
        remedy = "this machine has a GPU that Ray does not offer; start Ray with --num-gpus 1"
        check = DoctorCheck("note", "Ray cluster", result, remedy)
    return cluster, [check, *([_check_dashboard(dashboard)] if address else [])]


def _check_dashboard(dashboard: str | None) -> DoctorCheck:
    host = (dashboard or "").rpartition(":")[0].strip("[]")
    if host in ("", "localhost") or host.startswith("127.") or host == "::1":
        result = f"at {dashboard or 'none'}, open to this machine only"
        return DoctorCheck("ok", "dashboard", result)
    remedy = "start the head with --dashboard-host=127.0.0.1 and reach it through an SSH tunnel"
    has_token = os.environ.get("RAY_AUTH_MODE") == "token"
    result = f"at {dashboard}, open to every machine that reaches that host"
    return DoctorCheck("note" if has_token else "fail", "dashboard", result, remedy)


def _check_plans(cluster: planner.Cluster, free_bytes: int) -> list[DoctorCheck]:
    checks = []
    experiment = run_options.find_experiment("biomarkers")
    for size in (*experiment.sizes, "full"):
        sized = experiment.at(size)
        result = f"can run: {len(sized.arms)} arms"
        try:
            resources = planner.plan_resources(sized, cluster, size=size, streamed=False)
            notes = planner.check_plan(
                sized, cluster, resources, size=size, streamed=False, free_bytes=free_bytes,
                out=Path.cwd(),
            )  # fmt: skip
        except LusError as error:
            notes, result = [str(error)], "cannot run"
        level: Level = "note" if notes else "ok"
        checks.append(DoctorCheck(level, f"plan {size}", result, "; ".join(notes)))
    return checks
