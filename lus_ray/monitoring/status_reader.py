"""Reads `campaign.json`, the last status of a campaign's driver."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lus_ray.monitoring.run_files import finite_number
from lus_ray.monitoring.states import Campaign, CampaignPhase

OUTCOMES: tuple[CampaignPhase, ...] = ("finished", "failed", "interrupted")
SILENT_SECONDS = 60
"""A driver without a heartbeat for so long is gone; it writes one every ten seconds."""


@dataclass(frozen=True)
class RunningCell:
    """A running cell: its start (unix seconds), finished epochs, the last validation score."""

    since: float
    num_epochs: int
    score: float | None


@dataclass(frozen=True)
class CampaignStatus:
    """The campaign, its running cells, and failed cells with the error, by cell name."""

    campaign: Campaign = field(default_factory=Campaign)
    running: Mapping[str, RunningCell] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def read_status(path: Path, *, now: float) -> CampaignStatus | None:
    """The status of a campaign; None if the file is absent or not readable now."""
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return _parse(contents, now) if isinstance(contents, dict) else None


def _parse(contents: dict[str, Any], now: float) -> CampaignStatus:
    phase = _phase(contents, now)
    ended = finite_number(contents.get("ended")) or finite_number(contents.get("beat"))
    process, messages = contents.get("process"), contents.get("said")
    running, failed = contents.get("running"), contents.get("failed")
    return CampaignStatus(
        Campaign(
            state=phase,
            process=process if isinstance(process, int) else None,
            host=_text(contents.get("host")),
            dashboard=_url(contents.get("dashboard")),
            began=finite_number(contents.get("began")),
            ended=None if phase == "running" else ended,
            messages=tuple(filter(None, map(_message, messages)))
            if isinstance(messages, list)
            else (),
        ),
        running={
            str(name): _running_cell(values, now)
            for name, values in (running.items() if isinstance(running, dict) else ())
            if isinstance(values, dict)
        },
        failed={str(n): str(e) for n, e in failed.items()} if isinstance(failed, dict) else {},
    )


def _phase(contents: dict[str, Any], now: float) -> CampaignPhase:
    for outcome in OUTCOMES:
        if contents.get("outcome") == outcome:
            return outcome
    if finite_number(contents.get("ended")) is not None:
        return "interrupted"
    heartbeat = finite_number(contents.get("beat")) or 0.0
    return "gone" if now - heartbeat > SILENT_SECONDS or _is_dead(contents) else "running"


def _is_dead(contents: dict[str, Any]) -> bool:
    """Whether its process ran on this machine and has ended: known before its heartbeat is old."""
    process = contents.get("process")
    if contents.get("host") != socket.gethostname() or not isinstance(process, int) or process < 1:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _running_cell(values: dict[str, Any], now: float) -> RunningCell:
    epoch = finite_number(values.get("epoch"))
    return RunningCell(
        since=finite_number(values.get("since")) or now,
        num_epochs=0 if epoch is None else int(epoch) + 1,
        score=finite_number(values.get("score")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _url(value: Any) -> str | None:
    """An http(s) address; a link to any other scheme could run code in the browser."""
    url = _text(value)
    if url is not None and "://" not in url:
        url = f"http://{url}"
    return url if url is not None and url.startswith(("http://", "https://")) else None


def _message(entry: Any) -> tuple[float, str] | None:
    if isinstance(entry, list) and len(entry) == 2 and finite_number(entry[0]) is not None:
        return float(entry[0]), str(entry[1])
    return None
