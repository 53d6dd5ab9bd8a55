"""Which frames the cells of an experiment read, and whether they are few."""

import inspect
import sys

import torch

from lus_ray.data import store
from lus_ray.data.loading.batches import FrameSize, size_of
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment
from lus_ray.runs.plan import RunPlan, RunRequest
from lus_ray.storage.paths import is_remote

MAX_PIXELS, MAX_FRAME_BYTES = 500_000_000, 1 << 30
"""What the networks of a small run train on in all epochs, and the resized frames that it reads."""


def find_view(arm: Arm) -> View | None:
    """The view of an arm's task; from its arguments, as building its networks takes long."""
    parameters = inspect.signature(arm.task).parameters  # those of a partial have its values
    view = parameters["view"].default if "view" in parameters else None
    return view if isinstance(view, View) else None


def input_sizes(experiment: Experiment) -> tuple[set[FrameSize], set[FrameSize]]:
    """Sizes at which arms read frames, and those at which they read masks."""
    frame_sizes, mask_sizes = set(), set()
    for arm in experiment.arms:
        if (view := find_view(arm)) is not None:
            frame_sizes.add(size_of(view))
            if "scheme" in inspect.signature(arm.task).parameters:
                mask_sizes.add(size_of(view))
    return frame_sizes, mask_sizes


def is_small(request: RunRequest, plan: RunPlan) -> bool:
    """Whether a run takes about a minute on the CPUs of this machine, and does not ask for Ray."""
    ray = sys.modules.get("ray")
    if sys.platform != "linux" or request.address or request.dashboard or torch.cuda.is_available():
        return False
    if (ray is not None and ray.is_initialized()) or is_remote(plan.data) or plan.folder.mirror:
        return False
    recipes = [arm.recipe for arm in plan.experiment.arms if arm.recipe is not None]
    if any((recipe.workers or 1) > 1 for recipe in recipes) or count_pixels(plan) > MAX_PIXELS:
        return False
    sizes = [size for sizes in input_sizes(plan.experiment) for size in sizes]
    area = sum(size[0] * size[1] for size in sizes)
    return store.count_frames(plan.data) * area <= MAX_FRAME_BYTES


def count_pixels(plan: RunPlan) -> int:
    """Pixels that the unfinished cells train on, and once more for what they predict; about."""
    total = 0
    for cell in plan.unfinished_cells():
        arm = plan.experiment.arm(cell.arm)
        recipe, view = arm.recipe, find_view(arm)
        if recipe is None or view is None:
            continue
        num_images = len(plan.rows)
        if view.is_per_frame:
            num_images = recipe.copies * sum(row["num_frames"] for row in plan.rows)
        num_images = (recipe.draws or num_images) * view.num_frames
        times = arm.search.samples if arm.search and arm.is_searched and not cell.seed else 1
        times *= (recipe.epochs + 1) * max(1, arm.crossfit)
        total += times * num_images * view.height * view.width
    return total
