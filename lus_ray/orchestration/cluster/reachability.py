"""Whether a Ray cluster answers at an address, within seconds; Ray would try for minutes."""

import errno
import os
import socket

import grpc
import psutil

from lus_ray.errors import InputError
from lus_ray.orchestration.cluster import ray_private

CONNECT_TIMEOUT_S, RESPONSE_TIMEOUT_S = 5, 10
NO_HEAD = (
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED,
)  # fmt: skip
SUBMIT = "ray job submit --working-dir . -- lus run ..."
NOT_A_NODE = f"this machine is not one of its nodes; run it there as a job: {SUBMIT}"
WRONG_TOKEN = (
    "it requires a token, and this process has another or none; set RAY_AUTH_MODE=token and put "
    "the cluster's in ~/.ray/auth_token (or RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH)"
)
REMEDY = "start one with 'ray start --head', or omit --address and unset RAY_ADDRESS"


def refuse_unreachable(address: str | None) -> str | None:
    """The address with "auto" resolved; None, for a cluster of one's own, stays None.

    Raises:
        InputError: nothing answers there within 20 s, it refuses this process, or this machine is
            not one of its nodes.
    """
    if address is None:
        return None
    known = _resolve_auto() if address == "auto" else address
    name = address if known == address else f"{address} ({known})"
    if known.startswith(("http://", "https://")):
        raise _refusal(name, f"that address accepts jobs; use {SUBMIT}, or unset RAY_ADDRESS")
    is_client = known.startswith("ray://")
    host, _, port = known.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        raise _refusal(name, "no host and port; write auto, host:6379 or ray://host:10001")
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S):
            pass
    except (OSError, OverflowError) as error:
        is_refused = isinstance(error, OSError) and error.errno == errno.ECONNREFUSED
        reason = "nothing listens there" if is_refused else str(error)
        raise _refusal(name, f"{reason}; {REMEDY}") from None
    status = ray_private.check_head(
        f"{host}:{port}", is_client=is_client, timeout_s=RESPONSE_TIMEOUT_S
    )
    if status is grpc.StatusCode.UNAUTHENTICATED:
        raise _refusal(name, WRONG_TOKEN)
    if status in NO_HEAD:
        reason = f"what listens there does not answer like Ray's head within {RESPONSE_TIMEOUT_S} s"
        raise _refusal(name, f"{reason}; {REMEDY}")
    if not is_client and not _has_node(port):
        raise _refusal(name, NOT_A_NODE)
    return known


def _resolve_auto() -> str:
    """host:port of RAY_ADDRESS, or of the cluster on this machine."""
    known = os.environ.get("RAY_ADDRESS", "auto") or "auto"
    found = ray_private.find_cluster() if known == "auto" else known
    if found is None:
        raise _refusal("auto", f"none runs on this machine; {REMEDY}")
    return found


def _has_node(port: str) -> bool:
    """Whether a raylet of this machine belongs to a head with this port."""
    raylets = [p for p in psutil.process_iter(["name", "cmdline"]) if p.info["name"] == "raylet"]
    options = [word for raylet in raylets for word in raylet.info["cmdline"] or ()]
    return any(o.startswith("--gcs-address=") and o.endswith(f":{port}") for o in options)


def _refusal(address: str, reason: str) -> InputError:
    return InputError(f"no Ray cluster at {address}: {reason}")
