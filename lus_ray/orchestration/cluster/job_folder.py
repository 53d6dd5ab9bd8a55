"""The working directory of a Ray job, which is deleted with the job; imports no Ray."""

import os
from pathlib import Path

from lus_ray.errors import InputError
from lus_ray.storage.paths import PathOrUri

JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the processes of a job."""


def refuse_job_folder(out: PathOrUri) -> None:
    """Raise InputError for a run in the working directory of a job."""
    is_job = bool(os.environ.get(JOB_CONFIG))
    if is_job and isinstance(out, Path) and out.resolve().is_relative_to(Path.cwd()):
        raise InputError(
            f"--out {out}: a job's working directory is deleted with the job; give a URI "
            "(s3://bucket/runs) or a folder that all machines share"
        )
