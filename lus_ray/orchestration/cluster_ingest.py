"""An ingest whose clips are decoded or simulated by the processes of a cluster."""

from functools import partial
from pathlib import Path
from typing import Any

from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.ingest.summary import IngestSummary
from lus_ray.errors import InputError
from lus_ray.orchestration import actor_pool
from lus_ray.orchestration.cluster import connection
from lus_ray.storage.paths import PathOrUri


def ingest_on_cluster(
    address: str, source: str, root: PathOrUri | None, store: PathOrUri, **options: Any
) -> IngestSummary:
    """Read a source into a store as `ingest` does, on the cluster at `address`.

    All machines must see `root` and a table of labels under one path; the store is written here.

    Raises:
        InputError: no cluster answers there, or the number of workers is given.
        LusError: a process failed, other than by being killed, or reads other files at `root`.
        SkippedError, SourceError, StoreError: as `ingest`.
    """
    if options.pop("workers", None) is not None:
        raise InputError("--workers is for this machine alone; remove it, or remove --address")
    here = root.absolute() if isinstance(root, Path) else root
    if isinstance(labels := options.get("labels"), Path):
        options["labels"] = labels.absolute()
    map_in_order = partial(actor_pool.map_in_order, batch=1)
    with connection.connect(address):
        return ingest(source, here, store, map_in_order=map_in_order, **options)
