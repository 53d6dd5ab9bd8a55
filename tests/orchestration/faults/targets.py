"""The processes of a campaign to kill, and the folders of the cells that run in or under them."""

import contextlib
import json
import random
from pathlib import Path

import psutil

from tests.orchestration.faults.command import Command

Target = tuple[list[int], list[Path]]


def running_cells(out: Path) -> dict[int, Path]:
    """Folders of unfinished cells by the process of their last start."""
    folders = {}
    for path in out.glob("cells/*/fold*/starts.json"):
        if not is_finished(out, path.parent):
            with contextlib.suppress(OSError, ValueError):
                folders[int(json.loads(path.read_text())[-1]["pid"])] = path.parent
    return folders


def is_finished(out: Path, cell: Path) -> bool:
    return (out / "predictions" / cell.parent.name / f"{cell.name}.parquet").exists()


def trial(command: Command, raylet: int | None, rng: random.Random) -> Target | None:
    cells = {p: folder for p, folder in running_cells(command.out).items() if psutil.pid_exists(p)}
    pid = rng.choice(sorted(cells)) if cells else None
    return None if pid is None else ([pid], [cells[pid]])


def train_worker(command: Command, raylet: int | None, rng: random.Random) -> Target | None:
    workers = [pid for pid, title in children(raylet).items() if "RayTrainWorker" in title]
    cells = [cell for cell in running_cells(command.out).values() if (cell / "start").exists()]
    return ([rng.choice(sorted(workers))], cells) if workers and cells else None


def node(command: Command, raylet: int | None, rng: random.Random) -> Target | None:
    """The node beside the head, while cells run there."""
    pids = children(raylet)
    cells = [cell for pid, cell in running_cells(command.out).items() if pid in pids]
    return ([raylet, *pids], cells) if raylet and cells else None


def driver(command: Command, raylet: int | None, rng: random.Random) -> Target | None:
    return ([command.process.pid], []) if command.process.poll() is None else None


def own_raylet(
    command: Command, raylet: int | None, rng: random.Random, *, name: str = "raylet"
) -> Target | None:
    """A process of the command's own cluster."""
    own = [process for process in command.processes() if process.name().startswith(name)]
    pids = [process.pid for process in own if process.ppid() == command.process.pid]
    return (pids, []) if pids else None


def children(pid: int | None) -> dict[int, str]:
    """Processes below one, with their titles."""
    titles = {}
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            titles[process.pid] = " ".join(process.cmdline())
    return titles
