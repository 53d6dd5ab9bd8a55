"""Reads `campaign.json`, the last status of a campaign's driver."""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from lus_ray.monitoring.run_files import finite_number
from lus_ray.monitoring.states import Campaign, CampaignPhase

OUTCOMES: tuple[CampaignPhase, ...] = ("finished", "failed", "interrupted")
SILENT_SECONDS = 60
"""A driver without a heartbeat for so long is gone; it writes one every 10 s."""


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
    running, failed = (
        values if isinstance(values := contents.get(name), dict) else {}
        for name in ("running", "failed")
    )
    campaign = Campaign(
        state=phase,
        process=process if isinstance(process, int) else None,
        host=_text(contents.get("host")),
        dashboard=_url(contents.get("dashboard")),
        began=finite_number(contents.get("began")),
        ended=None if phase == "running" else ended,
        messages=tuple(
            (float(entry[0]), str(entry[1]))
            for entry in (messages if isinstance(messages, list) else ())
            if isinstance(entry, list) and len(entry) == 2 and finite_number(entry[0]) is not None
        ),
    )
    return CampaignStatus(
        campaign,
        running={n: _running_cell(v, now) for n, v in running.items() if isinstance(v, dict)},
        failed={name: str(error) for name, error in failed.items()},
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
    """Whether its process ran on this machine and has ended."""
    process = contents.get("process")
    if contents.get("host") != socket.gethostname() or not isinstance(process, int) or process < 1:
        return False
    try:
        return not psutil.pid_exists(process)
    except OverflowError:
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
