"""The sources that can be read: modules of this package with a function `clips`."""

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from lus_ray.data.ingest.conflicts import drop_conflicts, name_item
from lus_ray.data.ingest.patients import unify_patients
from lus_ray.data.ingest.simulation import SimulatedClips
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SourceError
from lus_ray.suggestions import suggest


def list_sources() -> list[str]:
    return [name for name in _module_names() if hasattr(_module(name), "clips")]


def load_reader(source: str, options: dict[str, Any]) -> ModuleType:
    """The module of a source; SourceError if there is none, or it lacks an option."""
    if source not in _module_names() or not hasattr(_module(source), "clips"):
        known = list_sources()
        raise SourceError(f"no source {source!r}{suggest(source, known)}")
    reader = _module(source)
    parameters = inspect.signature(reader.clips).parameters
    allowed = list(parameters)[2:]
    takes_any = parameters[allowed[-1]].kind is inspect.Parameter.VAR_KEYWORD if allowed else False
    if unknown := sorted(set(options) - set(allowed)) if not takes_any else []:
        name, *known = (f"--{option.replace('_', '-')}" for option in (unknown[0], *allowed))
        raise SourceError(f"source {source!r} has no option {name}{suggest(name, known)}")
    return reader


def list_items(
    source: str, root: Path | None, ledger: Ledger, options: dict[str, Any], missing_patient: str
) -> SimulatedClips | list[dict[str, Any]]:
    """The clips of a source in their order, with one spelling for each patient.

    Those without a patient go to the ledger, or with `missing_patient="own"` are their own.
    """
    items = load_reader(source, options).clips(root, ledger, **options)
    if isinstance(items, SimulatedClips):
        return items
    items = unify_patients(items, source, ledger, root)
    if root is not None:
        items = drop_conflicts(items, root, source, ledger)
    kept = []
    for item in items:
        if item["patient"] is None and missing_patient == "refuse":
            reason = "no patient; name it, or make each clip a patient (--missing-patient own)"
            ledger.skip(source, name_item(item, root), reason)
            continue
        if item["patient"] is None:
            item["patient"] = item["clip"]
            ledger.note(source, item["clip"], "no patient: counts as its own patient")
        kept.append(item)
    return kept


def _module_names() -> list[str]:
    package = importlib.import_module(__package__)
    return [module.name for module in pkgutil.iter_modules(package.__path__)]


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__package__}.{name}")
