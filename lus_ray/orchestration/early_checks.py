"""What a run can be refused for before torch and Ray are imported, which takes seconds."""

from collections.abc import Sequence

from lus_ray.data.store import require_shards
from lus_ray.errors import PlanError
from lus_ray.orchestration import studies
from lus_ray.orchestration.cluster.job_folder import refuse_job_folder
from lus_ray.storage import lease
from lus_ray.storage.paths import PathOrUri
from lus_ray.storage.writable import refuse_unwritable
from lus_ray.training.state_interval import read_state_interval

MIN_FREE_BYTES = 200 << 20


def refuse_full_disk(out: PathOrUri, free_bytes: int) -> None:
    """Raise PlanError for a run folder on a disk without space for results."""
    if free_bytes < MIN_FREE_BYTES:
        raise PlanError(
            f"{out}: only {free_bytes >> 20} MiB free, {MIN_FREE_BYTES >> 20} MiB are needed; "
            "free some space or choose another --out"
        )


def refuse_bad_places(
    study: str, out: PathOrUri, stores: Sequence[PathOrUri], *, address: str | None = None
) -> None:
    """Raise InputError for an unknown study, an unusable run folder, or a place without clips.

    Also for an address where no Ray cluster responds, and a wrong LUS_STATE_SECONDS.
    """
    studies.refuse_unknown(study)
    refuse_unwritable(out, "--out")
    refuse_job_folder(out)
    lease.refuse_if_locked(out)
    read_state_interval()
    for store in stores:
        require_shards(store)
    if address is not None:
        from lus_ray.orchestration.cluster.reachability import refuse_unreachable  # imports Ray

        refuse_unreachable(address)
