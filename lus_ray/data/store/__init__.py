"""A store: a folder of Parquet files with one row a clip.

    <store>/clips/<source>-<k>.parquet   LZ4, row groups of a few clips, sorted by patient
    <store>/ledger.jsonl                 what was skipped or repaired, and why
    <store>/store.json                   schema version, which shards are the store, its sources
                                         and how they were read

A store is a folder or a URI: both are read alike, and written alike by way of the folder that
`working` gives.
Why row groups are bounded by bytes: a training epoch reads clips in random order, and a row
group is the least that Parquet reads.
"""

from lus_ray.data.store.manifest import note, notes
from lus_ray.data.store.publishing import Working, working
from lus_ray.data.store.reading import (
    LIGHT,
    fingerprint,
    frame_counts,
    index,
    index_of,
    num_frames,
    open_file,
    places,
    read,
    read_located,
    shards,
)
from lus_ray.data.store.writing import Writer, open_shard, replace_groups

__all__ = [
    "LIGHT",
    "Working",
    "Writer",
    "fingerprint",
    "frame_counts",
    "index",
    "index_of",
    "note",
    "notes",
    "num_frames",
    "open_file",
    "open_shard",
    "places",
    "read",
    "read_located",
    "replace_groups",
    "shards",
    "working",
]
