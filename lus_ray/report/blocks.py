"""The report as a document of typed blocks, which every format renders in its own way.

Scores in cells are printed in percent; `numbers` are the same in percent, for files of numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lus_ray.report.galleries import Picture


@dataclass(frozen=True)
class Cell:
    """A text with smaller remarks below it.

    `numbers` are its values by name, the text itself "". `shade` in [0, 1] is the depth of its
    background. `tone` is "better", "worse" or "absent".
    """

    text: str
    remarks: tuple[str, ...] = ()
    numbers: Mapping[str, float | int | None] = field(default_factory=dict)
    shade: float | None = None
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a title; the first column names the row.

    `name` is the stem of its files, empty for an extract of another table. `brief` columns are
    shown on a terminal, none by default.
    `strong` rows are emphasised, `plain` ones (baselines) stand on a grey ground.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    brief: int = 0
    strong: frozenset[int] = frozenset()
    plain: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Paragraph:
    text: str
    is_notice: bool = False


@dataclass(frozen=True)
class Box:
    """Titled sentences that lead the report."""

    items: tuple[tuple[str, str], ...]
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForestRow:
    """A value with its limits and the published value, in percent."""

    name: str
    value: float
    low: float | None
    high: float | None
    published: float | None
    text: str
    is_baseline: bool


@dataclass(frozen=True)
class Forest:
    """Values with intervals in groups on one axis from `low` to `high`, in percent."""

    title: str
    groups: tuple[tuple[str, tuple[ForestRow, ...]], ...]
    low: float
    high: float
    ticks: tuple[int, ...]
    caption: str = ""

    def position(self, value: float) -> float:
        """Percent of the width."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)


@dataclass(frozen=True)
class Claims:
    """Verdict, claim and evidence."""

    title: str
    items: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Points:
    """Sentences of a list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Names and what they mean or are."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ChecklistItem:
    """A numbered question with its status, what is known, and what is left to write."""

    number: str
    title: str
    status: str
    asks: str
    found: tuple[str, ...]
    missing: str


@dataclass(frozen=True)
class Checklist:
    items: tuple[ChecklistItem, ...]


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side, each at least `width_rem` wide; `key` names coloured lines."""

    title: str
    items: tuple[Picture, ...]
    width_rem: int = 15
    key: tuple[tuple[str, tuple[str, str]], ...] = ()
    is_captioned: bool = False


@dataclass(frozen=True)
class Details:
    """Blocks that are folded until a reader opens them."""

    summary: str
    blocks: tuple["Block", ...]


@dataclass(frozen=True)
class Section:
    """Blocks under a heading; `is_brief` shows it on a terminal, `is_grid` side by side."""

    title: str
    anchor: str
    blocks: tuple["Block", ...]
    is_brief: bool = False
    is_grid: bool = False


Block = (
    Paragraph | Box | Forest | Claims | Points | Facts | Checklist | Table | Pictures | Details
    | Section
)  # fmt: skip


@dataclass(frozen=True)
class Document:
    title: str
    lead: tuple[Block, ...]
    sections: tuple[Section, ...]
    footer: str = ""

    def tables(self) -> Iterator[Table]:
        """Every table, folded ones too."""
        yield from _tables((*self.lead, *self.sections))


def _tables(blocks: Sequence[Block]) -> Iterator[Table]:
    for block in blocks:
        if isinstance(block, Table):
            yield block
        elif isinstance(block, Section | Details):
            yield from _tables(block.blocks)


def texts(*values: str) -> tuple[Cell, ...]:
    return tuple(map(Cell, values))
