"""The applications of a service on this machine: what is taken in, what replaces it, what ends.

An application is named after its slot and what it holds. A newcomer stands beside what it may
replace until every ingress asks it; a newcomer that waits for its readers, or starts slowly, is
looked at again and again, and what is refused is not tried again.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve import RunTarget
from ray.serve.exceptions import RayServeException

from lus_ray.errors import LusError, ServeError
from lus_ray.inference import model_selection as models
from lus_ray.inference.changes import Stamp, stamp
from lus_ray.inference.model_selection import Model
from serve import app as builders
from serve import copies
from serve.app import Offer
from serve.routing import Standing

READY_SECONDS = 180.0
PAUSE_SECONDS = 1.0
ANSWER_SECONDS = 30.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Taken:
    """An application that was started: its slot, its models, and the fingerprint it reads."""

    slot: str
    models: tuple[Model, ...]
    reads: str | None


class Applications:
    """The applications that run on what a run folder and its neighbours offer.

    `running` has those that were started, by name. At the last look `routed` answered and `waiting`
    had passed their gate alone. `refused` are not tried again, nor what reads a model in `gone`.
    `say` is told what changes.
    """

    def __init__(self, folder: Path, kept: Path, config: dict[str, Any], say: Say) -> None:
        self.folder, self.kept, self.say = folder, kept, say
        self.settings = {one["name"]: one["deployments"][0] for one in config["applications"]}
        self.logging = config["logging_config"]
        self.running: dict[str, Taken] = {}
        self.wanted: set[str] = set()
        self.routed: set[str] = set()
        self.waiting: set[str] = set()
        self.refused: set[str] = set()
        self.gone: set[str] = set()
        self.told: set[str] = set()
        self.seen: Stamp | None = None

    def start(self, args: dict[str, Any]) -> None:
        """Start the ingress, then everything on offer, and wait until it answers or is refused.

        Raises:
            ServeError: nothing passed its gate.
        """
        front = builders.front(args, self._options("ingress"))
        self.ingress = serve.run(
            front, name="ingress", route_prefix="/", logging_config=self.logging
        )
        self._take_in()
        deadline = time.monotonic() + READY_SECONDS
        while not self._settle() and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
        if not self.routed:
            raise ServeError(f"{self.folder}: nothing that it offers can be served")

    def renew(self) -> None:
        """Take in what is new or was written anew; everything else goes on undisturbed."""
        self._take_in()
        if set(self.running) == self.routed:
            return
        before = {self.running[app].slot: app for app in self.routed}
        self._settle()
        for app in self.routed - set(before.values()):
            instead = before.get(self.running[app].slot)
            self.say(f"serving {app}" + (f" instead of {instead}" if instead else ""))
        for app in self.waiting:
            self._tell_once(f"waiting: {app}, until as much reads it as what answers now")

    def _take_in(self) -> None:
        """Start what is on offer and neither runs nor was refused, where anything changed."""
        now = stamp(self.folder)
        if now == self.seen:
            return
        try:
            offer = self._offer()
            wanted = {_name(slot, offer): slot for slot in offer}
            new = {
                app: Taken(slot, offer[slot], builders.read_by(slot, offer))
                for app, slot in wanted.items()
                if app not in self.running and app not in self.refused
            }
            new = {app: one for app, one in new.items() if one.reads not in self.gone}
            targets = [
                RunTarget(self._build(one, offer), app, None, self.logging)
                for app, one in new.items()
            ]
        except (LusError, OSError) as error:  # a run is being written at this moment
            self._tell_once(f"not taken in yet: {error}")
            return
        self.seen, self.wanted = now, set(wanted)
        if targets:
            self.running |= new
            serve.run_many(targets, wait_for_applications_running=False)
            self._ask_ingress("look_anew")

    def _offer(self) -> Offer:
        """What can be served; of neighbours that cannot be read is told.

        Raises:
            LusError: the run folder cannot be read, or a neighbour that is served from just now.
        """
        broken: dict[str, str] = {}
        offer = builders.offered(
            models.beside(self.folder), lambda run, why: broken.update({run.name: why})
        )
        for run, why in broken.items():
            if any(model.run == run for one in self.running.values() for model in one.models):
                raise ServeError(why)
            self._tell_once(f"left out: {why}")
        return offer

    def _build(self, one: Taken, offer: Offer) -> Any:
        for model in one.models:
            copies.keep(model, self.kept)
        options = self._options(one.slot)
        return builders.build(one.slot, offer, copies=self.kept, options=options)

    def _options(self, slot: str) -> dict[str, Any]:
        """The options of a slot's deployment; labels that are not listed go by the first one."""
        known = self.settings.get(slot) or self.settings["experts-severity"]
        return {name: value for name, value in known.items() if name != "name"}

    def _settle(self) -> bool:
        """End what was refused or replaced; whether all that runs answers, or waits."""
        standings = self._standings()
        if not standings:
            return False
        self._refuse(standings)
        if all(one.is_ready for one in standings):
            used = frozenset().union(*(one.routed | one.used for one in standings))
            self._end(set(self.running) - used - self.wanted)
        routed, admitted = (
            frozenset.intersection(*parts)
            for parts in zip(*((one.routed, one.admitted) for one in standings), strict=True)
        )
        self.routed = set(self.running) & routed
        self.waiting = (set(self.running) & admitted) - self.routed
        return self.routed | self.waiting == set(self.running)

    def _standings(self) -> list[Standing]:
        """What every replica of the ingress says; nothing where one does not answer just now."""
        found = self._ask_ingress("standing")
        return found if len(found) == self.settings["ingress"]["num_replicas"] else []

    def _ask_ingress(self, what: str) -> list[Any]:
        """What the replicas of the ingress answer; nothing where one of them ends meanwhile."""
        try:
            return list(self.ingress.broadcast(what).results(timeout_s=ANSWER_SECONDS))
        except (RayError, RayServeException, TimeoutError):
            return []

    def _refuse(self, standings: list[Standing]) -> None:
        """End what one of the ingresses refused, or what does not start, and what reads it."""
        why = {app: text for one in standings for app, text in one.refused.items()}
        for app, state in serve.status().applications.items():
            if state.status == "DEPLOY_FAILED":
                why.setdefault(app, f"{app} does not start")
        self.gone |= {self.running[app].models[0].fingerprint for app in why if app in self.running}
        for app, one in self.running.items():
            if one.reads in self.gone:
                why.setdefault(app, f"{app}: what it reads is refused")
        ended = {app: text for app, text in why.items() if app in self.running}
        for text in dict.fromkeys(ended.values()):
            self.say(f"refused: {text}")
        self.refused |= set(ended)
        self._end(set(ended))

    def _end(self, apps: set[str]) -> None:
        """End applications, and remove the copies that nothing is loaded from any more."""
        for app in apps:
            serve.delete(app)
            del self.running[app]
        if apps:
            self._ask_ingress("look_anew")
            every = [model for one in self.running.values() for model in one.models]
            copies.leave_only(every, self.kept)

    def _tell_once(self, text: str) -> None:
        if text not in self.told:
            self.told.add(text)
            self.say(text)


def _name(slot: str, offer: Offer) -> str:
    """The slot, and a tag of the models and of what they read."""
    held = [model.fingerprint for model in offer[slot]] + [builders.read_by(slot, offer) or ""]
    return f"{slot}.{hashlib.sha256(' '.join(held).encode()).hexdigest()[:8]}"
