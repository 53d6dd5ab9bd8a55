"""The outcome of one fault run."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """`violations` lists every broken promise.

    `kept` counts the cells that were finished before the kill; a run `was_too_late` if the
    campaign ended before its random moment, so that nothing was killed.
    """

    kind: str
    seed: int
    at_s: float = 0.0
    seconds: float = 0.0
    silent_s: float = 0.0
    back_s: float | None = None
    ended_s: float | None = None
    kept: int = 0
    was_too_late: bool = False
    code: int | None = None
    last_line: str = ""
    violations: list[str] = field(default_factory=list)
