"""The leak gate between a run and an external store.

Every patient of the run counts, its test patients too: models of other folds trained on them. So
do patients of another run whose weights its arms started from.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

import lus_ray.folds as folds
from lus_ray.clip import SCHEMA
from lus_ray.data import store
from lus_ray.data.duplicates import overlap
from lus_ray.data.duplicates.overlap import LeftOut
from lus_ray.errors import InputError
from lus_ray.runs import layout, predictions
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.manifest import RunRecord

IDENTITY = ("clip", "patient", "sha256")


@dataclass(frozen=True)
class KnownClips:
    """Clips and patients of a run; a clip that its store no longer holds has a null signature.

    `description` says what of them can be compared.
    """

    clips: pa.Table
    patients: frozenset[str]
    description: str

    def find_in(self, index: pa.Table) -> tuple[LeftOut, ...]:
        return overlap.find_overlap(index, self.clips, self.patients)


def read_known_clips(run: Path, record: RunRecord) -> KnownClips:
    """The clips that a run predicts or trains on, with signatures from its store if it is there."""
    known: dict[str, tuple[str, str]] = {}
    for arm in record.arms:
        for cell in RunFolder(run).finished_cells(arm.name) if arm.reads is None else ():
            _, table = predictions.read(cell.predictions, IDENTITY)
            columns = (table[name].to_pylist() for name in IDENTITY)
            known |= {
                clip: (patient, pixels) for clip, patient, pixels in zip(*columns, strict=True)
            }
    assigned = folds.read(run / layout.FOLDS)
    patients = {p for fold in assigned for split in folds.SPLITS for p in getattr(fold, split)}
    patients |= {patient for patient, _ in known.values()}
    before = set(record.weights_patients) - patients
    signatures = _read_signatures(run, record)
    rows = [
        {
            "clip": c,
            "patient": p,
            "sha256": pixels,
            "signature": (signatures or {}).get((c, pixels)),
        }
        for c, (p, pixels) in sorted(known.items())
    ]
    schema = pa.schema([SCHEMA.field(name) for name in (*IDENTITY, "signature")])
    described = f"{len(known)} clips and {len(patients)} patients of the run"
    num_signed = sum(row["signature"] is not None for row in rows)
    near = f"near copies of {num_signed} of these clips"
    if not num_signed:
        where = record.data_path or "an unknown place"
        why = (
            f"the run's store is no longer at {where}"
            if signatures is None
            else "phantoms have no signatures"
        )
        near = f"near copies could not be compared ({why})"
    text = f"names and pixels of {described}; {near}"
    if before:
        text += f"; names alone of patients who trained its initial weights ({len(before)})"
    return KnownClips(pa.Table.from_pylist(rows, schema=schema), frozenset(patients | before), text)


def _read_signatures(run: Path, record: RunRecord) -> dict[tuple[str, str], bytes] | None:
    """Signatures by clip and pixels, from the store of the run or the phantoms in its folder.

    None where neither is there.
    """
    signatures: dict[tuple[str, str], bytes] | None = None
    names = ("clip", "sha256", "signature")
    for path in dict.fromkeys((record.data_path, str(run / layout.PHANTOM))):
        try:
            index = store.read_index(path, names) if path else None
        except (InputError, OSError):
            continue
        if index is not None:
            columns = (index[name].to_pylist() for name in names)
            signed = {(c, h): s for c, h, s in zip(*columns, strict=True) if s is not None}
            signatures = (signatures or {}) | signed
    return signatures
