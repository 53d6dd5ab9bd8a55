"""Connecting to Ray: a cluster of one's own for a command, or one that is there."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator

import ray

from lus_ray.errors import InputError

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
}
"""Ray's own output is replaced by ours; its own pickled records are not kept."""

UNSAFE = "RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE"


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A Ray cluster for the length of the block.

    `address` None starts one on this machine, without a dashboard, and stops it afterwards.
    Otherwise the cluster at the address is used and left as it was.

    Raises:
        InputError: nothing answers at the address, or the environment is unsafe.
    """
    if os.environ.get(UNSAFE) not in (None, "", "0"):
        raise InputError(f"{UNSAFE} is set, which lets a Parquet file run code; unset it")
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    if ray.is_initialized():
        yield
        return
    settings = {
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "configure_logging": True,
    }
    try:
        if address is None:
            ray.init(
                address="local",  # never join a cluster that happens to run here
                include_dashboard=False,
                dashboard_host="127.0.0.1",
                _node_ip_address="127.0.0.1",
                **settings,
            )
        else:
            _knock(address)
            ray.init(address=address, **settings)
    except (ConnectionError, RuntimeError, ValueError, OSError, socket.gaierror) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"no Ray cluster at {address or 'this machine'}: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Refuse a host and port where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        with socket.create_connection((host, int(port)), timeout=5):
            pass
