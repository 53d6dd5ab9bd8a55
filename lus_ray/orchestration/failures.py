"""Which failures a campaign retries: lost processes and machines, and not errors of a cell."""

import re
import sys

MAX_RETRIES = 3
"""Losses of one cell's process in one campaign after which the cell has failed."""

TIMEOUTS = ("WorkerHealthCheckTimeoutError", "WorkerGroupStartupTimeoutError")
"""Ray Train's errors for workers that do not answer."""


class WorkerLostError(Exception):
    """A worker of a cell, or what it read, is gone; the cell itself did nothing wrong."""


def lost_errors() -> tuple[type[Exception], ...]:
    """Errors of lost processes and machines, with Ray's in a process that has imported it."""
    if "ray" not in sys.modules:
        return (WorkerLostError,)
    from ray import exceptions

    return (
        exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.NodeDiedError,
        exceptions.ObjectLostError, exceptions.OutOfMemoryError, WorkerLostError,
    )  # fmt: skip


def describe_loss(text: str) -> str | None:
    """Why a process is gone, from a text like Ray's; None for an error of the cell."""
    if "NODE_OUT_OF_MEMORY" in text or "OutOfMemoryError" in text:
        return "it ran out of memory"
    if "node has died" in text or "NodeDiedError" in text or "ObjectLostError" in text:
        return "its machine was lost"
    return None if find_cell_error(text) else "its process was killed"


def find_cell_error(text: str) -> str | None:
    """The message of the cell's own error in a traceback, if any."""
    messages = re.findall(r"^(?:lus_ray\.errors\.)?\w+Error: (.+)$", text, re.MULTILINE)
    return messages[-1] if messages and "LostError" not in text else None


def is_loss(failure: BaseException) -> bool:
    """Whether an error, or any error that Ray Train wraps in it, is a loss."""
    if isinstance(failure, lost_errors()) or type(failure).__name__ in TIMEOUTS:
        return True
    names = ("controller_failure", "health_check_failure", "__cause__")
    inner = [getattr(failure, name, None) for name in names]
    inner += getattr(failure, "worker_failures", {}).values()
    return any(is_loss(error) for error in inner if error is not None)
