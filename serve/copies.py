"""Copies of checkpoints, named by their fingerprint: what replicas load, whatever a run does.

Why: a run that writes a checkpoint anew cannot change what a replica loads when it starts again.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from lus_ray.errors import ServeError
from lus_ray.inference.model_selection import Model, fingerprint

ASIDE = "copying"


def keep(model: Model, copies: Path) -> None:
    """Have a copy of the model's checkpoint, a whole one or none.

    Raises:
        ServeError: the checkpoint is no longer the one that was looked at.
        OSError: it cannot be copied.
    """
    copy, aside = copies / model.fingerprint, copies / ASIDE
    if copy.is_dir():
        return
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(model.folder, aside)
    if fingerprint(aside) != model.fingerprint:
        raise ServeError(f"{model.id}: its checkpoint is being written")
    aside.rename(copy)


def leave_only(models: Iterable[Model], copies: Path) -> None:
    """Remove all copies but those of these models."""
    kept = {model.fingerprint for model in models}
    for folder in copies.iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)
