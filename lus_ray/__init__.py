"""Distributed lung-ultrasound deep-learning experiments on Ray.

    import lus_ray as lus

    store = lus.open_store("clips/mine")
    run = lus.run("biomarkers", data=store, size="laptop", out="runs/mine")
    run.table                                    # a pandas table: arm, metric, mean, interval
    lus.load(run).predict("clip.mp4")            # a row for each clip, with every probability

Each function does what the command of its name does. Their files are imported at first use, so
that `import lus_ray` takes milliseconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lus_ray.api.controls import run_control as run_control
    from lus_ray.api.models import Model as Model
    from lus_ray.api.models import load as load
    from lus_ray.api.runs import Run as Run
    from lus_ray.api.runs import evaluate as evaluate
    from lus_ray.api.runs import open_run as open_run
    from lus_ray.api.runs import run as run
    from lus_ray.api.stores import Store as Store
    from lus_ray.api.stores import check as check
    from lus_ray.api.stores import folds as folds
    from lus_ray.api.stores import ingest as ingest
    from lus_ray.api.stores import open_store as open_store

__version__ = "0.1.0"

_FILES = {
    "stores": ("Store", "check", "folds", "ingest", "open_store"),
    "runs": ("Run", "evaluate", "open_run", "run"),
    "models": ("Model", "load"),
    "controls": ("run_control",),
}
"""Names by their file in `lus_ray.api`."""
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}

__all__ = [
    "Model", "Run", "Store", "check", "evaluate", "folds", "ingest", "load", "open_run",
    "open_store", "run", "run_control",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"lus_ray.api.{_FILE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
