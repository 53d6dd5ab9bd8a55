"""The upload of a job: the size of a folder as `ray job submit --working-dir` packs it.

Ray leaves out what `.gitignore` and `.rayignore` name. It sends the rest before the job starts
and keeps it in the memory of the head.
"""

from collections import Counter
from pathlib import Path

from lus_ray.orchestration.cluster import ray_private

MAX_BYTES = 100 << 20
MAX_FILES = 100_000


def measure_package(folder: Path) -> tuple[Counter[str], bool]:
    """Unpacked bytes by entry of the folder, and whether no more than `MAX_FILES` files exist.

    Raises OSError if a folder below it cannot be read; Ray could not pack it either.
    """
    folder = folder.resolve()
    num_bytes: Counter[str] = Counter()
    num_files = 0

    def count(path: Path) -> None:
        nonlocal num_files
        if path.is_file():
            num_bytes[path.relative_to(folder).parts[0]] += path.stat().st_size
            num_files += 1

    ray_private.walk_job_files(folder, count, lambda: num_files >= MAX_FILES)
    return num_bytes, num_files < MAX_FILES
