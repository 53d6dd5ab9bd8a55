"""Builders of the applications that `serve/config.yaml` names and `lus serve` starts.

Each takes `args` from the configuration. Run folders come as `runs`, or from the environment
variable `LUS_RUNS`, separated as in PATH.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ray.serve import Application

from lus_ray.data.decoding.decoder import DecodeLimits
from lus_ray.errors import InputError, ServeError
from lus_ray.inference import model_selection
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.model_reports import with_reports
from lus_ray.inference.served_model import ServedModel
from serve.http import is_loopback
from serve.ingress import Ingress
from serve.slots import DEPLOYMENTS, SLOTS, deployment_arguments, kind_of

Args = Mapping[str, Any]
ModelsBySlot = Mapping[str, tuple[ServedModel, ...]]


def ingress(args: Args) -> Application:
    """`build_ingress` for a configuration; Ray calls a builder with its `args` alone."""
    return build_ingress(args)


def models(args: Args) -> Application:
    """The application of `args["slot"]`, with the models of the run folders."""
    names = args.get("runs") or os.environ.get("LUS_RUNS", "").split(os.pathsep)
    folders = [Path(name) for name in names if name]
    if not folders:
        raise ServeError("no run folders; set LUS_RUNS or the argument 'runs'")
    return build_slot(args["slot"], find_models(folders))


def build_ingress(
    args: Args, *, folder: Path | None = None, options: Args | None = None
) -> Application:
    """The HTTP server at `host` and `port`; the default `token` is LUS_TOKEN.

    `folder` holds the plan of this machine; without one, every application is a Serve application.

    Raises:
        InputError: the host is reachable by others, and there is no token.
    """
    host, port = args.get("host", "127.0.0.1"), int(args.get("port", 8000))
    token = args.get("token") or os.environ.get("LUS_TOKEN") or None
    require_token(host, token)
    limits = _replace_limits(args.get("limits", {}))
    deployment: Any = Ingress  # the decorator's result
    arguments = (limits, host, port, token, args.get("data"), folder)
    return deployment.options(**(options or {})).bind(*arguments)


def build_slot(
    slot: str, served: ModelsBySlot, *, copies: Path | None = None, options: Args | None = None
) -> Application:
    """The application of a slot; `copies` holds checkpoints by fingerprint to load instead.

    Raises:
        ServeError: no model fits the slot.
    """
    if slot not in served:
        raise ServeError(f"no run has a model for {slot}; train it, or remove its application")
    deployment = DEPLOYMENTS[kind_of(slot)].options(**(options or {}))
    models, reads = with_reports(served[slot]), source_fingerprint(slot, served)
    return deployment.bind(*deployment_arguments(slot, models, reads, copies))


def find_models(
    folders: Sequence[Path], on_skip: Callable[[Path, str], None] | None = None
) -> dict[str, tuple[ServedModel, ...]]:
    """The models of run folders by slot; a model comes before its readers.

    An unreadable folder after the first is passed to `on_skip`; without it that is an error.
    """
    slots: dict[str, tuple[ServedModel, ...]] = {}
    for model in model_selection.select_models(folders, on_skip=on_skip):
        slot = SLOTS.get(model.kind, f"experts-{model.label}")
        slots[slot] = (*slots.get(slot, ()), model)
    return dict(sorted(slots.items(), key=lambda item: item[1][0].reads is not None))


def source_fingerprint(slot: str, served: ModelsBySlot) -> str | None:
    """The fingerprint of the model whose predictions a slot reads; None where it reads frames."""
    source = served[slot][0].reads
    return next((m.fingerprint for group in served.values() for m in group if m.id == source), None)


def require_token(host: str, token: str | None) -> None:
    """Raise InputError for a host that others reach, unless there is a token."""
    if not token and not is_loopback(host):
        raise InputError(f"{host} is reachable by others; set a token with --token or LUS_TOKEN")


def _replace_limits(values: Args) -> ServiceLimits:
    """The default limits with some values replaced; limits of a clip are on the same level."""
    limits = ServiceLimits()
    if unknown := sorted(set(values) - set(limits.to_dict())):
        raise ServeError(f"unknown limit {unknown[0]!r}; known are {', '.join(limits.to_dict())}")
    clip_names = {field.name for field in fields(DecodeLimits)} & set(values)
    clip = replace(limits.clip, **{name: values[name] for name in clip_names})
    return replace(limits, clip=clip, **{k: values[k] for k in set(values) - clip_names})
