"""Runs a clip through the stages of a route, independent branches in parallel.

frames ─┬─ backbone ── experts of each label, in parallel
        ├─ classifiers
        ├─ scorer ──── aggregators
        └─ segmenter
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Any

import numpy as np
import ray
from jaxtyping import UInt8
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.model_selection import LABELS
from lus_ray.inference.response import StageOutputs, Stopwatch
from lus_ray.inference.schema import ExpertGroup
from lus_ray.inference.summaries import merge_groups
from serve.application import ModelApplication, Route
from serve.errors import RequestError

SMALL_BYTES = 2**18
"""Frames up to this size travel in each message; larger ones go to the object store once."""


class SharedFrames:
    """The frames of a clip, as each application of a route takes them."""

    def __init__(self, frames: UInt8[np.ndarray, "N H W"]) -> None:
        self.frames = frames
        self.stored: asyncio.Task[ray.ObjectRef] | None = None

    async def argument_for(self, application: ModelApplication) -> np.ndarray | ray.ObjectRef:
        """The frames, or a reference where they are large and another process reads them."""
        if application.stage.is_local or self.frames.nbytes <= SMALL_BYTES:
            return self.frames
        if self.stored is None:
            self.stored = asyncio.create_task(asyncio.to_thread(ray.put, self.frames))
        return await self.stored


class Pipeline:
    """One pass of a clip through a route; `watch` records the time of each stage."""

    def __init__(self, route: Route, limits: ServiceLimits, watch: Stopwatch) -> None:
        self.route, self.limits, self.watch = route, limits, watch
        self.outputs = StageOutputs()
        self.networks: list[ExpertGroup] = []

    async def __call__(
        self, frames: UInt8[np.ndarray, "N H W"], *, uncertainty: bool = False,
        attention: bool = False,
    ) -> StageOutputs:  # fmt: skip
        """The outputs of every stage.

        Raises:
            RequestError: the queue of a stage is full (429), or none of its replicas lives (503).
        """
        shared = SharedFrames(frames)
        branches = {
            "backbone": lambda: self._predict_labels(shared, attention),
            "classifiers": lambda: self._predict_networks(shared),
            "scorer": lambda: self._predict_scores(shared),
            "segmenter": lambda: self._predict_masks(shared, uncertainty),
        }
        await asyncio.gather(*(branches[slot]() for slot in branches if slot in self.route))
        self.outputs.experts = merge_groups(self.outputs.experts, self.networks)
        return self.outputs

    async def _predict_labels(self, frames: SharedFrames, attention: bool) -> None:
        with self.watch.time("backbone"):
            biomarkers = self.outputs.biomarkers = await self._call_batched("backbone", frames)
        with self.watch.time("experts"):
            slots = [f"experts-{label}" for label in LABELS if f"experts-{label}" in self.route]
            calls = (self._call_batched(slot, biomarkers) for slot in slots)
            self.outputs.experts = list(chain.from_iterable(await asyncio.gather(*calls)))
        if attention:
            with self.watch.time("attention"):
                severity = None
                if "experts-severity" in self.route:
                    severity = await self._call(
                        "experts-severity", biomarkers, method="weigh_signs"
                    )
                self.outputs.attention = await self._call(
                    "backbone", frames, biomarkers, severity, method="attend"
                )

    async def _predict_networks(self, frames: SharedFrames) -> None:
        with self.watch.time("classifiers"):
            self.networks = await self._call_batched("classifiers", frames)

    async def _predict_scores(self, frames: SharedFrames) -> None:
        with self.watch.time("frames"):
            scores = self.outputs.frames = await self._call("scorer", frames)
        with self.watch.time("clip_scores"):
            if "aggregators" in self.route:
                probability = scores.probability
                self.outputs.clip_scores = await self._call_batched("aggregators", probability)

    async def _predict_masks(self, frames: SharedFrames, uncertainty: bool) -> None:
        with self.watch.time("masks"):
            self.outputs.masks = await self._call("segmenter", frames, uncertainty)

    async def _call_batched(self, slot: str, clip: Any) -> Any:
        """Call a stage for which many clips cost little more than one."""
        application = self.route[slot]
        if isinstance(clip, SharedFrames):
            clip = await clip.argument_for(application)
        return await self._retry(lambda: application.batch(clip))

    async def _call(self, slot: str, clip: Any, *others: Any, method: str = "predict") -> Any:
        """Call a stage whose cost grows with every clip; its replicas share the clips."""
        application = self.route[slot]
        if isinstance(clip, SharedFrames):
            clip = await clip.argument_for(application)
        return await self._retry(lambda: application.call(clip, *others, method=method))

    async def _retry(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Call again where a replica dies under the request; stages keep no state."""
        retry_after = self.limits.retry_after_seconds
        for attempt in range(self.limits.num_attempts):
            try:
                return await call()
            except BackPressureError:
                raise RequestError(
                    429, "too many clips at once; try again in a few seconds", retry_after
                ) from None
            except (RayActorError, DeploymentUnavailableError):
                await asyncio.sleep(0.2 * 2**attempt)
        raise RequestError(
            503, "a part of the service is restarting; try again in a few seconds", retry_after
        )
