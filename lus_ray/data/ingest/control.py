"""Simulated clips of a control: a world of `lus_ray.data.phantom.worlds`, by its name."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lus_ray.data.ingest.readers import check_options
from lus_ray.data.ingest.simulation import SimulatedClips
from lus_ray.data.ledger import Ledger
from lus_ray.data.phantom import worlds
from lus_ray.errors import SourceError
from lus_ray.suggestions import suggest

SOURCE = "control"


def clips(
    root: Path | None = None, ledger: Ledger | None = None, *, world: str = "", **options: Any
) -> SimulatedClips:
    """The clips of a world, each made when it is read; `options` are those of the world.

    Raises:
        SourceError: there is no such world, or it has no such option.
    """
    known = list_worlds()
    if not world:
        raise SourceError(f"control needs --world NAME; the names are {', '.join(known)}")
    if world not in known:
        raise SourceError(f"control: no --world {world!r}{suggest(world, known)}")
    make_clips = importlib.import_module(f"{worlds.__name__}.{world}").clips
    check_options(f"world {world!r}", inspect.signature(make_clips).parameters, options)
    if ledger is not None:
        ledger.note("control", "all clips", f"synthetic: world {world!r}")
    makers = make_clips(**options).items()
    return SimulatedClips({name: partial(_make, name, maker) for name, maker in makers})


def list_worlds() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(worlds.__path__)]


def _make(name: str, maker: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The columns of a clip, which is the only one of its patient."""
    return {"clip": name, "patient": name, "source": SOURCE, **maker()}
