"""The `lus` command: it chooses what is run; what is run stands in the experiment files.

Exit codes: 0 done, 1 something failed, 2 bad input, 130 interrupted.
Why imports are inside the commands: `lus --help` answers at once, without torch or Ray.
"""

import errno
import importlib
import json
import os
import shlex
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click

from lus_ray import __version__
from lus_ray.cli.options import PLACE
from lus_ray.errors import InputError, LusError

SIZES = ("smoke", "laptop", "full")
FOLDER = click.Path(path_type=Path)
AT_LEAST_ONE = click.IntRange(min=1)
BAD_PLACE = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
)  # fmt: skip
"""What the system says of a place that was named badly; a full disk is none of these."""


class Lus(click.Group):
    """A group whose commands end with one line and an exit code when something is wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; errors of ours become one line on the error stream."""
        try:
            return super().invoke(ctx)
        except LusError as error:
            click.echo(f"lus: {' '.join(str(error).split())}", err=True)
            ctx.exit(error.exit_code)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "lus"
            told = " ".join(error.format_message().split()).rstrip(".")
            click.echo(f"lus: {told}; see '{command} --help'", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            bad = error.errno in BAD_PLACE
            remedy = "; name a place of the right kind that you may use" if bad else ""
            click.echo(f"lus: {where}{error.strerror or error}{remedy}", err=True)
            ctx.exit(2 if bad else 1)
        except KeyboardInterrupt:
            click.echo("lus: interrupted; run the same command again to go on", err=True)
            ctx.exit(130)


@click.group(cls=Lus, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lus")
def main() -> None:
    """Lung-ultrasound experiments on Ray: from clips to the published table.

    For research use only; not a medical device.
    """


@main.command()
@click.option("--out", type=FOLDER, default=Path("runs/demo"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the report's contents as JSON.")
def demo(out: Path, as_json: bool) -> None:
    """Make phantom clips, run the biomarkers study in its smoke size, print its table."""
    began = time.monotonic()
    _run("biomarkers", None, out, "smoke", {}, as_json=as_json)
    click.echo(f"demo took {time.monotonic() - began:.0f} s", err=True)
    click.echo(f"serve what it trained with: lus serve {shlex.quote(str(out))}", err=True)


@main.command()
@click.argument("source")
@click.argument("root", type=PLACE)
@click.argument("store", type=PLACE, required=False)
@click.option("--max-side", type=AT_LEAST_ONE, help="Longest stored side in pixels (default 512).")
@click.option("--workers", type=AT_LEAST_ONE, help="Files decoded at a time (default: one a CPU).")
@click.option(
    "--missing-patient", type=click.Choice(["refuse", "own"]),
    help="Clips without a patient: leave them out (default), or make each its own patient.",
)  # fmt: skip
@click.option("--labels", type=FOLDER, help="folder: the CSV of labels (default ROOT/labels.csv).")
@click.option("--allow-text", is_flag=True, help="dicom: accept writing beside the fan.")
@click.option("--patients", type=int, help="phantom: how many patients.")
@click.option("--clips", type=int, help="phantom: clips per patient.")
@click.option("--frames", type=int, help="phantom: frames per clip.")
@click.option("--size", type=int, help="phantom: height and width in pixels.")
@click.option("--seed", type=int, help="phantom: the same seed gives the same clips.")
@click.option("--domain", help="phantom: A, B, or A,B for both.")
@click.option("--difficulty", type=float, help="phantom: 0 (clean) to 1.")
@click.option("--masks", help="phantom: mask scheme, or none.")
@click.option("--video-labels", type=float, help="phantom: share of clips with a clip score.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def ingest(
    source: str, root: Path | str, store: Path | str | None, max_side: int | None,
    workers: int | None, missing_patient: str | None, labels: Path | None, allow_text: bool,
    as_json: bool, **phantom: Any,
) -> None:  # fmt: skip
    """Read SOURCE clips below ROOT into STORE (phantom needs no ROOT).

    SOURCE is covid_blues, pocovid, folder, dicom or phantom; STORE a folder or s3://bucket/folder.
    """
    from lus_ray.data.ingest.pipeline import ingest as read_source

    files: dict[str, Any] = {
        "max_side": max_side, "missing_patient": missing_patient, "labels": labels,
        "allow_text": allow_text or None,
    }  # fmt: skip
    own, others, kind = files, phantom, "phantom clips"
    if source == "phantom":
        own, others, kind = phantom, files, "sources of files"
    if strange := [name for name, value in others.items() if value is not None]:
        raise InputError(f"--{strange[0].replace('_', '-')} is for {kind} only; leave it out")
    place: Path | str | None = root
    if source == "phantom":
        if store is not None:
            raise InputError("phantom has no ROOT; write 'lus ingest phantom STORE'")
        store, place = root, None
    if store is None:
        raise InputError("no STORE given; write 'lus ingest SOURCE ROOT STORE'")
    _refuse_unwritable(store, "STORE")
    options = {name: value for name, value in own.items() if value is not None}
    with _bar("clips") as progress:
        summary = read_source(source, place, store, workers=workers, progress=progress, **options)
    click.echo(json.dumps(summary.contents(), indent=1) if as_json else summary.text())


@main.command()
@click.argument("store", type=PLACE)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(store: Path | str, as_json: bool) -> None:
    """Count labels, patients and probes of STORE; find duplicates, leaks and damage.

    The contact sheet is check.html in STORE; of one on object storage, check-NAME.html here.
    """
    from lus_ray.data import check as checks

    findings = checks.check(store)
    click.echo(json.dumps(findings.contents(), indent=1) if as_json else findings.text())
    page = checks.write(findings, store)
    if not as_json:
        click.echo(f"contact sheet: {page}")
    if findings.damaged:
        raise LusError(f"{store}: {len(findings.damaged)} damaged files; ingest their source again")


@main.command()
@click.argument("experiment")
@click.option(
    "--data", type=PLACE, help="A store, or its URI; smoke makes phantom clips without one."
)
@click.option("--out", type=PLACE, help="Run folder, or its URI (default runs/EXPERIMENT-SIZE).")
@click.option("--size", type=click.Choice(SIZES), default="full", show_default=True)
@click.option("--smoke", is_flag=True, help="The same as --size smoke.")
@click.option("--arms", help="Only these arms and what they need: A,B or 'SVM*'.")
@click.option("--folds", help="Only these folds: 0,1")
@click.option("--samples", type=AT_LEAST_ONE, help="Search hyperparameters with so many samples.")
@click.option("--splits", type=FOLDER, help="Folds of patients from a JSON file like folds.json.")
@click.option(
    "--weights",
    help="Begin the networks that fit with a file of weights, a checkpoint folder, or a published "
    "name.",
)
@click.option(
    "--domains", help="The store's names of the domains compared, in the experiment's order: A,B"
)
@click.option("--weak", is_flag=True, help="Frames without a score carry that of their clip.")
@click.option(
    "--over", type=PLACE, multiple=True, help="Draw segmenters over clips of this store, too."
)
@click.option("--set", "settings", multiple=True, help="arm.recipe.epochs=3, kept in the record.")
@click.option("--tensorboard", is_flag=True, help="Write OUT/tensorboard, too.")
@click.option(
    "--address", envvar="RAY_ADDRESS",
    help="A running Ray cluster: auto, host:6379 or ray://host:10001; RAY_ADDRESS, if it is set.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report's contents as JSON.")
def run(
    experiment: str, data: Path | str | None, out: Path | str | None, size: str, smoke: bool,
    arms: str | None, folds: str | None, samples: int | None, weights: str | None,
    splits: Path | None, domains: str | None, weak: bool, over: tuple[Path | str, ...],
    settings: tuple[str, ...], address: str | None, tensorboard: bool, as_json: bool,
) -> None:  # fmt: skip
    """Run what is missing of EXPERIMENT and print its table; run it again to go on."""
    size = "smoke" if smoke else size
    _run(
        experiment, data, out or Path("runs") / f"{experiment}-{size}", size,
        {"arms": arms, "folds": folds, "samples": samples, "weights": weights, "splits": splits,
         "settings": settings},
        address=address, as_json=as_json, weak=weak, over=over, domains=domains,
        tensorboard=tensorboard,
    )  # fmt: skip


@main.command()
@click.argument("folder", type=PLACE)
@click.option("--json", "as_json", is_flag=True, help="Print the report's contents as JSON.")
def report(folder: Path | str, as_json: bool) -> None:
    """Make the report of a run FOLDER, or of one at a URI, again from what lies in it."""
    from lus_ray.storage import mirror as home

    _report(folder, as_json, home.readable(folder))


@main.command()
@click.argument("folder", type=PLACE)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8100, show_default=True,
    help="Of the page; 0 takes a free one.",
)  # fmt: skip
@click.option("--page", "where", flag_value="page", help="The page alone.")
@click.option("--terminal", "where", flag_value="terminal", help="The terminal alone.")
@click.option("--once", is_flag=True, help="Print the grid and end.")
@click.option("--json", "as_json", is_flag=True, help="Print the grid as JSON and end.")
def watch(
    folder: Path | str, host: str, port: int, where: str | None, once: bool, as_json: bool
) -> None:
    """Watch the cells of the run FOLDER, a page at the printed address and here, until Ctrl-C.

    Works from the folder alone, also after the cluster is gone.
    """
    from lus_ray.monitoring import show

    show.show(
        _reader(folder), host=host, port=port, where=where, once=once, as_json=as_json,
        say=click.echo,
    )  # fmt: skip


@main.command()
@click.argument("folder", type=PLACE)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--token", envvar="LUS_TOKEN", help="Asked of every client (or set LUS_TOKEN).")
def serve(folder: Path | str, host: str, port: int, token: str | None) -> None:
    """Serve what the run FOLDER and its neighbours offer, until Ctrl-C.

    A page at the printed address, POST /v1/clips for programs. Every model is held to its stored
    predictions first; checkpoints that come later are taken in on the way. Of a run at a URI, what
    lies there at the start is served, without neighbours.
    """
    from lus_ray.storage import mirror as home

    # By name, as the service knows the package and not the other way round.
    local = importlib.import_module("serve.local")
    local.run(home.readable(folder), host=host, port=port, token=token, notify=click.echo)


@main.command()
@click.argument("file", type=FOLDER)
@click.option("--url", help="A server to ask, as 'lus serve' prints it.")
@click.option("--token", envvar="LUS_TOKEN", help="The server's token (or set LUS_TOKEN).")
@click.option(
    "--run", "runs", type=PLACE, multiple=True,
    help="Without --url: the run folder whose models answer, with its neighbours; "
    "of several, those alone (default runs/demo).",
)  # fmt: skip
@click.option("--uncertainty", is_flag=True, help="Sample how sure the masks are.")
@click.option("--allow-text", is_flag=True, help="Accept DICOM with writing beside its fan.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
def predict(
    file: Path, url: str | None, token: str | None, runs: tuple[Path | str, ...], uncertainty: bool,
    allow_text: bool, as_json: bool,
) -> None:  # fmt: skip
    """What trained models say of the clip FILE, here or by a server; the numbers are the same."""
    from lus_ray.inference import client
    from lus_ray.inference.schema import to_dict

    if not file.is_file():
        raise InputError(f"{file}: is not a file")
    if url is not None:
        if runs:
            raise InputError("--run is for answers without a server; leave out one of --run, --url")
        response = client.request_prediction(
            url, file, token=token, uncertainty=uncertainty, allow_text=allow_text
        )
    else:
        from lus_ray.storage import mirror as home

        folders = tuple(home.readable(run) for run in runs or (Path("runs/demo"),))
        response = _predict(file, folders, uncertainty, allow_text)
    click.echo(json.dumps(to_dict(response)) if as_json else client.format_response(response))


@main.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True)
def weights(name: str | None, as_json: bool) -> None:
    """Fetch published weights NAME, or list what there is."""
    from lus_ray.nets.pretrained import published

    if name is None:
        known = {n: {"url": w.url, "sha256": w.sha256} for n, w in published.PUBLISHED.items()}
        lines = "\n".join(f"{n:<20} {w['url']}" for n, w in known.items())
        click.echo(json.dumps(known, indent=1) if as_json else lines)
        return
    path = published.fetch(name)
    click.echo(json.dumps({"name": name, "path": str(path)}) if as_json else str(path))


@main.command()
@click.argument("names", nargs=-1)
@click.option("--out", type=FOLDER, default="bench.json", show_default=True, help="Written too.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench(names: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Measure NAMES (all without any) against their rivals: ratios of one interleaved run."""
    from lus_ray import bench as benches
    from lus_ray.storage.files import write_text

    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"{out}: no file that can be written; name one in a folder that is there")
    _refuse_unwritable(out.parent, "--out")
    measured = benches.run(names, say=partial(click.echo, err=True))
    text = json.dumps(measured.contents(), indent=1)
    click.echo(text if as_json else measured.text())
    write_text(out, text + "\n")
    if measured.refused:
        raise LusError("; ".join(measured.refused.values()))


@main.command()
@click.option("--address", envvar="RAY_ADDRESS", help="A running Ray cluster to ask as well.")
@click.option("--json", "as_json", is_flag=True)
def doctor(address: str | None, as_json: bool) -> None:
    """What this machine can run, and how to mend what it cannot."""
    from lus_ray.orchestration import doctor as examination

    found = examination.run_checks(address)
    click.echo(json.dumps(found.contents(), indent=1) if as_json else found.text())
    if found.failed:
        sys.exit(1)


def _run(
    name: str, data: Path | str | None, out: Path | str, size: str, choice: dict[str, Any], *,
    address: str | None = None, as_json: bool = False, weak: bool = False,
    over: tuple[Path | str, ...] = (), domains: str | None = None,
    tensorboard: bool = False,
) -> None:  # fmt: skip
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")
    from lus_ray.storage import hold

    _refuse_unwritable(out, "--out")
    hold.refuse_held(out)
    from lus_ray.orchestration import campaign, run_options
    from lus_ray.orchestration.cluster import connection
    from lus_ray.runs import external_images as others
    from lus_ray.storage import mirror as home

    connection.refuse_job_folder(out)

    experiment = run_options.find(name)
    chosen = run_options.at(experiment, size, **choice)
    if begun := [arm.name for arm in chosen.arms if arm.weights]:
        click.echo(f"note: these begin with --weights: {', '.join(begun)}", err=True)
    folds = run_options.numbers(choice.get("folds"))
    named = run_options.domains(experiment, domains)
    shown = [example for place in over for example in others.examples(place)]
    command = run_options.command(
        name, size, {**choice, "data": data, "weak": weak, "domains": domains}
    )
    if data is None:
        data = run_options.phantom_store(
            experiment, size, out, lambda line: click.echo(line, err=True)
        )
    try:
        campaign.run(
            chosen, data=data, out=out, size=size, only_folds=folds, address=address,
            command=command, weak=weak, domains=named, tensorboard=tensorboard,
        )  # fmt: skip
    except LusError as error:
        if error.exit_code == 1:  # cells failed: what is finished is worth a report
            with suppress(LusError):  # the cells' own error is the one to tell
                _report(out, as_json, home.worked_in(out))
        raise
    if shown:
        number = others.draw(chosen, home.worked_in(out, weights=True), shown)
        click.echo(f"{number} pictures over other clips", err=True)
        if there := home.of(out):
            there.push("cells")
    _report(out, as_json, home.worked_in(out))


def _predict(file: Path, runs: tuple[Path, ...], uncertainty: bool, allow_text: bool) -> Any:
    from lus_ray.data.decoding.decoder import FileDecoder
    from lus_ray.inference import model_selection
    from lus_ray.inference.limits import ServiceLimits
    from lus_ray.inference.response import LocalPipeline

    limits = ServiceLimits()
    with FileDecoder(limits.clip, max_side=limits.max_side) as decoder:
        began = time.perf_counter()
        decoded = decoder.decode(file, allow_text=allow_text)
        spent_ms = {"decode": 1e3 * (time.perf_counter() - began)}
    folders = model_selection.neighbouring_runs(runs[0]) if len(runs) == 1 else runs
    models = model_selection.select_models(folders)
    return LocalPipeline(models).predict(decoded, uncertainty=uncertainty, timings_ms=spent_ms)


def _reader(folder: Path | str) -> Any:
    from lus_ray.monitoring.run_state import RunReader
    from lus_ray.storage.paths import is_remote

    if not is_remote(folder):
        return RunReader(Path(folder), again_s=1)
    from lus_ray.storage.mirror import Home

    home = Home(str(folder), reading=True, patience_s=5)
    heavy = ("checkpoint", "phantom", "pictures", "start", "tensorboard", "trained")
    return RunReader(
        home.local, refresh=partial(home.pull, without=(*heavy, "*.safetensors")), name=home.shown
    )


def _report(place: Path | str, as_json: bool, folder: Path) -> None:
    """Make the report of the folder, or copy, of a place; print it; write it and bring it there."""
    from lus_ray import report as reports
    from lus_ray.storage import mirror as home

    def show(report: reports.Report) -> None:
        click.echo(json.dumps(report.contents, indent=1) if as_json else report.text())

    reports.write(folder, show=show)
    where = home.bring(place, folder, *reports.FILES)
    if not as_json:
        click.echo(f"report: {where}")


def _refuse_unwritable(folder: Path | str, what: str) -> None:
    """Refuse a folder that cannot be made or written, before there is work that would be lost."""
    from lus_ray.storage.paths import is_remote

    if is_remote(folder):
        return
    path = Path(folder).absolute()
    there = next(p for p in (path, *path.parents) if p.exists())
    if not there.is_dir():
        raise InputError(f"{there}: is a file; give {what} a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{there}: cannot be written to; give {what} another folder")


class _bar:
    """A progress bar on the error stream, as a context that gives the function that moves it."""

    def __init__(self, unit: str) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.console = Console(stderr=True)
        self.bar = Progress(console=self.console, disable=not self.console.is_terminal)
        self.task = self.bar.add_task(unit, total=None)

    def __enter__(self) -> Any:
        self.bar.__enter__()
        return self.show

    def show(self, done: int, total: int | None, num_frames: int) -> None:
        """Move the bar."""
        text = f"{done} clips, {num_frames} frames"
        self.bar.update(self.task, completed=done, total=total, description=text)

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)


if __name__ == "__main__":
    main()
