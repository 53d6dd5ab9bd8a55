"""`lus watch` and `lus serve`: a run while it is active, and its models."""

import importlib
from pathlib import Path
from typing import Any

import click

from lus_ray.cli.options import (
    FOLDER,
    PATH_OR_URI,
    refuse_busy_port,
    refuse_options,
    refuse_unwritable,
)
from lus_ray.monitoring.phase_log import PhaseLog


@click.command()
@click.argument("folder", type=PATH_OR_URI, required=False)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8100, show_default=True,
    help="Port of the page; 0 takes a free one.",
)  # fmt: skip
@click.option("--page", "where", flag_value="page", help="Only the page.")
@click.option("--terminal", "where", flag_value="terminal", help="Only the terminal.")
@click.option("--once", is_flag=True, help="Print the grid and exit.")
@click.option("--json", "as_json", is_flag=True, help="Print the grid as JSON and exit.")
@click.option(
    "--grafana", type=FOLDER, metavar="DIR",
    help="Write a Grafana dashboard of arms and folds with state, score and epoch into DIR, and "
    "exit; needs no FOLDER. Its queries read what Prometheus scrapes from a cluster.",
)  # fmt: skip
def watch(
    folder: Path | str | None, host: str, port: int, where: str | None, once: bool, as_json: bool,
    grafana: Path | None,
) -> None:  # fmt: skip
    """Watch the cells of the run FOLDER on a page and in the terminal, until Ctrl-C.

    Needs the folder alone, so it also works after the cluster is gone.
    """
    if grafana is not None:
        refuse_options("--grafana", lambda name: name != "grafana")
        refuse_unwritable(grafana, "--grafana")
        from lus_ray.orchestration import grafana as dashboards  # imports Ray

        for path in dashboards.write(grafana):
            click.echo(path)
        return
    if folder is None:
        raise click.UsageError("missing argument 'FOLDER'")
    if once or as_json:
        shown = ("where", "host", "port")
        refuse_options("a grid that is printed once", lambda name: name in shown)
    reader = _open_reader(folder)
    from lus_ray.monitoring.terminal import show_run

    show_run(
        reader, host=host, port=port, where=where, once=once, as_json=as_json,
        echo=click.echo,
    )  # fmt: skip


@click.command()
@click.argument("folder", type=PATH_OR_URI)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option(
    "--token", envvar="LUS_TOKEN", help="Token required of every client (or set LUS_TOKEN)."
)
@click.option(
    "--layout", type=click.Choice(["auto", "colocated", "composed"]), default="auto",
    show_default=True, help="Models within the processes that respond, or in processes of their "
    "own; auto takes within what fits.",
)  # fmt: skip
@click.option(
    "--replicas",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Processes that respond to clips; while one restarts, the others go on.",
)
def serve(
    folder: Path | str, host: str, port: int, token: str | None, layout: str, replicas: int
) -> None:
    """Serve the models of the run FOLDER and of the runs beside it, until Ctrl-C.

    The printed address has a page; programs send clips to POST /v1/clips. A model is served only
    if it gives its stored predictions again. Models that finish later are added while the service
    runs. A run at a URI is served as it is at the start, without the runs beside it.
    """
    refuse_busy_port(host, port)
    if isinstance(folder, Path):
        from lus_ray.runs.layout import require_record

        require_record(folder)
    with PhaseLog(click.echo) as log:
        log.notify(f"starting the service for {folder} ...")
        from lus_ray.runs.layout import open_for_reading

        run = open_for_reading(folder).path
        from lus_ray.runs import manifest

        manifest.read(run)  # refuse a damaged record before Ray is imported
        # By name: the service imports the package, never the reverse.
        local = importlib.import_module("serve.local")
        local.run(
            run, host=host, port=port, token=token, notify=log.notify, on_ready=log.stop,
            layout=layout, replicas=replicas,
        )  # fmt: skip


def _open_reader(location: Path | str) -> Any:
    from lus_ray.runs.layout import RunFolder, require_record

    folder = RunFolder(location, reading=True)
    if folder.mirror is None:
        require_record(folder.path)
    from lus_ray.monitoring.run_state import RunReader  # imports torch

    if folder.mirror is None:
        return RunReader(folder.path, max_age_s=1)
    return RunReader(folder.path, refresh=folder.refresh, name=folder.display_name)
