"""`lus serve`: the service on this machine, until Ctrl-C, with new checkpoints taken in.

What is served is a copy of each checkpoint, named by its fingerprint: a run that writes a
checkpoint anew cannot change what a replica loads when it starts again.
"""

import contextlib
import hashlib
import logging
import shutil
import signal
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from ray import serve
from ray.serve import Application, RunTarget

from lus_ray.engine import cluster
from lus_ray.errors import LusError, ServeError
from lus_ray.service import models
from serve import app as builders
from serve import listener
from serve.app import Offer
from serve.sweeper import sweeping

CONFIG = Path(__file__).with_name("config.yaml")
READY_SECONDS = 180.0
WATCH_SECONDS = 3.0
PAUSE_SECONDS = 0.3
NUM_PROBES = 20
Say = Callable[[str], None]


def run(folder: Path, *, host: str, port: int, token: str | None, say: Say) -> None:
    """Serve what a run folder and its neighbours offer until the process is interrupted.

    Raises:
        ServeError: nothing there can be served, or nothing passed its gate.
        InputError: a host that others reach, without a token.
    """
    with serving(folder, host=host, port=port, token=token, say=say) as service:
        while True:
            time.sleep(WATCH_SECONDS)
            service.renew()


@contextlib.contextmanager
def serving(
    folder: Path, *, host: str = "127.0.0.1", port: int = 8000, token: str | None = None,
    say: Say = print, limits: dict[str, Any] | None = None,
) -> Iterator["Service"]:  # fmt: skip
    """The service for the length of a block; afterwards every process that it started is gone."""
    builders.guarded(host, token)
    listener.bound(host, port, shared=False).close()  # or say at once that another listens there
    if not builders.offered(models.beside(folder)):
        raise ServeError(f"{folder}: holds nothing that can be served; let its run finish")
    config = yaml.safe_load(CONFIG.read_text())
    with (
        tempfile.TemporaryDirectory(prefix="lus-serve-") as copies,
        sweeping(Path(copies)),
        cluster.connected(None),
    ):
        service = Service(folder, Path(copies), config, say)
        if threading.current_thread() is threading.main_thread():
            # As Ctrl-C: Ray's own handler leaves two of its agents behind for a minute.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        # Its notes name a port where nothing listens: the ingress has a socket of its own.
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        try:
            serve.start(
                proxy_location=config["proxy_location"], logging_config=config["logging_config"]
            )
            service.start({"host": host, "port": port, "token": token, "limits": limits or {}})
            service.announce(host, port)
            yield service
        finally:
            serve.shutdown()


class Service:
    """The applications that run; `running` has their names by slot."""

    def __init__(self, folder: Path, copies: Path, config: dict[str, Any], say: Say) -> None:
        self.folder, self.copies, self.say = folder, copies, say
        self.settings = {one["name"]: one["deployments"][0] for one in config["applications"]}
        self.running: dict[str, str] = {}
        self.refused: set[str] = set()
        self.trouble = ""

    def start(self, args: dict[str, Any]) -> None:
        """Start the ingress, then everything on offer.

        Raises:
            ServeError: nothing passed its gate.
        """
        front = builders.front(args, self._options("ingress"))
        self.ingress = serve.run(front, name="ingress", route_prefix="/")
        self.renew()
        if not self.running:
            raise ServeError(f"{self.folder}: nothing that it offers can be served")

    def renew(self) -> None:
        """Take in what is new or was written anew; everything else goes on undisturbed."""
        try:
            offer = builders.offered(models.beside(self.folder))
            wanted = {_name(slot, offer): slot for slot in offer}
            known = {*self.running.values(), *self.refused}
            new = {app: slot for app, slot in wanted.items() if app not in known}
            built = [RunTarget(self._build(slot, offer), app, None) for app, slot in new.items()]
        except (LusError, OSError) as error:  # a run is being written at this moment
            if str(error) != self.trouble:
                self.say(f"not taken in yet: {error}")
            self.trouble = str(error)
            return
        if built:
            serve.run_many(built, wait_for_applications_running=False)
            self._take_over(new, self._outcome(set(new)))

    def announce(self, host: str, port: int) -> None:
        """Tell what is served where, once every replica of the ingress is ready."""
        address, in_a_row = f"http://{f'[{host}]' if ':' in host else host}:{port}", 0
        deadline = time.monotonic() + READY_SECONDS
        while in_a_row < NUM_PROBES and time.monotonic() < deadline:
            in_a_row = in_a_row + 1 if _is_ready(address) else 0
            time.sleep(0.0 if in_a_row else PAUSE_SECONDS)
        self.say(f"serving at {address} (for research use only; Ctrl-C ends it)")
        for app in self.running.values():
            self.say(f"  {app}")

    def _build(self, slot: str, offer: Offer) -> Application:
        for model in offer[slot]:
            if not (self.copies / model.fingerprint).is_dir():
                shutil.copytree(model.folder, self.copies / model.fingerprint)
        return builders.build(slot, offer, copies=self.copies, options=self._options(slot))

    def _options(self, slot: str) -> dict[str, Any]:
        """The options of a slot's deployment; labels that are not listed go by the first one."""
        known = self.settings.get(slot) or self.settings["experts-severity"]
        return {name: value for name, value in known.items() if name != "name"}

    def _outcome(self, apps: set[str]) -> dict[str, str | None]:
        """Why each application was refused, or None, as soon as all of them are settled."""
        outcome: dict[str, str | None] = {}
        deadline = time.monotonic() + READY_SECONDS
        while not apps <= set(outcome) and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
            outcome = self.ingress.outcome.remote().result(timeout_s=READY_SECONDS)
            for app, state in serve.status().applications.items():
                if state.status == "DEPLOY_FAILED":
                    outcome.setdefault(app, f"{app} does not start")
        return {app: outcome.get(app, f"{app} does not answer") for app in apps}

    def _take_over(self, new: dict[str, str], outcome: dict[str, str | None]) -> None:
        """End what was replaced, or what was refused."""
        for app, slot in new.items():
            if outcome[app] is None:
                before, self.running[slot] = self.running.get(slot), app
                if before is not None:
                    self.say(f"serving {app} instead of {before}")
                    serve.delete(before)
            else:
                self.say(f"refused: {outcome[app]}")
                self.refused.add(app)
                serve.delete(app)


def _is_ready(address: str) -> bool:
    """Whether the replica that takes the next connection is ready."""
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=READY_SECONDS):
            return True
    except OSError:
        return False


def _name(slot: str, offer: Offer) -> str:
    """The slot, and a tag of the models and of what they read."""
    held = [model.fingerprint for model in offer[slot]] + [builders.read_by(slot, offer) or ""]
    return f"{slot}.{hashlib.sha256(' '.join(held).encode()).hexdigest()[:8]}"
