"""The progress bar of commands that work through clips."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def show_clip_progress() -> Iterator[Callable[[int, int | None, int], None]]:
    """A progress bar on stderr; the block gets the function that advances it."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("clips", total=None)

        def show(done: int, total: int | None, num_frames: int) -> None:
            text = f"{done} clips, {num_frames} frames"
            bar.update(task, completed=done, total=total, description=text)

        yield show
