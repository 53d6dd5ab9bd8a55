"""What a job would send to its cluster: the size of a folder as Ray packs it.

Ray leaves out what `.gitignore` and `.rayignore` name, and some folders of its own choice; the
rest is sent before the job begins, and held in the memory of the head.
"""

import os
from collections import Counter
from pathlib import Path

from ray._private import ray_constants
from ray._private.runtime_env import packaging

MAX_BYTES = 100 << 20
MAX_FILES = 100_000
"""No folder of code has more; counting ends there."""
NUM_NAMED = 3


def sizes(folder: Path) -> tuple[Counter[str], bool]:
    """Bytes of each entry of a folder that `ray job submit --working-dir` would send, unpacked.

    Also whether all was counted: counting ends after `MAX_FILES` files.

    Raises:
        OSError: a folder below it cannot be read; Ray could not pack it either.
    """
    folder = folder.resolve()
    left_out = packaging._get_excludes(folder, ray_constants.get_runtime_env_default_excludes())
    with_git = os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    found: Counter[str] = Counter()
    num_files = 0

    def count(path: Path) -> None:
        nonlocal num_files
        if path.is_file():
            found[path.relative_to(folder).parts[0]] += path.stat().st_size
            num_files += 1

    def enough(path: Path) -> bool:
        return num_files >= MAX_FILES

    packaging._dir_travel(folder, [left_out, enough], count, include_gitignore=with_git)
    return found, num_files < MAX_FILES


def largest(found: Counter[str]) -> str:
    """The entries that weigh most, in words."""
    return ", ".join(
        f"{name} ({num / 2**20:.0f} MiB)" for name, num in found.most_common(NUM_NAMED)
    )
