"""The progress of commands that work through clips: a bar, or lines where there is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from lus_ray.monitoring.phase_log import PhaseLog


@contextmanager
def show_clip_progress() -> Iterator[Callable[[int, int | None, int], None]]:
    """Progress on stderr; the block gets the function that advances it.

    Without a terminal a line follows whenever the command was silent for seven seconds.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    state = ""
    with (
        Progress(console=console, disable=not console.is_terminal) as bar,
        show_lines(lambda: "" if console.is_terminal else state),
    ):
        task = bar.add_task("clips", total=None)

        def show(done: int, total: int | None, num_frames: int) -> None:
            nonlocal state
            text = f"{done} clips, {num_frames} frames"
            bar.update(task, completed=done, total=total, description=text)
            whole = f" of {total}" if total is not None else ""
            state = f"at work: {done}{whole} clips, {num_frames} frames"

        yield show


def show_lines(describe: Callable[[], str] = str, step: str = "") -> PhaseLog:
    """A block in which a line on stderr follows seven seconds of silence."""
    return PhaseLog(lambda text: click.echo(text, err=True), step, describe=describe)
