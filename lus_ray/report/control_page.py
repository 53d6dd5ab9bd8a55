"""The report of a control: does the method work, and every check with its value and bound."""

from pathlib import Path

from lus_ray.evaluation.control_checks import CheckResult, ControlResult, WorldResult
from lus_ray.report import rendering
from lus_ray.report.blocks import Box, Cell, Document, Paragraph, Section, Table
from lus_ray.report.compose import RESEARCH
from lus_ray.storage.files import write_text

STEM = "control"


def write(result: ControlResult, out: Path) -> Document:
    """Write control.html, .md and .json into the folder of the control."""
    document = compose(result)
    write_text(out / f"{STEM}.html", rendering.render_html(document))
    write_text(out / f"{STEM}.md", rendering.render_markdown(document))
    write_text(out / f"{STEM}.json", result.to_json())
    return document


def compose(result: ControlResult) -> Document:
    return Document(
        title=f"Control of {result.study}",
        lead=(Box(_lead(result), _facts(result)),),
        sections=tuple(_section(world) for world in result.worlds),
        footer=RESEARCH,
    )


def _lead(result: ControlResult) -> tuple[tuple[str, str], ...]:
    failed = [check for check in result.checks if not check.passes]
    passed = f"{len(result.checks) - len(failed)} of {len(result.checks)} checks pass"
    answer = "yes" if result.works else "no"
    items = [("Method works", f"{answer}; {passed}."), ("Claim", result.claim)]
    if result.broken is not None:
        items.insert(0, ("Broken on purpose", f"{result.broken}; a check has to fail."))
    items += [("Failed", f"{check.text} {_describe(check)}.") for check in failed]
    return tuple(items)


def _facts(result: ControlResult) -> tuple[str, ...]:
    return (
        "simulated clips whose truth is known",
        f"seed {result.seed}",
        f"{result.seconds:.0f} s",
    )


def _section(world: WorldResult) -> Section:
    rows = tuple(
        (
            Cell(check.text),
            Cell("passes" if check.passes else "fails", tone="better" if check.passes else "worse"),
            Cell(_value(check), numbers={"": check.value}),
            Cell(_bound(check)),
        )
        for check in world.checks
    )
    columns = ("check", "result", "value", "has to be")
    table = Table(f"checks_{world.folder}", "", columns, rows, brief=4)
    patients = f"{world.num_patients} simulated patients"
    about = Paragraph(f"World {world.name!r}: {world.text} {patients}.")
    where = Paragraph(f"All scores of this world: {world.folder}/report.html.")
    return Section(f"World: {world.name}", world.folder, (about, table, where), is_brief=True)


def _describe(check: CheckResult) -> str:
    return f"It is {_value(check)}, and has to be {_bound(check)}"


def _value(check: CheckResult) -> str:
    return "not measured" if check.value is None else f"{check.value:.3f}"


def _bound(check: CheckResult) -> str:
    least = [] if check.least is None else [f"at least {check.least:g}"]
    most = [] if check.most is None else [f"at most {check.most:g}"]
    return " and ".join(least + most)
