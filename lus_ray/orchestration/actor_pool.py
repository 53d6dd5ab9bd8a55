"""Work of one kind over many items by a pool of processes of a cluster, streamed in order."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray.data
from ray.data import DataContext
from ray.exceptions import RayError

from lus_ray.errors import LusError

BATCH_ITEMS = 32
CPUS = 1


def map_in_order(
    items: Sequence[str], worker: type, settings: Mapping[str, Any], *, batch: int = BATCH_ITEMS
) -> Iterator[Any]:
    """One result per item in order, as they come; memory holds the items and a few batches.

    Each process makes `worker(**settings)` once and calls it with {"packed": strings}, which it
    answers likewise, or with a table of bytes. There is a process for every core of the cluster, at
    most one a batch. A process that is killed starts again, and its batch with it.

    Raises:
        LusError: a worker failed; the message is the last line of its error.
    """
    if not items:
        return
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # plans and times of its own
    num_batches = -(-len(items) // batch)
    most = max(1, min(num_batches, int(ray.cluster_resources().get("CPU", 1)) // CPUS))
    dataset = ray.data.from_items(
        [{"packed": item} for item in items], override_num_blocks=num_batches
    ).map_batches(
        worker,
        fn_constructor_kwargs=dict(settings),
        batch_size=batch,
        num_cpus=CPUS,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
    )
    try:
        for row in dataset.iter_rows():
            yield row["packed"]
    except RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise LusError(f"a process of the cluster failed: {last[:300]}") from error
