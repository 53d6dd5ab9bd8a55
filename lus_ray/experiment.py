"""Experiments are values: folds, arms, published numbers and sizes.

An arm is one row of the result table. It may take weights (`start`) or predictions (`reads`) of
an earlier arm, always of the same fold, so that no stage sees a test patient early.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from lus_ray.data.labels import Label
from lus_ray.errors import ArmError
from lus_ray.folds import Protocol
from lus_ray.study_files import StudyFile
from lus_ray.suggestions import suggest
from lus_ray.tasks.task import with_arguments
from lus_ray.training.recipe import Recipe as Recipe

Published = Mapping[str, Mapping[str, tuple[float, float | None]]]
"""arm -> metric -> (mean, std over folds or None), as printed in the paper, as fractions of 1."""

TRIAL_SIZES = ("smoke", "demo")
"""Sizes that show that a study runs, not what it finds."""


@dataclass(frozen=True)
class Search:
    """A hyperparameter search: Optuna's distributions by name, and the number of samples.

    A name is a field of the arm's recipe or `task.<argument>`, and leads on inside with dots
    (`lus_ray.arm_settings`): `lr`, `augment.rotate_deg`, `task.backbone.dropout`.
    The first sample is the arm as it is. Validation patients choose, also where the arm trains on
    them: its samples leave them out, and the chosen one is trained again with them.
    `over="fold"` searches in each fold separately; "mean" scores a sample by its mean over folds
    that share a test set. Without `samples` nothing is searched.
    """

    space: Mapping[str, Any]
    samples: int = 0
    over: Literal["fold", "mean"] = "mean"


@dataclass(frozen=True)
class Rows:
    """Which clips an arm trains on and predicts.

    Attributes:
        needs: columns that a clip must have.
        where: values that a clip must have.
        train_without: a label that training clips must lack, so that a later arm learns it from
            clips that are new to this arm; if every training clip has it, all train.
        overlap: takes clips without that label from every patient, test patients included.
        images: assigns the six copies of every frame to folds at random, whatever the patient.
        clips: assigns clips to folds at random, balanced in the class of the arm's label.
        learns: values that training and validation clips must have, while all are tested.
        unlabelled: values of training clips that are a second stream without labels.
        reduced: takes as many labelled frames as that stream has, of each patient in proportion.
        with_val: trains on validation clips too, for a protocol without validation.

    `overlap`, `images` and `clips` leak, to reproduce published protocols. The report names these
    arms and those that build on them.
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

    Attributes:
        task: builds the task; a `functools.partial` of a class in `lus_ray.tasks`.
        label: the predicted column; None for an arm that only makes features.
        start: an earlier arm that gives the initial weights.
        weights: a file of published weights.
        pretrained: the weights that the paper starts from, a name of `lus weights`; a run at full
            size without any says so.
        reads: an earlier arm whose predictions are the input.
        members: earlier arms whose networks are joined.
        crossfit: if above 0, the number of inner models, each trained without a part of the
            training groups, which it then predicts.
        baseline: a plain method that every other arm is compared with.
    """

    name: str
    task: Callable[[], Any]
    recipe: Recipe | None = None
    label: str | None = None
    rows: Rows = Rows()
    start: str | None = None
    weights: str | None = None
    pretrained: str | None = None
    reads: str | None = None
    members: tuple[str, ...] = ()
    crossfit: int = 0
    search: Search | None = None
    baseline: bool = False

    @property
    def is_searched(self) -> bool:
        return self.search is not None and self.search.samples > 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """Arms that must finish first: it starts from, reads or joins them."""
        return tuple(name for name in (self.start, self.reads, *self.members) if name is not None)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper that data can support or contradict: `better` beats `than`.

    With a `margin` (fraction of 1) it claims that `better` is as good: not lower by that or more.
    `printed_p` is the p of the paper, as printed there; empty where it prints none that we know.
    """

    text: str
    metric: str
    better: str
    than: str
    margin: float = 0.0
    printed_p: str = ""


@dataclass(frozen=True)
class Gap:
    """An arm of a leaky published protocol and the same arm without the leak."""

    text: str
    leaky: str
    clean: str


@dataclass(frozen=True)
class Size:
    """How an experiment shrinks.

    Attributes:
        recipe: fields to replace in every recipe, except for arms in `as_published`.
        task: arguments to replace in every task that accepts them.
        net: arguments to replace in every network that accepts them.
        leave_out: arms to drop.
        folds: a protocol with fewer folds; None keeps the experiment's.
        phantom: options of the phantom clips that are made when no data is given.
    """

    recipe: Mapping[str, Any] = field(default_factory=dict)
    as_published: tuple[str, ...] = ()
    task: Mapping[str, Any] = field(default_factory=dict)
    net: Mapping[str, Any] = field(default_factory=dict)
    leave_out: tuple[str, ...] = ()
    folds: Protocol | None = None
    phantom: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """Folds, arms in order, published numbers, claims to test and leakage gaps to show.

    `domains` are the roles of compared domains, each with its names in stores; clips of other
    domains are not used. `frames_with` names a mask class; only frames that show it are used.
    `target` is the label of a study of any one label; clips without it are not used.
    `remarks` say what the paper reports without numbers to set beside those of a run: of an
    "external" test, of "raters", and of "costs".
    `protocols` are other folds by name, for `--splits NAME`; a published one is among them where it
    differs from `folds`.
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
    target: Label | None = None
    file: StudyFile | None = None
    remarks: Mapping[str, str] = field(default_factory=dict)
    protocols: Mapping[str, Protocol] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """The file first: reading it imports the modules of the classes in the arms."""
        return {"file": self.file, **vars(self)}

    def __post_init__(self) -> None:
        names: set[str] = set()
        for arm in self.arms:
            if arm.name in names:
                raise ArmError(f"{self.name}: arm {arm.name!r} comes twice; rename one")
            missing = sorted(set(arm.inputs) - names)
            if missing:
                raise ArmError(
                    f"{self.name}: arm {arm.name!r} needs {missing}; list them before it"
                )
            if arm.recipe is not None and not arm.recipe.epochs and arm.start is None:
                raise ArmError(
                    f"{self.name}: arm {arm.name!r} has 0 epochs and no `start`; add one"
                )
            names.add(arm.name)
        for name in set(self.published) - names:
            raise ArmError(f"{self.name}: {name!r} is published but is no arm")

    def arm(self, name: str) -> Arm:
        for arm in self.arms:
            if arm.name == name:
                return arm
        known = [arm.name for arm in self.arms]
        raise ArmError(f"{self.name}: no arm {name!r}{suggest(name, known)}")

    def at(self, size: str) -> "Experiment":
        """The experiment at a size; "full" is as published."""
        if size == "full":
            return self
        if size not in self.sizes:
            known = ["full", *self.sizes]
            raise ArmError(f"{self.name}: no size {size!r}{suggest(size, known)}")
        return shrink(self, self.sizes[size])

    def with_arms(self, arms: tuple[Arm, ...]) -> "Experiment":
        """The experiment with these arms only, and what is published or claimed of them."""
        names = {arm.name for arm in arms}
        return replace(
            self,
            arms=arms,
            published={name: row for name, row in self.published.items() if name in names},
            claims=tuple(c for c in self.claims if c.better in names and c.than in names),
            gaps=tuple(g for g in self.gaps if g.leaky in names and g.clean in names),
        )

    def without(self, names: set[str]) -> "Experiment":
        """The experiment without these arms and those that need them; all claims stay."""
        removed = set(names)
        for arm in self.arms:
            if set(arm.inputs) & removed:
                removed.add(arm.name)
        kept = tuple(arm for arm in self.arms if arm.name not in removed)
        return replace(self.with_arms(kept), claims=self.claims)

    def only(self, names: tuple[str, ...]) -> "Experiment":
        """The experiment with the named arms and those that they need."""
        wanted = {self.arm(name).name for name in names}
        for arm in reversed(self.arms):  # inputs come before the arms that need them
            if arm.name in wanted:
                wanted |= set(arm.inputs)
        return self.with_arms(tuple(arm for arm in self.arms if arm.name in wanted))


def shrink(experiment: Experiment, size: Size) -> Experiment:
    """The experiment at a size that need not be one of its own."""
    arms = tuple(_shrink(arm, size) for arm in experiment.arms if arm.name not in size.leave_out)
    return replace(experiment, folds=size.folds or experiment.folds).with_arms(arms)


def _shrink(arm: Arm, size: Size) -> Arm:
    recipe = arm.recipe
    if recipe is not None and arm.name not in size.as_published:
        epochs = {} if recipe.epochs else {"epochs": 0}  # it trains nothing at any size
        recipe = replace(recipe, **{**size.recipe, **epochs})
    return replace(arm, task=_shrink_task(arm.task, size), recipe=recipe)


def _shrink_task(task: Callable[..., Any], size: Size) -> partial[Any]:
    task = with_arguments(task, size.task)
    parts: dict[str, Any] = {
        name: with_arguments(task.keywords[name], size.net)
        for name in ("net", "backbone")
        if name in task.keywords
    }
    if "members" in task.keywords:
        parts["members"] = tuple(_shrink_task(member, size) for member in task.keywords["members"])
    return partial(task.func, *task.args, **{**task.keywords, **parts})
