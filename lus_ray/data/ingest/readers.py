"""The sources that can be read: modules of this package with a function `clips`."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType
from typing import Any

from lus_ray.data.ingest.conflicts import drop_conflicts, name_item
from lus_ray.data.ingest.patients import unify_patients
from lus_ray.data.ingest.simulation import SimulatedClips
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SourceError
from lus_ray.suggestions import did_you_mean, find_close, suggest

NUMBERS: Mapping[Any, type] = {int: Integral, float: Real}
"""What an option may be, by the annotation of its parameter."""


def list_sources() -> list[str]:
    return [name for name in _module_names() if hasattr(_module(name), "clips")]


def load_reader(source: str, options: dict[str, Any]) -> ModuleType:
    """The module of a source; SourceError if there is none, or it lacks an option."""
    if source not in _module_names() or not hasattr(_module(source), "clips"):
        known = list_sources()
        raise SourceError(f"no source {source!r}{suggest(source, known)}")
    reader = _module(source)
    parameters = inspect.signature(reader.clips).parameters
    own = {name: parameters[name] for name in [*parameters][2:]}  # after the root and the ledger
    if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in own.values()):
        check_options(f"source {source!r}", own, options)
    return reader


def check_options(
    owner: str, parameters: Mapping[str, inspect.Parameter], options: Mapping[str, Any]
) -> None:
    """SourceError for an option that is not a parameter, or is not a number where that is one."""
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if name not in parameters:
            known = (f"--{other.replace('_', '-')}" for other in parameters)
            hint = did_you_mean(find_close(option, known)) or "; remove it"
            raise SourceError(f"{owner} has no option {option}{hint}")
        number = NUMBERS.get(parameters[name].annotation)
        if number and (isinstance(value, bool) or not isinstance(value, number)):
            whole = "whole " * (number is Integral)
            raise SourceError(f"{owner}: {option} is {value!r}; give a {whole}number")


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
