"""What fault runs showed: a line each, and a table."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What one run showed; `violations` names every promise that it broke.

    `kept` counts the cells that were finished before the kill; a run has `was_too_late` where the
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

    def line(self) -> str:
        """For people."""
        back = "" if self.back_s is None else f"back {self.back_s:.1f} s"
        ended = "" if self.ended_s is None else f"ended {self.ended_s:.1f} s"
        return (
            f"{self.kind:<7} seed {self.seed:<3} at {self.at_s:5.1f} s  exit {self.code}  "
            f"kept {self.kept:>2}  silent {self.silent_s:4.1f} s  {back}{ended}  "
            f"{self._verdict()}"
        )

    def _verdict(self) -> str:
        if self.violations:
            return f"WRONG: {'; '.join(self.violations)}"
        return "too late to kill" if self.was_too_late else "ok"


def table(outcomes: Sequence[Outcome]) -> str:
    """One row a kind."""
    rows = [f"{'kind':<8}{'runs':>5}{'violations':>12}{'worst silence':>15}{'worst back/end':>16}"]
    for kind in dict.fromkeys(outcome.kind for outcome in outcomes):
        of = [outcome for outcome in outcomes if outcome.kind == kind and not outcome.was_too_late]
        if not of:
            continue
        silent = max(outcome.silent_s for outcome in of)
        back = max((outcome.back_s or outcome.ended_s or 0.0) for outcome in of)
        violations = sum(bool(outcome.violations) for outcome in of)
        rows.append(f"{kind:<8}{len(of):>5}{violations:>12}{silent:>13.1f} s{back:>14.1f} s")
    return "\n".join(rows)
