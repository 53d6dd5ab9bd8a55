"""`lus serve`: the service on this machine until Ctrl-C, deploying new checkpoints."""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml
from ray import serve

from lus_ray.errors import ServeError
from lus_ray.inference import model_selection
from lus_ray.orchestration.cluster import connection
from serve import app as builders
from serve import http_server
from serve.cleanup import clean_up_if_killed
from serve.plan import LayoutOption
from serve.rollout import INGRESS, Rollout

CONFIG = Path(__file__).with_name("config.yaml")
POLL_SECONDS = 3.0
RAY_SETTINGS = {
    "RAY_worker_niceness": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "1",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",
    "RAY_enable_metrics_collection": "0",
    "RAY_memory_monitor_refresh_ms": "1000",
    "REPORTER_UPDATE_INTERVAL_MS": "10000",
}
"""Environment of the service's processes: clients wait for them, one event loop suffices as
computation has its own threads, and Ray's control loop and reports on itself run less often."""


def run(
    folder: Path, *, host: str, port: int, token: str | None, notify: Callable[[str], None],
    on_ready: Callable[[], None], layout: LayoutOption = "auto", replicas: int | None = None,
) -> None:  # fmt: skip
    """Serve the models of a run folder and its neighbours until the process is interrupted.

    `on_ready` is called when the service answers. `layout` is explained in serve/plan.py;
    `replicas` ingresses answer, by default as many as in the configuration.

    Raises:
        ServeError: there is no model, or none passes its parity check.
        InputError: the host is reachable by others, and there is no token.
    """
    with serving(
        folder, host=host, port=port, token=token, notify=notify, layout=layout, replicas=replicas
    ) as rollout:
        on_ready()
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(POLL_SECONDS)
                rollout.update()
    notify("stopped")


@contextlib.contextmanager
def serving(
    folder: Path, *, host: str = "127.0.0.1", port: int = 8000, token: str | None = None,
    notify: Callable[[str], None] = print, limits: dict[str, Any] | None = None,
    layout: LayoutOption = "auto", replicas: int | None = None,
) -> Iterator[Rollout]:  # fmt: skip
    """The service for the length of a block; all its processes end with the block."""
    builders.require_token(host, token)
    http_server.bind_socket(host, port, shared=False).close()  # fail early if the port is in use
    runs = model_selection.neighbouring_runs(folder)
    found = builders.find_models(runs, lambda run, why: None)  # the rollout reports the others
    if not found:
        raise ServeError(f"{folder}: has no model to serve; let its run finish")
    config = yaml.safe_load(CONFIG.read_text())
    os.environ.update({name: os.environ.get(name, value) for name, value in RAY_SETTINGS.items()})
    notify("starting Ray ...")
    with (
        contextlib.ExitStack() as end,
        tempfile.TemporaryDirectory(prefix="lus-serve-") as copies,
        clean_up_if_killed(Path(copies)),
        connection.connect(None),
    ):
        names = dict.fromkeys(model.run for models in found.values() for model in models)
        notify(f"loading {sum(map(len, found.values()))} models of {', '.join(names)} ...")
        rollout = Rollout(folder, Path(copies), config, notify, layout)
        if replicas is not None:
            rollout.settings[INGRESS]["num_replicas"] = replicas
        if threading.current_thread() is threading.main_thread():
            # Like Ctrl-C: Ray's own handler leaves two of its agents behind for a minute.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        # Its messages name a port that is not in use: the ingress has its own socket.
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        try:
            serve.start(
                proxy_location=config["proxy_location"], logging_config=config["logging_config"]
            )
            rollout.start({"host": host, "port": port, "token": token, "limits": limits or {}})
            name = f"[{host}]" if ":" in host else host
            spent = time.time() - psutil.Process().create_time()
            notify(
                f"ready: http://{name}:{port} after {spent:.0f} s "
                "(for research only; press Ctrl-C to stop)"
            )
            yield rollout
        finally:
            end.enter_context(_silence())  # Ray reports its own end as failures
            serve.shutdown()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard what this process and its threads write to their output, for a block."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    with open(os.devnull, "wb") as nothing:
        for number in kept:
            os.dup2(nothing.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
