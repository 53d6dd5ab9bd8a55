"""`lus ingest` and `lus check`: clips into a store, and what a store holds."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from lus_ray.cli.options import AT_LEAST_ONE, FOLDER, PATH_OR_URI, refuse_unwritable
from lus_ray.cli.output import echo_result
from lus_ray.cli.progress import show_clip_progress, show_lines
from lus_ray.errors import InputError, LusError, SkippedError

SIMULATORS = ("phantom", "control")
"""Sources without files."""

SHOWN_ITEMS = 20
"""Skipped items that `--strict` prints."""


@click.command()
@click.argument("source")
@click.argument("root", type=PATH_OR_URI, required=False)
@click.argument("store", type=PATH_OR_URI, required=False, metavar="STORE")
@click.option("--max-side", type=AT_LEAST_ONE, help="Longest stored side in pixels (default 512).")
@click.option(
    "--workers", type=AT_LEAST_ONE, help="Clips decoded or made at a time (default: one a CPU)."
)
@click.option(
    "--missing-patient", type=click.Choice(["refuse", "own"]),
    help="Clips without a patient: refuse skips them (default), own makes each its own patient.",
)  # fmt: skip
@click.option(
    "--labels", type=FOLDER, help="folder: the table of labels (default ROOT/labels.csv)."
)
@click.option(
    "--init",
    is_flag=True,
    help="folder: write ROOT/labels.csv to be filled in, with all files; needs no STORE.",
)
@click.option(
    "--patient-folders", is_flag=True, help="With --init: each folder below ROOT is one patient."
)
@click.option(
    "--classes",
    multiple=True,
    metavar="NAME=A<B<C",
    help="folder: classes of an own label, from least to most; NAME=A,B,C without an order.",
)
@click.option("--allow-text", is_flag=True, help="dicom: accept text burned in beside the fan.")
@click.option("--strict", is_flag=True, help="Store nothing and exit with 2 if a file is skipped.")
@click.option("--world", help="control: the simulated world of a control, such as marks.")
@click.option("--patients", type=int, help="phantom, control: how many patients.")
@click.option("--clips", type=int, help="phantom: clips per patient.")
@click.option("--frames", type=int, help="phantom, control: frames per clip.")
@click.option("--size", type=int, help="phantom, control: height and width in pixels.")
@click.option("--seed", type=int, help="phantom, control: the same seed gives the same clips.")
@click.option("--domain", help="phantom: A, B, or A,B for both.")
@click.option("--difficulty", type=float, help="phantom: 0 (clean) to 1.")
@click.option("--masks", help="phantom: mask scheme, or none.")
@click.option("--video-labels", type=float, help="phantom: share of clips with a clip score.")
@click.option("--scanners", help="phantom: varied (default), or same for all patients.")
@click.option(
    "--address", help="A running Ray cluster to decode or simulate on; its machines must see ROOT."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def ingest(
    source: str, root: Path | str | None, store: Path | str | None, max_side: int | None,
    workers: int | None, missing_patient: str | None, labels: Path | None, init: bool,
    patient_folders: bool, classes: tuple[str, ...], allow_text: bool, strict: bool,
    address: str | None, as_json: bool, **phantom: Any,
) -> None:  # fmt: skip
    """Read the clips of SOURCE, a folder ROOT, into STORE: a folder or s3://bucket/folder.

    SOURCE is covid_blues, pocovid, folder or dicom; clips of phantom and control are simulated and
    have no ROOT. For clips of your own, --init writes ROOT/labels.csv with every file; fill it in,
    then run 'lus ingest folder ROOT STORE'. A column that lus does not know is a label of your own
    if it has few classes.

    \b
    lus ingest folder ROOT --init
    lus ingest folder ROOT STORE
    lus ingest phantom STORE --patients 50
    """
    from lus_ray.data.ingest.readers import load_reader

    load_reader(source, {})
    if init or patient_folders:
        _write_template(source, root, store, init=init, patient_folders=patient_folders)
        return

    files: dict[str, Any] = {
        "max_side": max_side, "missing_patient": missing_patient, "labels": labels,
        "allow_text": allow_text or None, "classes": classes or None,
    }  # fmt: skip
    own, others, kind = files, phantom, "phantom clips"
    origin: Path | str | None = root
    is_simulated = source in SIMULATORS
    if is_simulated:
        own, others, kind = phantom, files, "sources of files"
    if misplaced := [name for name, value in others.items() if value is not None]:
        raise InputError(f"--{misplaced[0].replace('_', '-')} is for {kind} only; remove it")
    if is_simulated:
        if store is not None:
            raise InputError(f"{source} has no ROOT; write 'lus ingest {source} STORE'")
        store, origin = root, None
    if store is None:
        places = "STORE" if is_simulated else "ROOT STORE"
        raise InputError(f"no STORE given; write 'lus ingest {source} {places}'")
    refuse_unwritable(store, "STORE")
    options = {name: value for name, value in own.items() if value is not None}
    read_source: Callable[..., Any]
    if address is None:
        from lus_ray.data.ingest.pipeline import ingest as read_source
    else:
        from lus_ray.orchestration.cluster_ingest import ingest_on_cluster

        read_source = partial(ingest_on_cluster, address)
    try:
        with show_clip_progress() as progress:
            summary = read_source(
                source, origin, store, workers=workers, strict=strict, progress=progress, **options
            )
    except SkippedError as error:
        for line in error.items[:SHOWN_ITEMS]:
            click.echo(f"  {line}", err=True)
        if (more := len(error.items) - SHOWN_ITEMS) > 0:
            click.echo(f"  and {more} more; without --strict the ledger lists all", err=True)
        raise
    click.echo(json.dumps(summary.contents(), indent=1) if as_json else summary.text())


def _write_template(
    source: str,
    root: Path | str | None,
    store: Path | str | None,
    *,
    init: bool,
    patient_folders: bool,
) -> None:
    from lus_ray.data.ingest.label_template import write_template

    if not init:
        raise InputError("--patient-folders is for --init; add it, or write the patients yourself")
    if source != "folder" or store is not None or not isinstance(root, Path):
        raise InputError("--init writes a table into a folder: lus ingest folder ROOT --init")
    click.echo(write_template(root, patient_folders=patient_folders).text())


@click.command()
@click.argument("store", type=PATH_OR_URI)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(store: Path | str, as_json: bool) -> None:
    """Count labels, patients and probes of STORE; find duplicates, leaks and damage.

    Then say which studies and arms STORE can run, and how many patients each fold will have.

    The contact sheet is STORE/check.html, or ./check-NAME.html for a store on object storage.
    """
    from lus_ray.data import check as checks

    with show_lines(step=f"checking {store} ..."):
        findings = checks.check_store(store)
    if not as_json:
        echo_result(findings.text())
    page = checks.write_page(findings, store)
    if not as_json:
        echo_result(f"contact sheet: {page}")
    studies = _check_studies(store, as_json) if not findings.damaged else []
    if as_json:
        echo_result(json.dumps({**findings.contents(), "studies": studies}, indent=1))
    if findings.damaged:
        raise LusError(f"{store}: {len(findings.damaged)} damaged files; ingest their source again")


def _check_studies(store: Path | str, as_json: bool) -> list[dict[str, Any]]:
    from lus_ray.orchestration import feasibility  # imports torch, after what is known without

    found = feasibility.check_studies(store)
    if not as_json:
        echo_result(f"\n{feasibility.to_text(found, store)}")
    return feasibility.to_json(found)
