"""`lus predict`: the models of a run, or a server, applied to one clip or to many."""

import json
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from lus_ray.cli.background import run_beside
from lus_ray.cli.options import FOLDER, PATH_OR_URI, refuse_options, study_option
from lus_ray.cli.progress import show_clip_progress
from lus_ray.errors import InputError, LusError

MAX_PRINTED = 50
"""Clips that are predicted without --out."""
NOT_SUMMARISED = "not summarised (no model beat the baseline)"


@click.command()
@click.argument("sources", metavar="CLIP...", nargs=-1, required=True)
@click.option(
    "--out", type=FOLDER, help="Table of all predictions: FILE.csv or FILE.parquet, one row a clip."
)
@click.option("--url", help="Address of a server, as 'lus serve' prints it; for one file.")
@click.option("--token", envvar="LUS_TOKEN", help="The server's token (or set LUS_TOKEN).")
@click.option(
    "--run",
    "runs",
    type=PATH_OR_URI,
    multiple=True,
    help="Without --url: the run folder whose models predict, with the runs beside it; "
    "several name exactly those (default runs/demo).",
)
@click.option(
    "--address",
    help="A running Ray cluster to predict on; its machines must see RUN and the clips.",
)
@study_option
@click.option("--uncertainty", is_flag=True, help="Sample the uncertainty of the masks.")
@click.option("--allow-text", is_flag=True, help="Accept DICOM with text burned in beside the fan.")
@click.option(
    "--json", "as_json", is_flag=True,
    help="Print JSON: the whole response to one file, or the row of each clip, one a line.",
)  # fmt: skip
def predict(
    sources: tuple[str, ...], out: Path | None, url: str | None, token: str | None,
    runs: tuple[Path | str, ...], address: str | None, uncertainty: bool, allow_text: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Predict clips with trained models, here or by a server; the numbers are equal.

    CLIP is a file, a folder, a quoted pattern ("scans/*.mp4") or a store (a folder or URI). One
    file gives its prediction as text. Several give a short table, and with --out a file with every
    number; a clip that cannot be read has a row with its error, and the exit code is 1. The same
    command again goes on where it stopped.
    """
    if url is not None:
        _refuse_beside_url(sources, {"--run": runs, "--out": out, "--address": address})
    else:
        refuse_options("predictions without --url", lambda name: name == "token")
    if as_json and out is not None:
        raise InputError("--json prints the rows that --out writes; remove one of them")
    runs = runs or (Path("runs/demo"),)
    options = {"uncertainty": uncertainty, "allow_text": allow_text}
    single = Path(sources[0])
    if len(sources) == 1 and out is None and address is None and single.is_file():
        _predict_one(single, runs, url, token, options, as_json)
    else:
        _predict_many(sources, runs, out, address, options, as_json)


def _refuse_beside_url(sources: tuple[str, ...], others: dict[str, Any]) -> None:
    if given := [name for name, value in others.items() if value]:
        raise InputError(f"{given[0]} is for predictions without a server; remove it or --url")
    if len(sources) > 1 or not Path(sources[0]).is_file():
        raise InputError(f"--url predicts one file, not {' '.join(sources)}; remove --url")


def _predict_one(
    file: Path, runs: tuple[Path | str, ...], url: str | None, token: str | None,
    options: dict[str, bool], as_json: bool,
) -> None:  # fmt: skip
    where = url or f"the models of {', '.join(map(str, runs))}"
    click.echo(f"reading {file} with {where} ...", err=True)  # before slow imports
    response: Any
    if url is not None:
        from lus_ray.inference import client

        response = client.request_prediction(url, file, token=token, **options)
    else:
        response = _predict_locally(file, runs, **options)
    from lus_ray.inference.response_text import format_response
    from lus_ray.inference.schema import to_dict

    click.echo(json.dumps(to_dict(response)) if as_json else format_response(response))


def _predict_locally(
    file: Path, runs: tuple[Path | str, ...], uncertainty: bool, allow_text: bool
) -> Any:
    """The response to one clip, which is decoded while this process imports torch."""
    from lus_ray.data.decoding.decoder import FileDecoder
    from lus_ray.inference.limits import ServiceLimits

    limits = ServiceLimits()
    with FileDecoder(limits.clip, max_side=limits.max_side) as decoder:
        began = time.perf_counter()

        def decode() -> Any:
            decoded = decoder.decode(file, allow_text=allow_text)
            return decoded, 1e3 * (time.perf_counter() - began)

        (decoded, decode_ms), pipeline = run_beside(decode, partial(_load_pipeline, runs))
    return pipeline.predict(decoded, uncertainty=uncertainty, timings_ms={"decode": decode_ms})


def _load_pipeline(runs: tuple[Path | str, ...]) -> Any:
    from lus_ray.inference.response import LocalPipeline

    return LocalPipeline(_select_models(runs))


def _select_models(runs: tuple[Path | str, ...]) -> Any:
    from lus_ray.inference import model_selection
    from lus_ray.runs.layout import open_for_reading

    folders = tuple(open_for_reading(run).path for run in runs)
    folders = model_selection.neighbouring_runs(folders[0]) if len(folders) == 1 else folders
    models = model_selection.select_models(folders)
    if not models:
        where = ", ".join(map(str, runs))
        raise InputError(f"{where}: no finished model to apply; run 'lus run' to its end first")
    return models


def _predict_many(
    sources: tuple[str, ...], runs: tuple[Path | str, ...], out: Path | None, address: str | None,
    options: dict[str, bool], as_json: bool,
) -> None:  # fmt: skip
    from lus_ray.inference import prediction_file
    from lus_ray.inference.clip_inputs import find_inputs

    if out is not None:
        prediction_file.check_path(out)
    found = find_inputs(map(_parse, sources))
    if found.ignored:
        first = found.ignored[0]
        click.echo(f"note: {len(found.ignored)} files are no clips, such as {first}", err=True)
    if out is None and len(found.clips) > MAX_PRINTED:
        raise InputError(f"{len(found.clips)} clips: write them to a table with --out FILE.csv")
    number = len(found.clips)
    click.echo(f"reading {number} clip{'s' * (number != 1)} ...", err=True)  # before slow imports
    from lus_ray.inference.model_reports import with_reports
    from lus_ray.inference.summaries import write_banner

    models = with_reports(_select_models(runs))
    if address is not None:
        from lus_ray.orchestration.cluster.reachability import refuse_unreachable  # imports Ray

        refuse_unreachable(address)
    if banner := write_banner(models):
        click.echo(f"WARNING: {banner}", err=True)
    predict_rows = _predict_here if address is None else partial(_predict_on_cluster, address)
    if out is None:
        failed = _print_rows(predict_rows(found.clips, models, options), as_json)
    else:
        with prediction_file.open_predictions(out, models, options) as table:
            missing = table.select_missing(found.clips)
            for row in _with_progress(predict_rows(missing, models, options), len(missing)):
                table.add(row)
            failed = prediction_file.count_errors(table.finish(found.clips), found.clips)
        click.echo(f"{len(found.clips) - failed} of {len(found.clips)} clips predicted: {out}")
    if failed:
        where = "" if out is None else f"; column 'error' of {out} says why"
        raise LusError(f"{failed} of {len(found.clips)} clips could not be read{where}")


def _parse(source: str) -> Path | str:
    if "://" not in source:
        return Path(source)
    from lus_ray.storage import paths  # importing Arrow takes a while

    return paths.parse(source)


def _predict_here(
    clips: list[Any], models: tuple[Any, ...], options: dict[str, bool]
) -> Iterator[dict[str, Any]]:
    if not clips:  # nothing is loaded where all is done
        return
    from lus_ray.inference.batch import predict_clips
    from lus_ray.inference.prediction_table import flatten
    from lus_ray.inference.response import LocalPipeline

    yield from map(flatten, predict_clips(clips, LocalPipeline(models), **options))


def _predict_on_cluster(
    address: str, clips: list[Any], models: tuple[Any, ...], options: dict[str, bool]
) -> Iterator[dict[str, Any]]:
    from lus_ray import study_files
    from lus_ray.inference.row_worker import RowWorker, pack_clips, unpack_rows
    from lus_ray.orchestration import actor_pool
    from lus_ray.orchestration.cluster import connection

    settings = {"models": models, "root": Path.cwd(), "options": options}
    settings["studies"] = study_files.loaded()  # imported there as they arrive
    with connection.connect(address):
        packed = actor_pool.map_in_order(pack_clips(clips), RowWorker, settings)
        yield from unpack_rows(packed)


def _with_progress(rows: Iterable[dict[str, Any]], total: int) -> Iterator[dict[str, Any]]:
    num_frames = 0
    with show_clip_progress() as show:
        for done, row in enumerate(rows, start=1):
            num_frames += row.get("num_frames") or 0
            show(done, total, num_frames)
            yield row


def _print_rows(rows: Iterable[dict[str, Any]], as_json: bool) -> int:
    """Print a line per clip; the number of errors."""
    failed = 0
    for row in rows:
        failed += row["error"] is not None
        click.echo(json.dumps(row) if as_json else _describe(row))
    return failed


def _describe(row: dict[str, Any]) -> str:
    """Such as "a.mp4: severity 2, findings: ..."."""
    if row["error"] is not None:
        return f"{row['clip']}: not read: {row['error']}"
    labels = {n.partition("/")[2]: v for n, v in row.items() if n.startswith("summary/")}
    parts = [f"{label} {value or NOT_SUMMARISED}" for label, value in labels.items()]
    parts += [f"findings: {row['findings'] or 'none'}"] if "findings" in row else []
    return f"{row['clip']}: {', '.join(parts) or 'predicted; --out writes the numbers'}"
