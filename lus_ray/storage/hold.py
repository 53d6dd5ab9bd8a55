"""Who holds a run folder, as the system knows: a lock that ends with its process, however it ends.

Why apart from the record: a command that is refused learns so before it imports torch and Ray.
"""

from pathlib import Path
from typing import TextIO

from lus_ray.errors import InputError
from lus_ray.storage import files, lease
from lus_ray.storage.paths import PathOrUri, is_remote

NAME = ".lock"


def flocked(file: TextIO, out: Path, *, shared: bool = False) -> bool:
    """Whether the system locked the file for us; False where this filesystem locks nothing.

    Raises:
        InputError: another command holds it.
    """
    try:
        return files.flocked(file, shared=shared)
    except BlockingIOError as error:
        file.seek(0)
        raise InputError(
            f"{out}: {lease.describe_holder(file.read())} is running here; "
            "wait for it, end it, or choose another --out"
        ) from error


def refuse_held(place: PathOrUri) -> None:
    """Look once whether another command holds a folder; `record.locked` is what holds it.

    Raises:
        InputError: another command holds it.
    """
    if not is_remote(place) and (path := Path(place) / NAME).is_file():
        with path.open() as file:
            flocked(file, Path(place), shared=True)
