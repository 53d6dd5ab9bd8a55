"""The cell's name as the title of its process, as `ps` shows it and Ray's reporter reads it.

Why the title: Tune uses an actor for many cells, and Ray keeps the name that an actor was born
with; the title of its process is what can change. Ray sets it anew with every call of an actor,
so a cell gives it again after each report.
"""

from ray._raylet import setproctitle  # type: ignore[attr-defined]


def show_as(name: str) -> None:
    """Show this process of Ray under this name."""
    setproctitle(f"ray::{name}")
