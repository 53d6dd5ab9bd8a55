"""`lus watch`, `lus serve` and `lus predict`: a run while it is active, and its models."""

import importlib
import json
import time
from pathlib import Path
from typing import Any

import click

from lus_ray.cli.options import FOLDER, PATH_OR_URI, refuse_busy_port
from lus_ray.cli.start_log import StartLog
from lus_ray.errors import InputError


@click.command()
@click.argument("folder", type=PATH_OR_URI)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8100, show_default=True,
    help="Port of the page; 0 takes a free one.",
)  # fmt: skip
@click.option("--page", "where", flag_value="page", help="Only the page.")
@click.option("--terminal", "where", flag_value="terminal", help="Only the terminal.")
@click.option("--once", is_flag=True, help="Print the grid and exit.")
@click.option("--json", "as_json", is_flag=True, help="Print the grid as JSON and exit.")
def watch(
    folder: Path | str, host: str, port: int, where: str | None, once: bool, as_json: bool
) -> None:
    """Watch the cells of the run FOLDER on a page and in the terminal, until Ctrl-C.

    Needs the folder alone, so it also works after the cluster is gone.
    """
    from lus_ray.monitoring.terminal import show_run

    show_run(
        _open_reader(folder), host=host, port=port, where=where, once=once, as_json=as_json,
        echo=click.echo,
    )  # fmt: skip


@click.command()
@click.argument("folder", type=PATH_OR_URI)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option(
    "--token", envvar="LUS_TOKEN", help="Token required of every client (or set LUS_TOKEN)."
)
def serve(folder: Path | str, host: str, port: int, token: str | None) -> None:
    """Serve the models of the run FOLDER and of the runs beside it, until Ctrl-C.

    The printed address has a page; programs send clips to POST /v1/clips. A model is served only
    if it gives its stored predictions again. Models that finish later are added while the service
    runs. A run at a URI is served as it is at the start, without the runs beside it.
    """
    refuse_busy_port(host, port)
    with StartLog(click.echo) as log:
        log.notify(f"starting the service for {folder} ...")
        from lus_ray.runs import manifest
        from lus_ray.runs.layout import open_for_reading

        run = open_for_reading(folder).path
        manifest.read(run)  # refuse a folder without a run before slow imports
        # By name: the service imports the package, never the reverse.
        local = importlib.import_module("serve.local")
        local.run(run, host=host, port=port, token=token, notify=log.notify, on_ready=log.stop)


@click.command()
@click.argument("file", type=FOLDER)
@click.option("--url", help="Address of a server, as 'lus serve' prints it.")
@click.option("--token", envvar="LUS_TOKEN", help="The server's token (or set LUS_TOKEN).")
@click.option(
    "--run", "runs", type=PATH_OR_URI, multiple=True,
    help="Without --url: the run folder whose models predict, with the runs beside it; "
    "several name exactly those (default runs/demo).",
)  # fmt: skip
@click.option("--uncertainty", is_flag=True, help="Sample the uncertainty of the masks.")
@click.option("--allow-text", is_flag=True, help="Accept DICOM with text burned in beside the fan.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole response as JSON.")
def predict(
    file: Path, url: str | None, token: str | None, runs: tuple[Path | str, ...], uncertainty: bool,
    allow_text: bool, as_json: bool,
) -> None:  # fmt: skip
    """Predict the clip FILE with trained models, here or by a server; the numbers are equal."""
    if not file.is_file():
        raise InputError(f"{file}: is not a file")
    if url is not None and runs:
        raise InputError("--run is for predictions without a server; remove --run or --url")
    runs = runs or (Path("runs/demo"),)
    where = url or f"the models of {', '.join(map(str, runs))}"
    click.echo(f"reading {file} with {where} ...", err=True)  # before slow imports
    from lus_ray.inference import client
    from lus_ray.inference.response_text import format_response
    from lus_ray.inference.schema import to_dict

    if url is not None:
        response = client.request_prediction(
            url, file, token=token, uncertainty=uncertainty, allow_text=allow_text
        )
    else:
        from lus_ray.runs.layout import open_for_reading

        folders = tuple(open_for_reading(run).path for run in runs)
        response = _predict_locally(file, folders, uncertainty, allow_text)
    click.echo(json.dumps(to_dict(response)) if as_json else format_response(response))


def _predict_locally(
    file: Path, runs: tuple[Path, ...], uncertainty: bool, allow_text: bool
) -> Any:
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


def _open_reader(location: Path | str) -> Any:
    from lus_ray.monitoring.run_state import RunReader
    from lus_ray.runs.layout import RunFolder

    folder = RunFolder(location, reading=True)
    if folder.mirror is None:
        return RunReader(folder.path, max_age_s=1)
    return RunReader(folder.path, refresh=folder.refresh, name=folder.display_name)
