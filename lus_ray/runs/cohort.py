"""The clips of a store that an experiment compares: by domain, and by frames that show a class.

An experiment names its domains by role ("covid"), a store as it likes ("A"). In the selected index
`domain` is the role, and `images` lists the frames that count, as pairs (frame, copy 0).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from lus_ray.clip import MASK_SCHEMES, SCHEMA, masks_of, to_rows
from lus_ray.data import store
from lus_ray.data.labels import Label, class_index, label_name
from lus_ray.errors import FoldError, InputError, SchemaError
from lus_ray.experiment import Experiment
from lus_ray.folds import Fold
from lus_ray.storage.paths import PathOrUri


def select(
    experiment: Experiment, index: pa.Table, data: PathOrUri, *, names: Sequence[str] = ()
) -> tuple[Experiment, pa.Table, tuple[str, ...]]:
    """The experiment with the store's names of its domains, its clips, and notes on skipped clips.

    `names` are the store's names of the domains; without them, each role takes the first of its
    known names that the store has. Raises InputError for names that do not fit, SchemaError for a
    domain without a clip or a frame that shows the class.
    """
    check_names(experiment, names)
    notes: list[str] = []
    if experiment.domains:
        names_of = _store_names(experiment, index, names)
        experiment = replace(experiment, domains={role: (n,) for role, n in names_of.items()})
        index, skipped = _select_domains(index, names_of)
        notes += skipped
    if experiment.frames_with:
        index, skipped = select_frames(
            experiment.name, experiment.frames_with, index, data, domains=tuple(experiment.domains)
        )
        notes += skipped
    if experiment.target is not None:
        index, skipped = _select_labelled(experiment.name, experiment.target, index)
        notes += skipped
    notes += experiment.folds.notes(index)
    return experiment, index, tuple(notes)


def fingerprint(index: pa.Table) -> str:
    """SHA-256 over the clips, and over the frames that masks select where a class is required."""
    clips = store.fingerprint(index)
    if "images" not in index.column_names:
        return clips
    images = index.sort_by("clip")["images"].to_pylist()
    return hashlib.sha256(json.dumps([clips, images]).encode()).hexdigest()


def check_names(experiment: Experiment, names: Sequence[str]) -> None:
    """Raise InputError for names of domains that do not fit the experiment."""
    if not names:
        return
    roles = tuple(experiment.domains)
    if not roles:
        raise InputError(f"--domains: {experiment.name} compares no domains; leave it out")
    if len(names) != len(roles) or len(set(names)) < len(names):
        raise InputError(
            f"--domains {','.join(names)}: {experiment.name} compares {len(roles)} domains; "
            f"write the store's names of {_quote(roles)}, in this order, with commas"
        )


def check_folds(experiment: Experiment, folds: Iterable[Fold], index: pa.Table) -> None:
    """Raise FoldError where a fold does not train on and test every domain of the experiment."""
    columns = (index[name].to_pylist() for name in ("patient", "domain"))
    pairs = set(zip(*columns, strict=True))
    for fold in folds:
        for verb, patients in (("trains on", fold.train), ("tests", fold.test)):
            domains = {domain for patient, domain in pairs if patient in patients}
            for role in experiment.domains:
                if role not in domains:
                    raise FoldError(
                        f"fold {fold.number} {verb} no patient of domain {role!r}; "
                        "give every fold number patients of both domains"
                    )


def _select_labelled(study: str, label: Label, index: pa.Table) -> tuple[pa.Table, list[str]]:
    """Clips with the label, by whose `class` folds are stratified, and a note on the others.

    `class` is a number where classes are ordered, so that a patient counts by the most severe.
    """
    numbers = [class_index(label.name, row, label.classes) for row in to_rows(index)]
    values = [n if n is None or label.ordered else label.classes[n] for n in numbers]
    kept = pa.array([number is not None for number in numbers])
    kind = pa.int8() if label.ordered else pa.string()
    labelled = index.append_column("class", pa.array(values, kind)).filter(kept)
    name = label_name(label.name)
    if not labelled.num_rows:
        raise SchemaError(f"{study} has no clip with {name}")
    num_skipped = index.num_rows - labelled.num_rows
    note = f"{num_skipped} of {index.num_rows} clips skipped: they have no {name}"
    return labelled, [note] if num_skipped else []


def _store_names(experiment: Experiment, index: pa.Table, names: Sequence[str]) -> dict[str, str]:
    known = sorted(set(index["domain"].to_pylist()) - {None})
    has = f"this store has {_quote(known)}" if known else "no clip of this store names its domain"
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"--domains: no clip of domain {unknown[0]!r}; {has}")
    if names:
        return dict(zip(experiment.domains, names, strict=True))
    names_of = {}
    for role, aliases in experiment.domains.items():
        present = [name for name in aliases if name in known]
        if not present:
            raise SchemaError(
                f"{experiment.name}: no clip of domain {role!r} (known as {_quote(aliases)}); "
                f"{has}; add clips of it, or name {_quote(experiment.domains)} with --domains"
            )
        names_of[role] = present[0]
    return names_of


def _select_domains(index: pa.Table, names_of: Mapping[str, str]) -> tuple[pa.Table, list[str]]:
    role_of = {name: role for role, name in names_of.items()}
    domains = index["domain"].to_pylist()
    kept = pa.array([name in role_of for name in domains])
    notes = []
    if others := Counter(repr(name) for name in domains if name not in role_of):
        counts = ", ".join(f"{number} of {name}" for name, number in sorted(others.items()))
        compared = ", ".join(f"{role} ({name!r})" for role, name in names_of.items())
        notes = [f"domains compared: {compared}; clips of others skipped: {counts}"]
    field = SCHEMA.field("domain")
    roles = pa.array([role_of.get(name) for name in domains], field.type)
    return index.set_column(index.column_names.index("domain"), field, roles).filter(kept), notes


def select_frames(
    study: str, name: str, index: pa.Table, data: PathOrUri, *, domains: Sequence[str] = ()
) -> tuple[pa.Table, list[str]]:
    """Clips with frames that show the class `name`, listed in `images`, and notes on the others.

    Raises SchemaError where none does, or none of one of these domains.
    """
    columns = ("clip", "shard", "row_group", "row", "mask_scheme")
    located = list(zip(*(index[column].to_pylist() for column in columns), strict=True))
    masked = [entry[:4] for entry in located if name in MASK_SCHEMES.get(entry[4], ())]
    frames_of: dict[str, list[int]] = {}
    for row in store.read_located(
        data, masked, ("clip", "height", "width", "masks", "mask_scheme")
    ):
        if (ids := masks_of(row)) is not None:
            number = MASK_SCHEMES[row["mask_scheme"]].index(name)
            frames_of[row["clip"]] = (ids == number).any(axis=(1, 2)).nonzero()[0].tolist()
    frames = [frames_of.get(clip, []) for clip in index["clip"].to_pylist()]
    kept = pa.array([bool(numbers) for numbers in frames])
    own = index["domain"].to_pylist()
    shown = {domain for domain, numbers in zip(own, frames, strict=True) if numbers}
    for role in domains or ([] if shown else [""]):
        if role not in shown:
            where = f"domain {role!r}: " if role else ""
            raise SchemaError(
                f"{study}: {where}no frame shows {name}; "
                f"add clips whose masks have the class {name}, in a scheme that knows it"
            )
    pairs = [[[frame, 0] for frame in numbers] for numbers in frames]
    column = pa.array(pairs, pa.list_(pa.list_(pa.int32())))
    notes = []
    if num_skipped := sum(not numbers for numbers in frames):
        notes = [f"{num_skipped} of {len(frames)} clips skipped: no frame shows {name}"]
    return index.append_column("images", column).filter(kept), notes


def _quote(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
