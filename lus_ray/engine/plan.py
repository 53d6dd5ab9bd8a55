"""The plan: which cells there are, what each one needs, and whether this cluster can ever run it.

Why before anything starts: a trial that asks for more than the cluster has waits for ever
without an error, and a Data task that finds no free CPU starves the training that feeds on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lus_ray.engine.cell import Cell, slug
from lus_ray.errors import ArmError, PlanError
from lus_ray.experiment import Arm, Experiment
from lus_ray.folds import Fold

MIN_FREE_BYTES = 200 << 20


@dataclass(frozen=True)
class Cluster:
    """What there is: CPUs, GPUs, memory and object store in bytes."""

    cpus: float
    gpus: float = 0.0
    memory: float = 0.0
    object_store: float = 0.0

    @staticmethod
    def of(resources: Mapping[str, float]) -> "Cluster":
        """From Ray's cluster resources."""
        return Cluster(
            cpus=resources.get("CPU", 0.0),
            gpus=resources.get("GPU", 0.0),
            memory=resources.get("memory", 0.0),
            object_store=resources.get("object_store_memory", 0.0),
        )


@dataclass(frozen=True)
class Need:
    """What one cell holds while it runs. `data_cpus` are left free for the tasks that feed it."""

    workers: int
    gpus_per_worker: float
    data_cpus: int

    @property
    def cpus(self) -> int:
        """CPUs that must exist for the cell to finish."""
        return self.workers + self.data_cpus


def cells(experiment: Experiment, folds: Sequence[Fold]) -> tuple[Cell, ...]:
    """Every cell in the order of the table; search samples first among their arm."""
    made: list[Cell] = []
    for arm in experiment.arms:
        made += [Cell(arm.name, fold.number) for fold in folds]
    folders: dict[str, str] = {}
    for arm in experiment.arms:
        other = folders.setdefault(slug(arm.name), arm.name)
        if other != arm.name:
            raise ArmError(
                f"{experiment.name}: {arm.name!r} and {other!r} share a folder; rename one"
            )
    return tuple(made)


def need(arm: Arm, cluster: Cluster, *, streamed: bool) -> Need:
    """What a cell of this arm holds here. A share of a GPU is asked for only where there is one."""
    if arm.recipe is None:
        return Need(1, 0.0, 0)
    gpus = arm.recipe.gpus if cluster.gpus > 0 else 0.0
    data = 1 if streamed or arm.recipe.workers > 1 else 0
    return Need(arm.recipe.workers, gpus, data)


def check(
    experiment: Experiment, cluster: Cluster, *, size: str, streamed: bool, free_bytes: int,
    out: Path,
) -> list[str]:  # fmt: skip
    """Notes for the user on how the cells will run.

    Raises:
        PlanError: a cell can never run; names the smallest change that lets it.
    """
    notes = []
    if cluster.cpus < 1:
        raise PlanError("the cluster has no CPU; start Ray with --num-cpus 1 or more")
    for arm in experiment.arms:
        wanted = need(arm, cluster, streamed=streamed)
        if wanted.cpus > cluster.cpus:
            raise PlanError(_too_many_cpus(arm, wanted, cluster))
        gpus = wanted.workers * wanted.gpus_per_worker
        if gpus > cluster.gpus:
            most = int(cluster.gpus // wanted.gpus_per_worker)
            raise PlanError(
                f"arm {arm.name!r} needs {gpus:g} GPUs for {wanted.workers} workers, the cluster "
                f"has {cluster.gpus:g}; use --set arm.recipe.workers={max(1, most)}"
            )
    if free_bytes < MIN_FREE_BYTES:
        raise PlanError(
            f"{out}: only {free_bytes >> 20} MiB free, {MIN_FREE_BYTES >> 20} MiB are needed; "
            "free some space or choose another --out"
        )
    if size == "full" and not cluster.gpus and any(a.recipe for a in experiment.arms):
        notes.append("no GPU here: the published recipe on CPUs takes days; --size laptop fits")
    if streamed:
        notes.append("clips are streamed from the store: they do not fit the shared memory")
    return notes


def _too_many_cpus(arm: Arm, wanted: Need, cluster: Cluster) -> str:
    fits = int(cluster.cpus) - wanted.data_cpus
    asks = f"arm {arm.name!r} needs {wanted.workers} CPUs for its workers"
    asks += f" and {wanted.data_cpus} for its data" if wanted.data_cpus else ""
    if fits >= 2 or (fits == 1 and wanted.workers > 1):
        return (
            f"{asks}, the cluster has {cluster.cpus:g}; use --set arm.recipe.workers={max(1, fits)}"
        )
    return f"{asks}, the cluster has {cluster.cpus:g}; start Ray with --num-cpus {wanted.cpus}"
