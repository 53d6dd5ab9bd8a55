"""The grid for a terminal: live while the campaign runs, a plain table elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lus_ray.monitoring.states import MARKS, STATES, ArmRow, CellState, RunGrid

COLOURS = {
    "finished": "green", "running": "bold cyan", "waiting": "dim", "blocked": "yellow",
    "failed": "bold red", "interrupted": "magenta",
}  # fmt: skip
SECONDS_BETWEEN = 2.0
NUM_ERRORS = 5
NUM_SAID = 3


def text(grid: RunGrid) -> str:
    """The whole grid as plain lines: a header, an arm a line, then what went wrong."""
    width = max((len(arm.name) for arm in grid.arms), default=0)
    columns = [
        max(len(f"fold {fold}"), *(len(_words(arm.cells[n], grid.now)) for arm in grid.arms))
        for n, fold in enumerate(grid.folds)
    ]
    heads = [f"fold {fold}".ljust(column) for fold, column in zip(grid.folds, columns, strict=True)]
    lines = [*header(grid), "", "  ".join([" " * width, *heads]).rstrip()]
    for arm in grid.arms:
        pairs = zip(arm.cells, columns, strict=True)
        words = [_words(cell, grid.now).ljust(column) for cell, column in pairs]
        lines.append("  ".join([arm.name.ljust(width), *words]).rstrip())
    return "\n".join([*lines, *_errors(grid, most=None)])


def header(grid: RunGrid) -> Iterator[str]:
    """What is run, how far it is, who drives it."""
    yield f"{grid.title} ({grid.size})" if grid.size else grid.title
    counts = [f"{MARKS[s]} {grid.counts[s]} {s}" for s in STATES if grid.counts.get(s)]
    yield f"{grid.counts.get('finished', 0)} of {grid.num_cells} cells:  {'   '.join(counts)}"
    yield "   ".join(_times(grid))


def live(read: Callable[[], RunGrid], console: Console) -> None:
    """Show the grid on a terminal until it is interrupted; the rows that matter come first."""

    def seen() -> Group:
        return _screen(read(), console.size.height)

    with Live(seen(), console=console, auto_refresh=False, vertical_overflow="crop") as shown:
        while True:
            time.sleep(SECONDS_BETWEEN)
            shown.update(seen(), refresh=True)


def duration(seconds: float) -> str:
    """7 s, 3:20 or 1:02:03."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes = f"{rest // 60}:{rest % 60:02d}"
    return minutes if not hours else f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def _times(grid: RunGrid) -> Iterator[str]:
    campaign = grid.campaign
    yield {
        "running": f"running on {campaign.host or 'its machine'}",
        "gone": "its driver is gone; run the same command again to go on",
        "finished": "finished",
        "failed": "ended with failed cells; run the same command again to try them",
        "interrupted": "interrupted; run the same command again to go on",
        "unknown": "no word of a driver (campaign.json)",
    }[campaign.state]
    if grid.elapsed_s is not None:
        yield (
            f"{duration(grid.elapsed_s)} so far"
            if campaign.is_live
            else (f"after {duration(grid.elapsed_s)}")
        )
    if grid.left_s is not None:
        yield f"about {duration(grid.left_s)} left"
    if campaign.dashboard and campaign.is_live:
        yield f"Ray dashboard: {campaign.dashboard}"


def _words(cell: CellState, now: float) -> str:
    """A cell in one line: mark, epoch or score, time."""
    words = [MARKS[cell.state]]
    if cell.state == "failed":
        return f"{MARKS[cell.state]} failed"
    if cell.state in ("running", "interrupted") and (cell.planned or cell.num_epochs):
        words.append(f"{cell.num_epochs}/{cell.planned}" if cell.planned else str(cell.num_epochs))
    if cell.samples and cell.state != "finished":
        words.append(f"sample {cell.samples[0]}/{cell.samples[1]}")
    if cell.score is not None and cell.state != "waiting":
        words.append(f"{cell.score:.3f}")
    if cell.seconds is not None:
        words.append(duration(cell.seconds))
    elif cell.state == "running" and cell.since is not None:
        words.append(duration(max(0.0, now - cell.since)))
    return " ".join(words)


def _errors(grid: RunGrid, *, most: int | None) -> list[str]:
    """Why cells failed, and the last words of the driver."""
    failed = [
        f"✗ {arm.name}/fold{cell.fold}: {cell.error}"
        for arm in grid.arms
        for cell in arm.cells
        if cell.state == "failed" and cell.error
    ]
    if most is not None and len(failed) > most:
        failed = [*failed[:most], f"and {len(failed) - most} more"]
    return [""] * bool(failed) + failed


def _screen(grid: RunGrid, height: int) -> Group:
    heads = list(header(grid))
    errors = _errors(grid, most=NUM_ERRORS)
    said = [line for _, line in grid.campaign.said[-NUM_SAID:]]
    room = max(1, height - len(heads) - len(errors) - len(said) - 4)
    chosen = select_rows(grid.arms, room)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
    for fold in grid.folds:
        table.add_column(f"fold {fold}", no_wrap=True, overflow="ellipsis", header_style="dim")
    for arm in chosen:
        words = [Text(_words(cell, grid.now), COLOURS[cell.state]) for cell in arm.cells]
        table.add_row(Text(arm.name), *words)
    left_out = len(grid.arms) - len(chosen)
    more = [f"and {left_out} arms more; the page shows all"] * bool(left_out)
    lines = [Text(line, overflow="ellipsis", no_wrap=True) for line in heads]
    below = [Text(line, overflow="ellipsis", no_wrap=True) for line in (*more, *errors, *said)]
    return Group(*lines, Text(""), table, *below)


def select_rows(arms: Sequence[ArmRow], most: int) -> tuple[ArmRow, ...]:
    """So many arms in their order: those with cells that run or went wrong before others."""
    calm = STATES.index("waiting")

    def urgency(arm: ArmRow) -> int:
        return min((min(STATES.index(cell.state), calm) for cell in arm.cells), default=calm)

    order = sorted(range(len(arms)), key=lambda n: (urgency(arms[n]), n))
    return tuple(arms[n] for n in sorted(order[:most]))
