"""Folders that Ray needs of an environment: for sockets and logs, and for its token.

Ray takes RAY_TMPDIR or TMPDIR, as set, and fails with a trace where it cannot work there: batch
systems set paths that are longer than the name of a Unix socket may be.
"""

import os
import shutil
import socket
import tempfile
from pathlib import Path

from lus_ray.errors import InputError

MAX_BYTES = 107 - len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
"""Length that a folder's path may have: Linux limits the name of a socket to 107 bytes."""
MIN_FREE_BYTES = 64 << 20
VARIABLES = ("RAY_TMPDIR", "TMPDIR")
DEFAULTS = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))


def choose_session_folder() -> tuple[Path, str]:
    """The folder for Ray's sessions, and a note if it is not the one that the environment names.

    Raises:
        InputError: none of the folders can hold a session.
    """
    problems: list[str] = []
    for folder, name in _candidates():
        if not (problem := _find_problem(folder)):
            note = f"{'; '.join(problems)}; Ray's session is in {folder}" if problems else ""
            return folder / "ray", note
        problems.append(f"{name} {problem}")
    raise InputError(
        f"{'; '.join(problems)}; set RAY_TMPDIR to a folder of at most {MAX_BYTES} bytes, on a "
        "local disk, that you can write to"
    )


def _candidates() -> list[tuple[Path, str]]:
    named = [(name, os.environ[name]) for name in VARIABLES if os.environ.get(name)]
    return [
        *((Path(value).absolute(), f"{name}={value}") for name, value in named),
        *((folder, str(folder)) for folder in DEFAULTS),
    ]


def _find_problem(folder: Path) -> str:
    """Why a session cannot be in a folder; empty if it can."""
    if not folder.is_dir():
        return "is not a folder"
    if (size := len(os.fsencode(folder))) > MAX_BYTES:
        return f"is {size} bytes long and may be {MAX_BYTES}, as Ray's sockets lie below it"
    if not str(folder).isascii():
        return "has characters other than ASCII, which Ray does not take"
    if (free := shutil.disk_usage(folder).free) < MIN_FREE_BYTES:
        return f"is on a disk with {free >> 20} MiB free"
    shared = folder / "ray"
    try:
        with (
            tempfile.TemporaryDirectory(dir=shared if shared.exists() else folder) as probe,
            socket.socket(socket.AF_UNIX) as test_socket,
        ):
            test_socket.bind(f"{probe}/s")
    except OSError as error:
        return f"cannot hold Ray's sockets ({error.strerror or error})"
    return ""


def find_home_problem() -> str:
    """Why the home folder cannot hold Ray's token; empty if it can."""
    home = f"HOME={os.environ['HOME']}" if "HOME" in os.environ else "HOME is not set and"
    try:
        folder = Path.home() / ".ray"
        token = folder / "auth_token"
        if token.exists():
            return "" if os.access(token, os.R_OK) else f"{token} cannot be read"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"token")
    except (OSError, RuntimeError) as error:  # no home folder at all is a RuntimeError
        return f"{home} cannot be written to ({getattr(error, 'strerror', None) or error})"
    return ""
