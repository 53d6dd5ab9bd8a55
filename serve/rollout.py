"""Rolls out models on this machine: which applications start, replace others, and end.

An application is named after its slot and its models. It runs in every ingress (colocated) or as a
Serve application (composed), as the plan says. A candidate runs beside the application that it
replaces until every ingress routes to it. A candidate that waits for its readers or starts
slowly is checked again; a rejected one is not tried again.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve import RunTarget
from ray.serve.exceptions import RayServeException

from lus_ray.errors import LusError, ServeError
from lus_ray.inference import model_selection
from lus_ray.inference.model_reports import with_reports
from lus_ray.inference.model_selection import Snapshot, hash_checkpoint
from lus_ray.inference.served_model import ServedModel
from serve import app as builders
from serve.app import ModelsBySlot
from serve.plan import LayoutOption, PlannedApplication, choose_colocated, write_plan
from serve.routing import RoutingStatus

READY_SECONDS, POLL_SECONDS, REPLY_SECONDS = 180.0, 0.5, 30.0
PARTIAL = "copying"
INGRESS = "ingress"


@dataclass(frozen=True)
class DeployedApplication:
    """A started application; `reads` is the fingerprint of the model that it reads."""

    slot: str
    models: tuple[ServedModel, ...]
    reads: str | None
    is_colocated: bool


class Rollout:
    """The applications for the models of a run folder and its neighbours.

    `deployed` are the started applications by name; at the last update `routed` served and
    `waiting` had passed their parity check only. `rejected` are not tried again, nor is a reader of
    a model in `rejected_models`. `notify` receives messages about changes.
    """

    def __init__(
        self, folder: Path, copies: Path, config: dict[str, Any], notify: Callable[[str], None],
        layout: LayoutOption = "auto",
    ) -> None:  # fmt: skip
        self.folder, self.copies, self.notify, self.layout = folder, copies, notify, layout
        self.settings = {app["name"]: app["deployments"][0] for app in config["applications"]}
        self.logging = config["logging_config"]
        self.deployed: dict[str, DeployedApplication] = {}
        self.wanted, self.routed, self.waiting = set[str](), set[str](), set[str]()
        self.rejected, self.rejected_models, self.sent_messages = set[str](), set[str](), set[str]()
        self.snapshot: Snapshot | None = None

    def start(self, args: dict[str, Any]) -> None:
        """Start the ingress and all applications, and wait until each serves or is rejected.

        Raises:
            ServeError: no model passes its parity check.
        """
        options = self._options("ingress")
        ingress = builders.build_ingress(args, folder=self.copies, options=options)
        self._deploy_new(RunTarget(ingress, INGRESS, "/", self.logging))
        if self.deployed:
            self.ingress = serve.get_app_handle(INGRESS)
            self._wait_until_settled(time.monotonic() + READY_SECONDS)
        if not self.routed:
            raise ServeError(f"{self.folder}: none of its models can be served")

    def update(self) -> None:
        """Deploy new and changed models; all others keep running."""
        self._deploy_new()
        if set(self.deployed) == self.routed:
            return
        before = {self.deployed[name].slot: name for name in self.routed}
        self._settle()
        for name in self.routed - set(before.values()):
            replaced = before.get(self.deployed[name].slot)
            self.notify(f"serving {name}" + (f" instead of {replaced}" if replaced else ""))
        for name in self.waiting:
            self._notify_once(f"waiting: {name} serves once as many models read it as the old one")

    def _wait_until_settled(self, deadline: float) -> None:
        is_loading = is_starting = True
        while (is_starting or not self._settle()) and time.monotonic() < deadline:
            states = serve.status().applications
            loading = {name for name, state in states.items() if state.status == "DEPLOYING"}
            is_starting = INGRESS in loading
            if is_loading and loading <= {INGRESS}:  # which waits for the first route
                self.notify("checking them against their stored predictions ...")
                is_loading = False
            time.sleep(POLL_SECONDS)

    def _deploy_new(self, *others: RunTarget) -> None:
        """Start the applications of new models, together with others."""
        snapshot = model_selection.take_snapshot(self.folder)
        if snapshot == self.snapshot:
            return
        try:
            served = self._find_models()
            wanted = {_application_name(slot, served): slot for slot in served}
            colocated, new = self._choose_colocated(served), {}
            for name, slot in wanted.items():
                reads = builders.source_fingerprint(slot, served)
                is_known = name in self.deployed or name in self.rejected
                if not is_known and reads not in self.rejected_models:
                    models, is_colocated = with_reports(served[slot]), slot in colocated
                    new[name] = DeployedApplication(slot, models, reads, is_colocated)
            for application in new.values():
                for model in application.models:
                    copy_checkpoint(model, self.copies)
            targets = [
                RunTarget(self._build(application, served), name, None, self.logging)
                for name, application in new.items()
                if not application.is_colocated
            ]
        except (LusError, OSError) as error:  # a run is being written at this moment
            self._notify_once(f"not deployed yet: {error}")
            return
        self.snapshot, self.wanted = snapshot, set(wanted)
        if new:
            self.deployed |= new
            self._write_plan()
            if others or targets:
                serve.run_many([*others, *targets], wait_for_applications_running=False)

    def _find_models(self) -> ModelsBySlot:
        skipped: dict[str, str] = {}
        served = builders.find_models(
            model_selection.neighbouring_runs(self.folder),
            lambda run, why: skipped.update({run.name: why}),
        )
        for run, why in skipped.items():
            if any(m.run == run for a in self.deployed.values() for m in a.models):
                raise ServeError(why)
            self._notify_once(f"skipped: {why}")
        return served

    def _choose_colocated(self, served: ModelsBySlot) -> set[str]:
        with_gpu = [
            slot for slot in served if self._options(slot)["ray_actor_options"].get("num_gpus")
        ]
        return choose_colocated(served, self.layout, apart=with_gpu)

    def _write_plan(self) -> None:
        write_plan(
            self.copies,
            (
                PlannedApplication(name, known.reads, known.models if known.is_colocated else None)
                for name, known in self.deployed.items()
            ),
        )

    def _build(self, application: DeployedApplication, served: ModelsBySlot) -> Any:
        options = self._options(application.slot)
        return builders.build_slot(application.slot, served, copies=self.copies, options=options)

    def _options(self, slot: str) -> dict[str, Any]:
        """The options of a slot's deployment; unlisted labels use those of severity."""
        settings = self.settings.get(slot) or self.settings["experts-severity"]
        return {name: value for name, value in settings.items() if name != "name"}

    def _settle(self) -> bool:
        """End rejected and replaced applications; returns whether all others serve or wait."""
        statuses = self._call_ingress("status")
        if len(statuses) != self.settings["ingress"]["num_replicas"]:
            return False
        self._end_rejected(statuses)
        if all(status.is_ready for status in statuses):
            used = frozenset().union(*(status.routed | status.used for status in statuses))
            self._end(set(self.deployed) - used - self.wanted)
        names = set(self.deployed)
        self.routed = names.intersection(*(status.routed for status in statuses))
        accepted = names.intersection(*(status.accepted for status in statuses))
        self.waiting = accepted - self.routed
        return self.routed | self.waiting == names

    def _call_ingress(self, method: str) -> list[Any]:
        """The results of all ingress replicas; empty where one of them ends meanwhile."""
        try:
            return list(self.ingress.broadcast(method).results(timeout_s=REPLY_SECONDS))
        except (RayError, RayServeException, TimeoutError):
            return []

    def _end_rejected(self, statuses: list[RoutingStatus]) -> None:
        """End applications that an ingress rejected or that do not start, and their readers."""
        why = {name: text for status in statuses for name, text in status.rejected.items()}
        for name, state in serve.status().applications.items():
            if state.status == "DEPLOY_FAILED":
                why.setdefault(name, f"{name} does not start")
        faulty = [self.deployed[name] for name in why if name in self.deployed]
        self.rejected_models |= {application.models[0].fingerprint for application in faulty}
        for name, application in self.deployed.items():
            if application.reads in self.rejected_models:
                why.setdefault(name, f"{name}: the model it reads is rejected")
        ended = {name: text for name, text in why.items() if name in self.deployed}
        for text in dict.fromkeys(ended.values()):
            self.notify(f"rejected: {text}")
        self.rejected |= set(ended)
        self._end(set(ended))

    def _end(self, names: set[str]) -> None:
        ended = {name: self.deployed.pop(name) for name in names}
        if ended:
            self._write_plan()
            for name, application in ended.items():
                if not application.is_colocated:
                    serve.delete(name)
            models = [m for application in self.deployed.values() for m in application.models]
            remove_copies_except(models, self.copies)

    def _notify_once(self, text: str) -> None:
        if text not in self.sent_messages:
            self.sent_messages.add(text)
            self.notify(text)


def copy_checkpoint(model: ServedModel, copies: Path) -> None:
    """Copy a checkpoint to a folder named by its fingerprint, completely or not at all.

    Why: a run that rewrites its checkpoint must not change what a restarting replica loads.
    """
    copy, partial = copies / model.fingerprint, copies / PARTIAL
    if copy.is_dir():
        return
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(model.folder, partial)
    if hash_checkpoint(partial) != model.fingerprint:
        raise ServeError(f"{model.id}: its checkpoint is being written")
    partial.rename(copy)


def remove_copies_except(models: Iterable[ServedModel], copies: Path) -> None:
    kept = {model.fingerprint for model in models}
    for folder in copies.iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _application_name(slot: str, served: ModelsBySlot) -> str:
    source = builders.source_fingerprint(slot, served) or ""
    tags = [model.fingerprint for model in served[slot]] + [source]
    return f"{slot}.{hashlib.sha256(' '.join(tags).encode()).hexdigest()[:8]}"
