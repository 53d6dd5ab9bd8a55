"""What an ingest stored and skipped, in counts."""

from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from lus_ray import clip
from lus_ray.data.ingest.source_files import SourceFiles, relative_name
from lus_ray.data.ledger import Action, Ledger, count_reasons
from lus_ray.storage.paths import PathOrUri

COUNTED = (
    "severity", "disease", "etiology", "probe", "zone", "site", "device", "sex", "mask_scheme",
)  # fmt: skip


@dataclass
class IngestSummary:
    """Counts of an ingest; `labels` counts clips by column and value, without null.

    `labels["biomarkers"]` counts clips with any biomarker judged, `labels["sf_ratio"]` clips by
    class. `actions` counts ledger entries; `num_groups` is that of the whole store. `num_files` are
    all files below ROOT, `reasons` the three most frequent ones of what was skipped, with counts.
    `own_labels`: the classes by name of the label, with "<" where they are ordered.
    """

    source: str
    num_clips: int = 0
    num_frames: int = 0
    num_patients: int = 0
    num_groups: int = 0
    seconds: float = 0.0
    num_files: int = 0
    num_skipped_files: int = 0
    num_skipped_rows: int = 0
    actions: dict[str, int] = field(default_factory=dict)
    reasons: list[tuple[str, int]] = field(default_factory=list)
    other_columns: list[str] = field(default_factory=list)
    own_labels: dict[str, str] = field(default_factory=dict)
    ledger: str = ""
    labels: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def frames_per_second(self) -> float:
        return self.num_frames / self.seconds if self.seconds else 0.0

    def add_clip(self, row: clip.Row, num_frames: int) -> None:
        self.num_clips += 1
        self.num_frames += num_frames
        values: dict[str, object] = {name: row[name] for name in COUNTED} | (row["labels"] or {})
        values["biomarkers"] = None if row["biomarkers"] is None else "judged"
        ratio = row["sf_ratio"]
        values["sf_ratio"] = None if ratio is None else clip.SF_BINS[clip.sf_class(ratio)]
        for column, value in values.items():
            if value is not None:
                counts = self.labels.get(column, {})
                counts[str(value)] = counts.get(str(value), 0) + 1
                self.labels[column] = dict(sorted(counts.items()))

    def add_ledger(self, ledger: Ledger, found: SourceFiles | None, path: PathOrUri) -> None:
        self.actions = {name: ledger.counts()[name] for name in get_args(Action)}
        self.reasons = count_reasons(ledger.entries)[:3]
        self.other_columns, self.ledger = ledger.other_columns, str(path)
        self.own_labels = {
            name: (" < " if label.ordered else ", ").join(label.classes)
            for name, label in ledger.labels.items()
        }
        names = {relative_name(path, found.root) for path in found} if found else set()
        items = {entry.item for entry in ledger.entries if entry.action == "skipped"}
        self.num_files, self.num_skipped_files = len(names), len(items & names)
        self.num_skipped_rows = len(items - names)

    def text(self) -> str:
        lines = [
            f"{self.source}: stored {self.num_clips} clips of {self.num_patients} patients, "
            f"{self.num_frames} frames in {self.seconds:.1f} s "
            f"({self.frames_per_second:.0f} frames/s)"
        ]
        for column, counts in self.labels.items():
            lines.append(f"{column:<11} " + ", ".join(f"{v}: {num}" for v, num in counts.items()))
        lines.append(f"groups      {self.num_groups} in the whole store")
        actions = ", ".join(f"{num} {name}" for name, num in self.actions.items() if num)
        lines.append(f"ledger      {actions or 'nothing skipped or repaired'}: {self.ledger}")
        for name, classes in self.own_labels.items():
            order = "" if " < " in classes else ", without an order"
            lines.append(f"own label   {name!r}: {classes}{order}")
        if self.other_columns:
            names = ", ".join(map(repr, self.other_columns))
            lines.append(f"columns     not read, see the ledger: {names}")
        lines += [f"skipped     {count} x {reason}" for reason, count in self.reasons]
        if line := self.last_line():
            lines.append(f"{line}: see {self.ledger}")
        return "\n".join(lines)

    def last_line(self) -> str:
        """How many files and rows were skipped; empty where nothing was."""
        parts = []
        if self.num_skipped_files:
            parts.append(f"{self.num_skipped_files} of {self.num_files} files")
        if number := self.num_skipped_rows:
            parts.append(f"{number} table row{'s' if number > 1 else ''}")
        return "skipped " + " and ".join(parts) if parts else ""

    def contents(self) -> dict[str, Any]:
        return {**asdict(self), "frames_per_second": round(self.frames_per_second, 1)}
