"""A store: a folder of Parquet files with one row per clip.

    <store>/clips/<source>-<k>.parquet   LZ4, row groups of a few clips, sorted by patient
    <store>/ledger.jsonl                 what was skipped or repaired, and why
    <store>/store.json                   schema version, names of the shards, how sources were read

A store is a folder or a URI; both are written through the local folder of `stage_source`.
Why row groups are bounded by bytes: a training epoch reads clips in random order, and Parquet
reads no less than a row group.
"""

from lus_ray.data.store.manifest import merge_labels, read_labels, read_sources, record_source
from lus_ray.data.store.publishing import Staging, has_unfinished_ingest, stage_source
from lus_ray.data.store.reading import (
    LIGHT_COLUMNS,
    OpenShard,
    Shard,
    count_frames,
    count_frames_by_clip,
    fingerprint,
    index_shard,
    index_shards,
    list_shards,
    locate_clips,
    open_shard,
    read,
    read_index,
    read_located,
    require_shards,
)
from lus_ray.data.store.writing import Writer, create_shard, replace_groups

__all__ = [
    "LIGHT_COLUMNS", "OpenShard", "Shard", "Staging", "Writer", "count_frames",
    "count_frames_by_clip", "create_shard",
    "fingerprint", "has_unfinished_ingest", "index_shard", "index_shards", "list_shards",
    "locate_clips", "merge_labels", "open_shard", "read", "read_index", "read_labels",
    "read_located", "read_sources", "record_source", "replace_groups", "require_shards",
    "stage_source",
]  # fmt: skip
