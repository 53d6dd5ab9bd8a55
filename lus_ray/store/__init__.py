"""A store: a folder of Parquet files with one row a clip.

    <store>/clips/<source>-<k>.parquet   LZ4, row groups of a few clips, sorted by patient
    <store>/ledger.jsonl                 what was skipped or repaired, and why
    <store>/store.json                   schema version, sources, how they were read

Why row groups are bounded by bytes: a training epoch reads clips in random order, and a row
group is the least that Parquet reads.
"""

from lus_ray.store.notes import note, notes
from lus_ray.store.reading import (
    LIGHT,
    fingerprint,
    frame_counts,
    index,
    num_frames,
    open_file,
    read,
    read_located,
    shards,
)
from lus_ray.store.writing import Writer, open_shard, replace_groups

__all__ = [
    "LIGHT",
    "Writer",
    "fingerprint",
    "frame_counts",
    "index",
    "note",
    "notes",
    "num_frames",
    "open_file",
    "open_shard",
    "read",
    "read_located",
    "replace_groups",
    "shards",
]
