"""Experiments are values: sources, folds, arms and the published numbers.

An arm is one row of the result table. `start` takes weights from an earlier arm, `reads` takes
its predictions as input, always of the same fold, so that no stage sees a test patient early.
Nothing runs on import.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from lus_ray.errors import ArmError
from lus_ray.folds import Protocol
from lus_ray.tasks.task import with_arguments
from lus_ray.training.recipe import Recipe as Recipe

Published = Mapping[str, Mapping[str, tuple[float, float | None]]]
"""arm -> metric -> (mean, std over folds or None), as printed in the paper, as fractions of 1."""


@dataclass(frozen=True)
class Search:
    """A hyperparameter search: distributions by name, and how many samples to draw.

    A name is a field of the arm's recipe, or `task.<argument>`. `over="fold"` gives each fold its
    own study; `over="mean"` scores a sample by its mean over the folds where they share a test
    set, and is the same as "fold" where they do not: test patients never choose anything, and who
    validates one fold may test another.
    """

    space: Mapping[str, Any]
    samples: int = 0
    over: Literal["fold", "mean"] = "mean"


@dataclass(frozen=True)
class Rows:
    """Which clips feed an arm: those with every column in `needs`, and equal to `where`.

    `train_without` names a label: training clips are those that lack it, so that a later arm
    learns it on clips that this one never saw; where no training clip lacks it, all train.
    `overlap` takes such clips from every patient, test patients too: a leak, there to reproduce
    a published protocol. The report names these arms and those that build on them.
    `images` deals the six copies of every frame to folds at random, whatever their patient, and
    `clips` deals whole clips so, balanced in the class of the arm's label: leaks too, for the same
    reason.
    `learns` is what clips of the train and val sides must equal as well, while all are tested.
    Training clips equal to `unlabelled` are a second stream, which comes without any label.
    `reduced` takes as many labelled frames as that stream has, of each patient in proportion.
    `with_val` trains on the validation side too, for a protocol that has none.
    """

    needs: tuple[str, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    train_without: str | None = None
    overlap: bool = False
    images: bool = False
    clips: bool = False
    learns: Mapping[str, Any] = field(default_factory=dict)
    unlabelled: Mapping[str, Any] = field(default_factory=dict)
    reduced: bool = False
    with_val: bool = False


@dataclass(frozen=True)
class Arm:
    """One row of the result table.

    `task` builds the task (a `functools.partial` of a class in `lus_ray.tasks`).
    `label` is what it predicts: "severity", "sf_ratio", "disease", "biomarkers", or None for an
    arm that only makes features.
    `start` names an earlier arm whose weights it begins with, `weights` a file of published ones;
    `reads` names one whose outputs are its input. `crossfit` > 0 trains that many inner models,
    each without a part of the training groups, so that the predictions of training clips come
    from a model that did not see them.
    `members` are arms of the same fold whose networks answer together.
    `baseline` marks the plain methods that every other arm is held against.
    """

    name: str
    task: Callable[[], Any]
    recipe: Recipe | None = None
    label: str | None = None
    rows: Rows = Rows()
    start: str | None = None
    weights: str | None = None
    reads: str | None = None
    members: tuple[str, ...] = ()
    crossfit: int = 0
    search: Search | None = None
    baseline: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Arms that must be finished before: it starts from them, reads them or joins them."""
        return tuple(name for name in (self.start, self.reads, *self.members) if name is not None)


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper that data can support or contradict: `better` beats `than`."""

    text: str
    metric: str
    better: str
    than: str


@dataclass(frozen=True)
class Gap:
    """A published protocol that leaks, beside its leak-free twin: the report prints the gap."""

    text: str
    leaky: str
    clean: str


@dataclass(frozen=True)
class Size:
    """How an experiment shrinks: recipe fields, task arguments, arms left out, phantom data.

    `recipe` replaces fields of every recipe but those of the arms named in `as_published`; `task`
    replaces the arguments of every task that takes them, and `net` those of the network inside;
    `phantom` are the options of the clips that are made when no data is given.
    """

    recipe: Mapping[str, Any] = field(default_factory=dict)
    as_published: tuple[str, ...] = ()
    task: Mapping[str, Any] = field(default_factory=dict)
    net: Mapping[str, Any] = field(default_factory=dict)
    leave_out: tuple[str, ...] = ()
    phantom: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """Folds, arms in order, the published numbers, the claims to test and the gaps to show.

    `domains` are the roles of the domains that are compared, each with the names that it goes by
    in stores; clips of other domains are left out. `frames_with` names a class of masks: only
    frames that show it are learned from and tested.
    """

    name: str
    title: str
    folds: Protocol
    arms: tuple[Arm, ...]
    metrics: tuple[str, ...]
    published: Published = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    gaps: tuple[Gap, ...] = ()
    sizes: Mapping[str, Size] = field(default_factory=dict)
    seed: int = 0
    domains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frames_with: str = ""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for arm in self.arms:
            if arm.name in seen:
                raise ArmError(f"{self.name}: arm {arm.name!r} comes twice; rename one")
            missing = sorted(set(arm.inputs) - seen)
            if missing:
                raise ArmError(
                    f"{self.name}: arm {arm.name!r} needs {missing}; list them before it"
                )
            seen.add(arm.name)
        for name in set(self.published) - seen:
            raise ArmError(f"{self.name}: {name!r} is published but is no arm")

    def arm(self, name: str) -> Arm:
        """The arm of this name."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ArmError(f"{self.name}: no arm {name!r}; it has {[arm.name for arm in self.arms]}")

    def at(self, size: str) -> "Experiment":
        """The same experiment at a size ("full" is the published recipe)."""
        if size == "full":
            return self
        if size not in self.sizes:
            raise ArmError(f"{self.name}: no size {size!r}; it has {['full', *self.sizes]}")
        chosen = self.sizes[size]
        arms = tuple(_shrink(arm, chosen) for arm in self.arms if arm.name not in chosen.leave_out)
        return self.with_arms(arms)

    def with_arms(self, arms: tuple[Arm, ...]) -> "Experiment":
        """The same experiment with these arms; what is published of others is left out."""
        names = {arm.name for arm in arms}
        return replace(
            self,
            arms=arms,
            published={name: row for name, row in self.published.items() if name in names},
            claims=tuple(c for c in self.claims if c.better in names and c.than in names),
            gaps=tuple(g for g in self.gaps if g.leaky in names and g.clean in names),
        )

    def without(self, names: set[str]) -> "Experiment":
        """The same experiment without these arms and those that need them; claims stay."""
        left = set(names)
        for arm in self.arms:
            if set(arm.inputs) & left:
                left.add(arm.name)
        kept = tuple(arm for arm in self.arms if arm.name not in left)
        return replace(self.with_arms(kept), claims=self.claims)

    def only(self, names: tuple[str, ...]) -> "Experiment":
        """The named arms and those that they start from or read."""
        wanted: set[str] = set()
        stack = [self.arm(name) for name in names]
        while stack:
            arm = stack.pop()
            wanted.add(arm.name)
            stack += [self.arm(name) for name in arm.inputs if name not in wanted]
        return self.with_arms(tuple(arm for arm in self.arms if arm.name in wanted))


def _shrink(arm: Arm, size: Size) -> Arm:
    task = _smaller(arm.task, size)
    recipe = arm.recipe
    if recipe is not None and arm.name not in size.as_published:
        recipe = replace(recipe, **size.recipe)
    return replace(arm, task=task, recipe=recipe)


def _smaller(task: Callable[..., Any], size: Size) -> partial[Any]:
    task = with_arguments(task, size.task)
    parts: dict[str, Any] = {
        name: with_arguments(task.keywords[name], size.net)
        for name in ("net", "backbone")
        if name in task.keywords
    }
    if "members" in task.keywords:
        parts["members"] = tuple(_smaller(member, size) for member in task.keywords["members"])
    return partial(task.func, *task.args, **{**task.keywords, **parts})
