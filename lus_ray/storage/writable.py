"""Whether a folder can be written, asked before any work."""

import os
import tempfile
from pathlib import Path

from lus_ray.errors import InputError


def refuse_unwritable(folder: Path | str, name: str) -> None:
    """Refuse a folder that cannot be created or written, before any work.

    Raises:
        InputError: it is below a file, or in a folder that cannot be written.
    """
    from lus_ray.storage.paths import is_remote

    if is_remote(folder):
        return
    path = Path(folder).absolute()
    existing = next(p for p in (path, *path.parents) if p.exists())
    if not existing.is_dir():
        raise InputError(f"{existing}: is a file; give {name} a folder")
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".lus-", dir=existing))
    except OSError as error:  # also of /proc, and of read-only disks, for every user
        raise InputError(
            f"{existing}: cannot be written to ({error.strerror}); give {name} another folder"
        ) from None
