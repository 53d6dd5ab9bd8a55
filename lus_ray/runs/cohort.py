"""Which clips of a store are compared: those of the experiment's domains, and frames that show it.

A study names its domains by role ("covid"), a store as it likes ("A"). From here on the column
`domain` is the role, and `images` lists the frames that count, as pairs (frame, copy 0).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from lus_ray.clip import MASK_SCHEMES, SCHEMA, masks_of
from lus_ray.data import store
from lus_ray.errors import FoldError, InputError, SchemaError
from lus_ray.experiment import Experiment
from lus_ray.folds import Fold, Official
from lus_ray.storage.paths import PathOrUri


def cohort(
    experiment: Experiment, index: pa.Table, data: PathOrUri, *, names: Sequence[str] = ()
) -> tuple[Experiment, pa.Table, tuple[str, ...]]:
    """The experiment with the store's names of its domains, its clips, and notes on what is left.

    `names` are the store's names of the domains in the order of the roles; without them, each role
    takes the first of its known names that the store has. An experiment without domains and
    without a class to look for gets back what it gave.

    Raises:
        InputError: `names` do not fit the experiment or the store.
        SchemaError: a domain has no clip, or no frame that shows the class.
    """
    check_names(experiment, names)
    notes: list[str] = []
    if experiment.domains:
        named = _named(experiment, index, names)
        experiment = replace(experiment, domains={role: (name,) for role, name in named.items()})
        index, left_out = _of_domains(index, named)
        notes += left_out
    if experiment.frames_with:
        index, left_out = _showing(experiment, index, data)
        notes += left_out
    if isinstance(experiment.folds, Official):
        notes += experiment.folds.misfits(index)
    return experiment, index, tuple(notes)


def fingerprint(index: pa.Table) -> str:
    """That of the clips (`store.fingerprint`) and of the frames that count, where some do.

    Why: outlines decide which frames count and how folds are balanced, so that other outlines of
    the same frames are other data.
    """
    clips = store.fingerprint(index)
    if "images" not in index.column_names:
        return clips
    images = index.sort_by("clip")["images"].to_pylist()
    return hashlib.sha256(json.dumps([clips, images]).encode()).hexdigest()


def check_names(experiment: Experiment, names: Sequence[str]) -> None:
    """Refuse names of domains that do not fit the experiment.

    Raises:
        InputError: the experiment compares no domains, or not so many.
    """
    if not names:
        return
    roles = tuple(experiment.domains)
    if not roles:
        raise InputError(f"--domains: {experiment.name} compares no domains; leave it out")
    if len(names) != len(roles) or len(set(names)) < len(names):
        raise InputError(
            f"--domains {','.join(names)}: {experiment.name} compares {len(roles)} domains; "
            f"write the store's names of {_listed(roles)}, in this order, with commas"
        )


def gate(experiment: Experiment, folds: Iterable[Fold], index: pa.Table) -> None:
    """Refuse folds that do not train on and test every domain of the experiment.

    Raises:
        FoldError: names the fold, the side and the domain.
    """
    columns = (index[name].to_pylist() for name in ("patient", "domain"))
    pairs = set(zip(*columns, strict=True))
    for fold in folds:
        for verb, patients in (("trains on", fold.train), ("tests", fold.test)):
            here = {domain for patient, domain in pairs if patient in patients}
            for role in experiment.domains:
                if role not in here:
                    raise FoldError(
                        f"fold {fold.number} {verb} no patient of domain {role!r}; "
                        "give every fold number patients of both domains"
                    )


def _named(experiment: Experiment, index: pa.Table, names: Sequence[str]) -> dict[str, str]:
    """The store's name of each role."""
    here = sorted(set(index["domain"].to_pylist()) - {None})
    has = f"this store has {_listed(here)}" if here else "no clip of this store names its domain"
    if names:
        for name in names:
            if name not in here:
                raise InputError(f"--domains: no clip of domain {name!r}; {has}")
        return dict(zip(experiment.domains, names, strict=True))
    for role, known in experiment.domains.items():
        if not set(known) & set(here):
            raise SchemaError(
                f"{experiment.name}: no clip of domain {role!r} (known as {_listed(known)}); "
                f"{has}; add clips of it, or name {_listed(experiment.domains)} with --domains"
            )
    return {
        role: next(name for name in known if name in here)
        for role, known in experiment.domains.items()
    }


def _of_domains(index: pa.Table, named: Mapping[str, str]) -> tuple[pa.Table, list[str]]:
    """The clips of these domains, which go by their role, and what is left out."""
    role_of = {name: role for role, name in named.items()}
    given = index["domain"].to_pylist()
    kept = pa.array([name in role_of for name in given])
    notes = []
    if others := Counter(repr(name) for name in given if name not in role_of):
        counts = ", ".join(f"{number} of {name}" for name, number in sorted(others.items()))
        compared = ", ".join(f"{role} ({name!r})" for role, name in named.items())
        notes = [f"domains compared: {compared}; clips of others left out: {counts}"]
    field = SCHEMA.field("domain")
    roles = pa.array([role_of.get(name) for name in given], field.type)
    return index.set_column(index.column_names.index("domain"), field, roles).filter(kept), notes


def _showing(
    experiment: Experiment, index: pa.Table, data: PathOrUri
) -> tuple[pa.Table, list[str]]:
    """The clips with a frame that shows the class, and `images`, their list of such frames."""
    name = experiment.frames_with
    seen = _frames_with(name, index, data)
    shown = [seen.get(clip, []) for clip in index["clip"].to_pylist()]
    kept = pa.array([bool(frames) for frames in shown])
    domains = index["domain"].to_pylist()
    there = {domain for domain, frames in zip(domains, shown, strict=True) if frames}
    for role in experiment.domains or ([] if there else [None]):
        if role not in there:
            where = f"domain {role!r}: " if role else ""
            raise SchemaError(
                f"{experiment.name}: {where}no frame shows {name}; "
                f"give clips whose masks have the class {name}, in a scheme that knows it"
            )
    pairs = [[[frame, 0] for frame in frames] for frames in shown]
    column = pa.array(pairs, pa.list_(pa.list_(pa.int32())))
    notes = []
    if num_left := len(shown) - sum(map(bool, shown)):
        notes = [f"{num_left} of {len(shown)} clips left out: no frame shows {name}"]
    return index.append_column("images", column).filter(kept), notes


def _frames_with(name: str, index: pa.Table, data: PathOrUri) -> dict[str, list[int]]:
    """Numbers of the frames whose mask shows a class, by clip; only masks are read."""
    columns = ("clip", "shard", "row_group", "row", "mask_scheme")
    places = list(zip(*(index[column].to_pylist() for column in columns), strict=True))
    outlined = [place[:4] for place in places if name in MASK_SCHEMES.get(place[4], ())]
    found: dict[str, list[int]] = {}
    read = ("clip", "height", "width", "masks", "mask_scheme")
    for row in store.read_located(data, outlined, read):
        ids = masks_of(row)
        if ids is not None:
            number = MASK_SCHEMES[row["mask_scheme"]].index(name)
            found[row["clip"]] = (ids == number).any(axis=(1, 2)).nonzero()[0].tolist()
    return found


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
