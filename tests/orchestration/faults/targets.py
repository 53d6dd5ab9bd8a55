"""The process of a campaign to kill, and its cell."""

import json
import random
from pathlib import Path

import psutil

from tests.orchestration.faults.command import Command

Target = tuple[list[int], list[Path]]
"""Processes to kill, and the folders of the cells that run in or under them."""


def starts(out: Path) -> dict[int, Path]:
    """Process of the last start of every cell that is not finished, and the cell's folder."""
    found = {}
    for path in out.glob("cells/*/fold*/starts.json"):
        fold, arm = path.parent.name, path.parent.parent.name
        if (out / "predictions" / arm / f"{fold}.parquet").exists():
            continue
        try:
            found[int(json.loads(path.read_text())[-1]["pid"])] = path.parent
        except (OSError, ValueError):
            continue
    return found


def trial(command: Command, raylet: int | None, chance: random.Random) -> Target | None:
    """The process of a cell."""
    running = {pid: folder for pid, folder in starts(command.out).items() if psutil.pid_exists(pid)}
    if not running:
        return None
    pid = chance.choice(sorted(running))
    return [pid], [running[pid]]


def worker(command: Command, raylet: int | None, chance: random.Random) -> Target | None:
    """A worker of Ray Train."""
    assert raylet is not None
    running = starts(command.out)
    found = [pid for pid, words in below(raylet).items() if "RayTrainWorker" in words]
    folders = [folder for folder in running.values() if (folder / "start").exists()]
    if not found or not folders:
        return None
    return [chance.choice(sorted(found))], folders


def node(command: Command, raylet: int | None, chance: random.Random) -> Target | None:
    """The machine beside the head, at a moment when cells run there."""
    assert raylet is not None
    there = below(raylet)
    folders = [folder for pid, folder in starts(command.out).items() if pid in there]
    return ([raylet, *there], folders) if folders else None


def driver(command: Command, raylet: int | None, chance: random.Random) -> Target | None:
    """The command itself, while it runs."""
    return ([command.process.pid], []) if command.process.poll() is None else None


def own_raylet(command: Command, raylet: int | None, chance: random.Random) -> Target | None:
    """The raylet of the command's own cluster."""
    return _part(command, "raylet")


def own_gcs(command: Command, raylet: int | None, chance: random.Random) -> Target | None:
    """The head's store of the command's own cluster."""
    return _part(command, "gcs_server")


def below(pid: int) -> dict[int, str]:
    """Processes below one, with what they show as their command."""
    found = {}
    try:
        for process in psutil.Process(pid).children(recursive=True):
            found[process.pid] = " ".join(process.cmdline())
    except psutil.Error:
        pass
    return found


def _part(command: Command, name: str) -> Target | None:
    found = [
        process.pid
        for process in command.alive()
        if process.name().startswith(name) and process.ppid() == command.process.pid
    ]
    return (found, []) if found else None
