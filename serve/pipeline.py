"""Asks the stages of a route what they say of a clip, independent branches at once.

frames ─┬─ backbone ── experts of each label, at once
        ├─ scorer ──── aggregators
        └─ segmenter
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import ray
from jaxtyping import UInt8
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.model_selection import LABELS
from lus_ray.inference.response import Said
from serve.application import Route
from serve.errors import Refused

SMALL_BYTES = 2**18
"""Up to here the frames of a clip travel in each message; larger ones are put aside for all."""


class Composition:
    """One pass of a clip through the stages of a route, timed."""

    def __init__(self, route: Route, limits: ServiceLimits) -> None:
        self.route, self.limits = route, limits
        self.milliseconds: dict[str, float] = {}
        self.said = Said()

    async def __call__(
        self, frames: UInt8[np.ndarray, "N H W"], *, uncertainty: bool = False
    ) -> Said:
        """What every stage says of the frames.

        Raises:
            Refused: a stage has a full queue (429), or none of its replicas lives (503).
        """
        is_small = frames.nbytes <= SMALL_BYTES
        shared = frames if is_small else await asyncio.to_thread(ray.put, frames)
        await asyncio.gather(
            self._signs(shared), self._scores(shared), self._outlines(shared, uncertainty)
        )
        return self.said

    async def _signs(self, frames: np.ndarray | ray.ObjectRef) -> None:
        if "backbone" not in self.route:
            return
        began = time.perf_counter()
        self.said.biomarkers = await self._ask_together("backbone", frames)
        self._time("backbone", began)
        began = time.perf_counter()
        slots = [f"experts-{label}" for label in LABELS if f"experts-{label}" in self.route]
        asked = (self._ask_together(slot, self.said.biomarkers) for slot in slots)
        groups = await asyncio.gather(*asked)
        self.said.experts = [group for said in groups for group in said]
        self._time("experts", began)

    async def _scores(self, frames: np.ndarray | ray.ObjectRef) -> None:
        if "scorer" not in self.route:
            return
        began = time.perf_counter()
        scored = self.said.frames = await self._ask_alone("scorer", frames)
        self._time("frames", began)
        began = time.perf_counter()
        if "aggregators" in self.route:
            self.said.clip_scores = await self._ask_together("aggregators", scored.probability)
        self._time("clip_scores", began)

    async def _outlines(self, frames: np.ndarray | ray.ObjectRef, uncertainty: bool) -> None:
        if "segmenter" not in self.route:
            return
        began = time.perf_counter()
        self.said.masks = await self._ask_alone("segmenter", frames, uncertainty)
        self._time("masks", began)

    async def _ask_together(self, slot: str, clip: Any) -> Any:
        """What a stage says that answers many clips for little more than one."""
        return await self._ask(lambda: self.route[slot].together(clip))

    async def _ask_alone(self, slot: str, *clip: Any) -> Any:
        """What a stage says whose work grows with every clip: its replicas share the clips."""
        return await self._ask(lambda: self.route[slot].ask(*clip))

    async def _ask(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """What a stage says, asked again where a replica dies under the request.

        Asking twice is safe: a stage computes and keeps nothing.
        """
        for attempt in range(self.limits.num_attempts):
            try:
                return await ask()
            except BackPressureError:
                raise Refused(
                    429, "too many clips at once", self.limits.retry_after_seconds
                ) from None
            except (RayActorError, DeploymentUnavailableError):
                await asyncio.sleep(0.2 * 2**attempt)
        raise Refused(503, "a part of the service starts anew", self.limits.retry_after_seconds)

    def _time(self, stage: str, began: float) -> None:
        self.milliseconds[stage] = 1e3 * (time.perf_counter() - began)
