"""What the driver of a campaign last said of itself, in `campaign.json`."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lus_ray.monitoring.run_files import number
from lus_ray.monitoring.states import Campaign, Driven

OUTCOMES: tuple[Driven, ...] = ("finished", "failed", "interrupted")
SILENT_SECONDS = 60
"""A driver that is silent for longer is gone: it has a beat every ten seconds."""


@dataclass(frozen=True)
class RunningCell:
    """A cell that runs: since when (unix seconds), epochs that ended, the score of the last."""

    since: float
    num_epochs: int
    score: float | None


@dataclass(frozen=True)
class CampaignStatus:
    """The campaign, its running cells, and failed cells with the reason, by their names."""

    campaign: Campaign = field(default_factory=Campaign)
    running: Mapping[str, RunningCell] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def read(path: Path, *, now: float) -> CampaignStatus | None:
    """The signs of a campaign; None where the file is absent or not readable at this moment."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return _signs(said, now) if isinstance(said, dict) else None


def _signs(said: dict[str, Any], now: float) -> CampaignStatus:
    state = _state(said, now)
    ended = None if state == "running" else number(said.get("ended")) or number(said.get("beat"))
    running, failed = said.get("running"), said.get("failed")
    lines = said.get("said")
    return CampaignStatus(
        Campaign(
            state=state,
            process=said.get("process") if isinstance(said.get("process"), int) else None,
            host=_word(said.get("host")),
            dashboard=_address(said.get("dashboard")),
            began=number(said.get("began")),
            ended=ended,
            said=tuple(filter(None, map(_line, lines))) if isinstance(lines, list) else (),
        ),
        running={
            str(name): _running(values, now)
            for name, values in (running.items() if isinstance(running, dict) else ())
            if isinstance(values, dict)
        },
        failed={str(n): str(w) for n, w in failed.items()} if isinstance(failed, dict) else {},
    )


def _state(said: dict[str, Any], now: float) -> Driven:
    for outcome in OUTCOMES:
        if said.get("outcome") == outcome:
            return outcome
    if number(said.get("ended")) is not None:
        return "interrupted"
    beat = number(said.get("beat")) or 0.0
    return "gone" if now - beat > SILENT_SECONDS or _is_dead(said) else "running"


def _is_dead(said: dict[str, Any]) -> bool:
    """Whether its process was one of this machine and is no more: known before its beat is old."""
    process = said.get("process")
    if said.get("host") != socket.gethostname() or not isinstance(process, int) or process < 1:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _running(values: dict[str, Any], now: float) -> RunningCell:
    epoch = number(values.get("epoch"))
    return RunningCell(
        since=number(values.get("since")) or now,
        num_epochs=0 if epoch is None else int(epoch) + 1,
        score=number(values.get("score")),
    )


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _address(value: Any) -> str | None:
    """An address of a web page, and nothing else that a link could run."""
    word = _word(value)
    if word is None:
        return None
    word = word if "://" in word else f"http://{word}"
    return word if word.startswith(("http://", "https://")) else None


def _line(entry: Any) -> tuple[float, str] | None:
    """A line with its time, where it is one."""
    if isinstance(entry, list) and len(entry) == 2 and number(entry[0]) is not None:
        return float(entry[0]), str(entry[1])
    return None
