"""`lus run --help` lists the studies; `lus run STUDY --help` shows what one study offers."""

import inspect
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import click

from lus_ray.cli.options import SIZES
from lus_ray.errors import InputError

MOST_VALUES = 3
"""Values of a setting that are shown, where arms differ in it."""


class StudyCommand(click.Command):
    """A command whose first argument is a study, and whose help knows the studies."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["words"] = list(args)  # the help is printed before any argument is converted
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        given, _, _ = self.make_parser(ctx).parse_args(list(ctx.meta["words"]))
        if isinstance(name := given.get("experiment"), str):
            size = "smoke" if given.get("smoke") is True else str(given.get("size"))
            _write_study(name, size if size in SIZES else "full", formatter)
        else:
            super().format_help(ctx, formatter)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from lus_ray.orchestration.studies import list_studies

        super().format_help_text(ctx, formatter)
        with formatter.section("Studies ('lus run STUDY --help' shows arms, sizes and settings)"):
            formatter.write_dl(
                [(name, text.partition("\n")[0]) for name, text in list_studies().items()]
            )


def _write_study(name: str, size: str, formatter: click.HelpFormatter) -> None:
    from lus_ray.data.labels import LABELS
    from lus_ray.orchestration.run_options import find_experiment
    from lus_ray.orchestration.studies import read_docstring

    experiment = find_experiment(name)
    chosen = experiment.at(size)
    formatter.write_usage("lus run", f"{name} [OPTIONS]")
    formatter.write_paragraph()
    with formatter.indentation():
        _write_lines(read_docstring(name).splitlines(), formatter)
    with formatter.section("Sizes (--size)"):
        sizes = [size for size in SIZES if size == "full" or size in experiment.sizes]
        formatter.write_dl([(size, _describe_size(experiment, size)) for size in sizes])
    if worlds := _list_worlds(name):
        with formatter.section("Control (--control): simulated clips that test the method"):
            formatter.write_dl(worlds)
    if experiment.target is not None:
        with formatter.section("Labels (--label)"):
            formatter.write_text(f"{', '.join(LABELS)}, or a label of the store's own")
    with formatter.section(f"Arms at size {size} (--arms, {len(chosen.arms)} in all)"):
        _write_lines(group_names([arm.name for arm in chosen.arms]), formatter)
    with formatter.section(
        f"Settings at size {size} (--set; an arm's name for 'arm' sets that arm)"
    ):
        formatter.write_dl(list(_list_settings(chosen.arms)))
        formatter.write_text(
            "lus_ray/training/recipe.py explains arm.recipe; the classes in lus_ray/tasks explain "
            "arm.task."
        )
    if searched := list(_list_searched(chosen)):
        with formatter.section("Hyperparameters that --samples searches"):
            formatter.write_dl(searched)
    formatter.write_paragraph()
    formatter.write_text("'lus run --help' lists all options.")


def _list_worlds(name: str) -> list[tuple[str, str]]:
    from lus_ray.orchestration.control_plan import find_control

    try:
        control = find_control(name)
    except InputError:  # it has none
        return []
    worlds = [(world.name, world.text) for world in control.worlds]
    return [*worlds, *((f"--broken '{way}'", world.text) for way, world in control.broken.items())]


def group_names(names: Sequence[str]) -> Iterator[str]:
    """Names with their common parts written once: "{SVM | RF} on biomarkers, {severity | disease}".

    The names of a group differ in their first word, in their last, or in both.
    """
    by_rest: dict[str, list[str]] = defaultdict(list)
    for name in names:
        first, blank, _ = name.partition(" ")
        first = first.rstrip(",") if blank else ""
        by_rest[name.removeprefix(first)].append(first)
    by_stem: dict[tuple[str, str], list[str]] = defaultdict(list)
    for rest, firsts in by_rest.items():
        stem, blank, last = rest.rpartition(" ") if any(firsts) else (rest, "", "")
        by_stem[_braces(firsts), stem + blank].append(last)
    for (first, stem), lasts in by_stem.items():
        yield f"{first}{stem}{_braces(lasts)}"


def _braces(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else "{" + " | ".join(parts) + "}"


def _write_lines(lines: Iterable[str], formatter: click.HelpFormatter) -> None:
    """Lines as they are, at the indentation of their section."""
    for line in lines:
        formatter.write(f"{'':{formatter.current_indent}}{line}".rstrip() + "\n")


def _describe_size(experiment: Any, size: str) -> str:
    sized = experiment.at(size)
    epochs = max((arm.recipe.epochs for arm in sized.arms if arm.recipe is not None), default=0)
    phantom = experiment.sizes[size].phantom if size in experiment.sizes else {}
    number = len(sized.folds.numbers())
    parts = [f"{len(sized.arms)} arms", f"{number} fold" + "s" * (number > 1)]
    parts += [f"up to {epochs} epochs"] if epochs else []
    parts.append(f"{phantom['patients']} phantom patients" if phantom else "needs --data")
    return ", ".join(parts) + (", as published" if size == "full" and experiment.published else "")


def _list_settings(arms: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """What `--set` accepts, with the values that arms have."""
    values: dict[str, dict[str, None]] = defaultdict(dict)
    for arm in arms:
        for field in fields(arm.recipe) if arm.recipe is not None else ():
            if field.name != "augment":
                values[f"arm.recipe.{field.name}"][_show(getattr(arm.recipe, field.name))] = None
        for parameter in inspect.signature(arm.task).parameters.values():
            if _is_plain(parameter.default):
                values[f"arm.task.{parameter.name}"][_show(parameter.default)] = None
    for name, shown in sorted(values.items()):
        more = ", ..." if len(shown) > MOST_VALUES else ""
        yield name, ", ".join([*shown][:MOST_VALUES]) + more


def _list_searched(experiment: Any) -> Iterator[tuple[str, str]]:
    """Every hyperparameter with its ranges, and the number of arms that have it."""
    from lus_ray.orchestration.hyperparameter_search import describe_range
    from lus_ray.orchestration.search_samples import explain_unsearched

    unsearched = explain_unsearched(experiment)
    ranges: dict[str, list[str]] = defaultdict(list)
    for arm in experiment.arms:
        if arm.name not in unsearched:
            for name, values in arm.search.space.items():
                ranges[name].append(describe_range(values))
    for name, own in ranges.items():
        arms = f"{len(own)} arm{'s' * (len(own) > 1)}"
        yield name, f"{'; '.join(dict.fromkeys(own))} ({arms})"


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def _show(value: Any) -> str:
    """As it is written in `--set`: JSON, and words without quotes."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
