"""`lus serve`: the service on this machine, until Ctrl-C, with new checkpoints taken in."""

import contextlib
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ray import serve

from lus_ray.errors import ServeError
from lus_ray.inference import model_selection
from lus_ray.orchestration.cluster import connection
from serve import app as builders
from serve import http_server
from serve.cleanup import sweeping
from serve.rollout import Applications, Say

CONFIG = Path(__file__).with_name("config.yaml")
WATCH_SECONDS = 3.0

QUICK = {
    "RAY_worker_niceness": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "2000",
}
"""Read by the processes of a service. They are no work in the background: clients wait for them.
One event loop is enough where all that computes has threads of its own. What Ray counts and looks
after, clips or none, it does less often than ten times a second."""


def run(folder: Path, *, host: str, port: int, token: str | None, say: Say) -> None:
    """Serve what a run folder and its neighbours offer until the process is interrupted.

    Raises:
        ServeError: nothing there can be served, or nothing passed its gate.
        InputError: a host that others reach, without a token.
    """
    with serving(folder, host=host, port=port, token=token, say=say) as applications:
        while True:
            time.sleep(WATCH_SECONDS)
            applications.renew()


@contextlib.contextmanager
def serving(
    folder: Path, *, host: str = "127.0.0.1", port: int = 8000, token: str | None = None,
    say: Say = print, limits: dict[str, Any] | None = None,
) -> Iterator[Applications]:  # fmt: skip
    """The service for the length of a block; afterwards every process that it started is gone."""
    builders.guarded(host, token)
    http_server.bound(host, port, shared=False).close()  # or say at once that another listens there
    if not builders.offered(
        model_selection.beside(folder), lambda run, why: None
    ):  # that is told later
        raise ServeError(f"{folder}: holds nothing that can be served; let its run finish")
    config = yaml.safe_load(CONFIG.read_text())
    os.environ.update({name: os.environ.get(name, value) for name, value in QUICK.items()})
    with (
        tempfile.TemporaryDirectory(prefix="lus-serve-") as copies,
        sweeping(Path(copies)),
        connection.connect(None),
    ):
        applications = Applications(folder, Path(copies), config, say)
        if threading.current_thread() is threading.main_thread():
            # As Ctrl-C: Ray's own handler leaves two of its agents behind for a minute.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        # Its notes name a port where nothing listens: the ingress has a socket of its own.
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        try:
            serve.start(
                proxy_location=config["proxy_location"], logging_config=config["logging_config"]
            )
            applications.start({"host": host, "port": port, "token": token, "limits": limits or {}})
            at = f"[{host}]" if ":" in host else host
            say(f"serving at http://{at}:{port} (for research use only; Ctrl-C ends it)")
            for app in sorted(applications.routed):
                say(f"  {app}")
            yield applications
        finally:
            serve.shutdown()
