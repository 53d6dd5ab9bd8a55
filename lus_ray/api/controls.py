"""A control: its worlds run like a study, and what they show of the method."""

import shlex
import time
from collections.abc import Callable
from pathlib import Path

from lus_ray.errors import InputError
from lus_ray.evaluation.control_checks import ControlResult, check_world
from lus_ray.monitoring.phase_log import PhaseLog
from lus_ray.orchestration import control_plan
from lus_ray.orchestration.early_checks import refuse_bad_places
from lus_ray.report import control_page, terminal
from lus_ray.runs.prepare import print_note
from lus_ray.storage.paths import is_remote


def default_out(study: str, broken: str | None = None) -> Path:
    parts = [Path(study).stem, "control", *([control_plan.name_folder(broken)] if broken else [])]
    return Path("runs") / "-".join(parts)


def run_control(
    study: str | Path, *, out: Path | str | None = None, seed: int = 0, broken: str | None = None,
    address: str | None = None, notify: Callable[[str], None] = print_note,
) -> ControlResult:  # fmt: skip
    """Run the control of a study, as `lus run STUDY --control` does, and write its report.

    With `broken`, only the world in which the method is broken in this way. Repeat it to resume.

    Raises:
        InputError: the study has no control, or the folder cannot be used.
        CellError: cells failed.
    """
    began = time.monotonic()
    name = str(study)
    if out is not None and is_remote(str(out)):
        raise InputError("--out: a control runs into a folder; give a path")
    folder = Path(out) if out is not None else default_out(name, broken)
    refuse_bad_places(name, folder, [], address=address)
    control = control_plan.find_control(name)
    worlds = control_plan.choose_worlds(control, broken)
    from lus_ray import report as reports
    from lus_ray.orchestration import campaign  # imports Ray

    command = f"lus run {shlex.quote(name)} --control --seed {seed}"
    command += f" --broken {shlex.quote(broken)}" if broken else ""
    checked = []
    for world in worlds:
        with PhaseLog(notify) as log:
            log.notify(f"preparing world {world.name!r} ...")
            request = control_plan.prepare_world(
                world, folder, seed=seed, address=address, command=command, notify=log.notify
            )
        campaign.run(request, notify)
        with PhaseLog(notify) as log:
            log.notify(f"checking world {world.name!r} ...")
            reports.write(Path(request.out), num_draws=200)
            checked.append(check_world(world, Path(request.out), request.data))
    result = ControlResult(
        study=name, claim=control.claim, seed=seed, broken=broken, worlds=tuple(checked),
        seconds=round(time.monotonic() - began, 1),
    )  # fmt: skip
    control_page.write(result, folder)
    return result


def to_text(result: ControlResult, *, colour: bool = False) -> str:
    return terminal.render(control_page.compose(result), colour=colour)
