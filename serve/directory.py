"""Finds the applications that run: those of Serve on a cluster, or those of a plan.

An application that cannot be loaded raises on every `open`; the router rejects it with the reason.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from ray import serve

from lus_ray.errors import LusError, ServeError
from serve.application import FRAME_SLOTS, LocalStage, RemoteStage, Stage, slot_of, source_slot
from serve.batching import JobThread
from serve.plan import PLAN, PlannedApplication, read_plan
from serve.slots import create

LIST_SECONDS = 15.0
"""How long a list of running applications is reused: asking Serve costs 0.1 s of CPU time."""


class Directory(Protocol):
    async def list_names(self) -> list[str]:
        """The running applications; the one deployed last comes last."""
        ...

    async def open(self, name: str) -> Stage:
        """How to call an application.

        Raises:
            ServeError: it cannot be loaded, whenever it is tried.
        """
        ...

    def invalidate(self) -> None:
        """List the applications anew at the next call."""


class ServeDirectory:
    """All model applications of the Serve cluster."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.expires = 0.0

    async def list_names(self) -> list[str]:
        if time.monotonic() > self.expires:
            self.expires = time.monotonic() + LIST_SECONDS
            states = (await asyncio.to_thread(serve.status)).applications
            alive = [name for name, state in states.items() if _is_alive(name, state.status)]
            self.names = sorted(alive, key=lambda name: states[name].last_deployed_time_s)
        return self.names

    async def open(self, name: str) -> Stage:
        return RemoteStage(slot_of(name), await asyncio.to_thread(serve.get_app_handle, name))

    def invalidate(self) -> None:
        self.expires = 0.0


class PlanDirectory:
    """The applications of the plan in a folder, which holds their checkpoints, too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.planned: dict[str, PlannedApplication] = {}
        self.version: tuple[int, int] | None = None
        self.loading = ThreadPoolExecutor(1, thread_name_prefix="load")
        """One application after the other: imports of libraries in several threads may fail."""
        self.read = JobThread()

    async def list_names(self) -> list[str]:
        state = (self.folder / PLAN).stat()
        if (version := (state.st_ino, state.st_mtime_ns)) != self.version:
            self.planned = {planned.name: planned for planned in read_plan(self.folder)}
            self.version = version
        return list(self.planned)

    async def open(self, name: str) -> Stage:
        planned, slot = self.planned[name], slot_of(name)
        if planned.models is None:
            return RemoteStage(slot, await asyncio.to_thread(serve.get_app_handle, name))
        arguments = (slot, planned.models, planned.reads, self.folder)
        loop = asyncio.get_running_loop()
        try:
            deployment = await loop.run_in_executor(self.loading, create, *arguments)
        except LusError:
            raise
        except Exception as error:
            reason = f"{slot}: cannot be loaded ({type(error).__name__}); run its cells again"
            raise ServeError(reason) from error
        deployment.read = self.read
        return LocalStage(deployment)

    def invalidate(self) -> None:
        self.version = None


def _is_alive(name: str, status: str) -> bool:
    slot = slot_of(name)
    is_model = slot in FRAME_SLOTS or source_slot(slot) is not None
    return is_model and status not in {"DELETING", "DEPLOY_FAILED", "NOT_STARTED"}
