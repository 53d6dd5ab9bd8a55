"""What a campaign survives: processes and machines that go away under a cell."""

import re

import ray.exceptions

MAX_RETRIES = 3
"""So often the process of a cell may die in one campaign; then the cell has failed."""

LOST = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OutOfMemoryError,
)
"""Errors that say nothing of the cell: what it ran on or read from is gone."""

UNHEARD = ("WorkerHealthCheckTimeoutError", "WorkerGroupStartupTimeoutError")
"""Ray Train's own names for workers that do not answer."""


def describe_loss(text: str) -> str | None:
    """Why a process is gone, in words, from what Ray tells; None for an error of the cell.

    Ray tells nothing of a process that could not be asked any more: it was killed.
    """
    if "NODE_OUT_OF_MEMORY" in text or "OutOfMemoryError" in text:
        return "it ran out of memory"
    if "node has died" in text or "NodeDiedError" in text or "ObjectLostError" in text:
        return "its machine was lost"
    return None if find_cell_error(text) else "its process was killed"


def find_cell_error(text: str) -> str | None:
    """What an error of the cell says that reached the driver in no other way."""
    found = re.findall(r"^(?:lus_ray\.errors\.)?\w+Error: (.+)$", text, re.MULTILINE)
    return found[-1] if found and "WorkerLostError" not in text else None


class WorkerLostError(Exception):
    """A worker of a cell, or what it read, is gone; the cell itself did nothing wrong."""


def is_loss(failure: BaseException) -> bool:
    """Whether an error, or one of the workers' errors in it, is a loss.

    Ray Train wraps what it hears of its workers: by rank, of its own process, of a health check.
    """
    if isinstance(failure, (*LOST, WorkerLostError)) or type(failure).__name__ in UNHEARD:
        return True
    inner = [
        getattr(failure, name, None) for name in ("controller_failure", "health_check_failure")
    ]
    inner += [failure.__cause__, *getattr(failure, "worker_failures", {}).values()]
    return any(is_loss(error) for error in inner if error is not None)
