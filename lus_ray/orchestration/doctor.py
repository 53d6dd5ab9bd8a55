"""What this machine or cluster can run, and the remedy for each trouble."""

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

from lus_ray.errors import LusError
from lus_ray.orchestration import planner, run_options
from lus_ray.orchestration.cluster import job_package
from lus_ray.orchestration.cluster.connection import UNSAFE, connect

GIB = 2**30
PACKAGES = ("ray", "torch", "pyarrow", "av", "scikit-learn", "optuna", "skops", "safetensors")


@dataclass(frozen=True)
class DoctorCheck:
    """One line of the examination; `remedy` is empty where all is well."""

    level: Literal["ok", "note", "fail"]
    what: str
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class DoctorReport:
    """All findings; `failed` where something keeps experiments from running."""

    findings: tuple[DoctorCheck, ...]

    @property
    def failed(self) -> bool:
        """Whether anything has to be mended first."""
        return any(finding.level == "fail" for finding in self.findings)

    def text(self) -> str:
        """One line a finding, and its remedy below it."""
        lines = []
        for f in self.findings:
            lines.append(f"{f.level:<5} {f.what:<16} {f.found}")
            if f.remedy:
                lines.append(f"{'':<22} -> {f.remedy}")
        return "\n".join(lines)

    def contents(self) -> dict[str, Any]:
        """JSON values."""
        return {"failed": self.failed, "findings": [vars(finding) for finding in self.findings]}


def run_checks(address: str | None = None) -> DoctorReport:
    """Look at Python, packages, memory, disk and Ray, and ask the planner about each size."""
    findings = [_python(), *_packages(), _memory(), _shared_memory(), _disk(), _environment()]
    findings.append(_upload())
    cluster, found = _cluster(address)
    findings += found
    if cluster is not None:
        findings += _plans(cluster)
    return DoctorReport(tuple(findings))


def _python() -> DoctorCheck:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return DoctorCheck("ok", "Python", found)


def _packages() -> list[DoctorCheck]:
    findings = []
    for name in PACKAGES:
        try:
            findings.append(DoctorCheck("ok", name, version(name)))
        except PackageNotFoundError:
            remedy = f"pip install -c constraints.txt {name}"
            findings.append(DoctorCheck("fail", name, "not installed", remedy))
    return findings


def _memory() -> DoctorCheck:
    memory = psutil.virtual_memory()
    found = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    if memory.available < 2 * GIB:
        return DoctorCheck("note", "memory", found, "close other programs; smoke needs 2 GiB")
    return DoctorCheck("ok", "memory", found)


def _shared_memory() -> DoctorCheck:
    path = Path("/dev/shm")
    if not path.exists():
        return DoctorCheck("note", "shared memory", "no /dev/shm", "Ray will use the disk, slower")
    size = shutil.disk_usage(path).total
    if size < 2 * GIB:
        remedy = "in a container, start it with --shm-size=4g"
        return DoctorCheck("note", "shared memory", f"{size / GIB:.1f} GiB", remedy)
    return DoctorCheck("ok", "shared memory", f"{size / GIB:.1f} GiB")


def _disk() -> DoctorCheck:
    free = shutil.disk_usage(Path.cwd()).free
    if free < 2 * GIB:
        remedy = "free some space here, or run with --out elsewhere"
        return DoctorCheck("note", "disk", f"{free / GIB:.1f} GiB free here", remedy)
    return DoctorCheck("ok", "disk", f"{free / GIB:.1f} GiB free here")


def _environment() -> DoctorCheck:
    if os.environ.get(UNSAFE) not in (None, "", "0"):
        remedy = f"unset {UNSAFE}: it lets a Parquet file run code"
        return DoctorCheck("fail", "environment", f"{UNSAFE} is set", remedy)
    return DoctorCheck("ok", "environment", "nothing unsafe is set")


def _upload() -> DoctorCheck:
    """What `ray job submit --working-dir .` would send from here."""
    try:
        found, ended = job_package.sizes(Path.cwd())
    except OSError as error:
        return DoctorCheck("note", "upload", f"cannot be counted: {error}", "run it in a clone")
    size = f"{found.total() / 2**20:.1f} MiB would go with a job from here"
    size += "" if ended else f", of more than {job_package.MAX_FILES} files"
    if ended and found.total() <= job_package.MAX_BYTES:
        return DoctorCheck("ok", "upload", size)
    remedy = f"name what is no code in .rayignore; the largest: {job_package.largest(found)}"
    return DoctorCheck("fail", "upload", size, remedy)


def _cluster(address: str | None) -> tuple[planner.Cluster | None, list[DoctorCheck]]:
    import ray

    try:
        with connect(address):
            cluster = planner.Cluster.current()
            behind = [_listening(ray._private.worker.get_dashboard_url())] if address else []
    except LusError as error:
        remedy = "see 'ray status'; without --address a cluster is started here"
        return None, [DoctorCheck("fail", "Ray cluster", str(error), remedy)]
    found = f"{cluster.describe()}, {cluster.object_store / GIB:.1f} GiB object store a node"
    if not cluster.gpus and torch.cuda.is_available():
        remedy = "a GPU is here but Ray does not offer it; start Ray with --num-gpus 1"
        return cluster, [DoctorCheck("note", "Ray cluster", found, remedy), *behind]
    return cluster, [DoctorCheck("ok", "Ray cluster", found), *behind]


def _listening(dashboard: str | None) -> DoctorCheck:
    """Whether the cluster's dashboard, where jobs are submitted, is open to other machines."""
    host = (dashboard or "").rpartition(":")[0].strip("[]")
    if host in ("", "localhost") or host.startswith("127.") or host == "::1":
        return DoctorCheck("ok", "dashboard", f"at {dashboard or 'none'}, for this machine alone")
    remedy = "start the head with --dashboard-host=127.0.0.1 and reach it through an SSH tunnel"
    level: Literal["note", "fail"] = "fail"
    if os.environ.get("RAY_AUTH_MODE") == "token":
        level = "note"
    return DoctorCheck(level, "dashboard", f"at {dashboard}, for whoever reaches that host", remedy)


def _plans(cluster: planner.Cluster) -> list[DoctorCheck]:
    findings = []
    experiment = run_options.find("biomarkers")
    free = shutil.disk_usage(Path.cwd()).free
    for size in (*experiment.sizes, "full"):
        sized = experiment.at(size)
        try:
            notes = planner.check_plan(
                sized, cluster, size=size, streamed=False, free_bytes=free, out=Path.cwd()
            )
        except LusError as error:
            findings.append(DoctorCheck("note", f"plan {size}", "cannot run", str(error)))
            continue
        level: Literal["ok", "note"] = "note" if notes else "ok"
        found = f"can run: {len(sized.arms)} arms"
        findings.append(DoctorCheck(level, f"plan {size}", found, "; ".join(notes)))
    return findings
