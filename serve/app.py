"""Builders of the applications: what `serve/config.yaml` names and `lus serve` starts.

Each takes its `args` from the configuration. Run folders come as `runs`, or from the environment
variable `LUS_RUNS` with the separator of the system's paths.
"""

import ipaddress
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
from lus_ray.inference.model_selection import Model
from serve.aggregators import Aggregators
from serve.backbone import Backbone
from serve.experts import Experts
from serve.ingress import Ingress
from serve.scorer import Scorer
from serve.segmenter import Segmenter

Args = Mapping[str, Any]
Offer = Mapping[str, tuple[Model, ...]]
"""Models by the slot that they are served in."""

ON_FRAMES: dict[str, Any] = {"backbone": Backbone, "scorer": Scorer, "segmenter": Segmenter}
ON_ANSWERS: dict[str, Any] = {"experts": Experts, "aggregators": Aggregators}
SLOTS = {
    "backbone": "backbone",
    "frames": "scorer",
    "segmenter": "segmenter",
    "aggregator": "aggregators",
}


def ingress(args: Args) -> Application:
    """`front` with the options of the configuration; Ray gives a builder its `args` alone."""
    return front(args)


def front(args: Args, options: Args | None = None) -> Application:
    """The HTTP side at `host` and `port`, with a `token` (or that in LUS_TOKEN), if any.

    `limits` replaces some of the limits.

    Raises:
        InputError: a host that others reach, without a token.
    """
    host, port = args.get("host", "127.0.0.1"), int(args.get("port", 8000))
    token = args.get("token") or os.environ.get("LUS_TOKEN") or None
    guarded(host, token)
    limits = _limits(args.get("limits", {}))
    deployment: Any = Ingress  # what the decorator made of it
    return deployment.options(**(options or {})).bind(limits, host, port, token, args.get("data"))


def backbone(args: Args) -> Application:
    """The backbone of the run folders."""
    return build("backbone", offered(_runs(args)))


def scorer(args: Args) -> Application:
    """The frame scorer of the run folders."""
    return build("scorer", offered(_runs(args)))


def segmenter(args: Args) -> Application:
    """The segmenter of the run folders."""
    return build("segmenter", offered(_runs(args)))


def aggregators(args: Args) -> Application:
    """The aggregators of the run folders, on the frame scorer that they read."""
    return build("aggregators", offered(_runs(args)))


def experts(args: Args) -> Application:
    """The experts of one `label` of the run folders, on the backbone that they read."""
    return build(f"experts-{args['label']}", offered(_runs(args)))


def offered(
    folders: Sequence[Path], left_out: Callable[[Path, str], None] | None = None
) -> dict[str, tuple[Model, ...]]:
    """What run folders offer, by slot; what is read comes before its readers.

    `left_out` is told of a folder after the first that cannot be read; without it that is an error.
    """
    found: dict[str, tuple[Model, ...]] = {}
    for model in model_selection.find(folders, left_out=left_out):
        slot = SLOTS.get(model.kind, f"experts-{model.label}")
        found[slot] = (*found.get(slot, ()), model)
    return dict(sorted(found.items(), key=lambda item: item[1][0].reads is not None))


def build(
    slot: str, offer: Offer, *, copies: Path | None = None, options: Args | None = None
) -> Application:
    """The application of a slot.

    `copies` is a folder of checkpoints by fingerprint to load instead of those of the runs,
    `options` those of the deployment.

    Raises:
        ServeError: nothing on offer fits the slot.
    """
    if slot not in offer:
        raise ServeError(f"no run offers {slot}; train it, or leave its application out")
    kind = slot.partition("-")[0]
    if kind in ON_FRAMES:
        return ON_FRAMES[kind].options(**(options or {})).bind(offer[slot][0], copies)
    reads = read_by(slot, offer)
    return ON_ANSWERS[kind].options(**(options or {})).bind(list(offer[slot]), reads, copies)


def read_by(slot: str, offer: Offer) -> str | None:
    """The fingerprint of the model whose answers a slot reads; None where it reads frames."""
    name = offer[slot][0].reads
    every = [model for group in offer.values() for model in group]
    return next((model.fingerprint for model in every if model.id == name), None)


def guarded(host: str, token: str | None) -> None:
    """See that nobody else reaches a service without a token.

    Raises:
        InputError: others reach it.
    """
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not token and not is_loopback:
        raise InputError(f"{host} can be reached by others; set a token with --token or LUS_TOKEN")


def _runs(args: Args) -> list[Path]:
    named = args.get("runs") or os.environ.get("LUS_RUNS", "").split(os.pathsep)
    folders = [Path(name) for name in named if name]
    if not folders:
        raise ServeError("no run folders; set LUS_RUNS or the argument 'runs'")
    return folders


def _limits(values: Args) -> ServiceLimits:
    """The limits with some values replaced, those of a clip named like the others."""
    limits = ServiceLimits()
    if unknown := sorted(set(values) - set(limits.contents())):
        raise ServeError(f"no limit {unknown[0]!r}; there are {', '.join(limits.contents())}")
    names = {field.name for field in fields(DecodeLimits)}
    of_clip = {name: value for name, value in values.items() if name in names}
    others = {name: value for name, value in values.items() if name not in names}
    return replace(limits, clip=replace(limits.clip, **of_clip), **others)
