"""What searches of hyperparameters tried and chose."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from lus_ray.report import formatting
from lus_ray.report.blocks import Block, Cell, Details, Paragraph, Section, Table
from lus_ray.runs.cell import name_fold
from lus_ray.runs.search_result import SampleResult, SearchResult

MAX_ROWS = 15
"""A longer table is folded."""
LEAD = (
    "Validation patients chose among the samples of each arm; test patients had no part in it. The "
    "first sample is the arm unchanged. The best of several validation scores is too optimistic: "
    "it ranks the samples of one arm, and compares no arms. Baselines were not searched."
)
TRAINED_AGAIN = (
    " Arms marked “trained again” train on validation patients too: their samples left them out, "
    "and the chosen sample was trained again with them."
)
ALL_FOLDS = "all folds"
UNCHANGED = "unchanged"


def section(searches: Sequence[SearchResult]) -> Iterable[Section]:
    """What won in each arm, every chosen value, and every sample; nothing without a search."""
    if not searches:
        return
    won = [_chosen(samples) for _, samples in _by_fold(searches)]
    changed = sum(own is not None and bool(own.settings) for own in won)
    lead = f"{changed} of {len(won)} searches chose other values than the arm has. "
    lead += LEAD + (TRAINED_AGAIN if any(own.trained_again for own in searches) else "")
    tables = (winner_table(searches), value_table(searches), sample_table(searches))
    yield Section("Searches", "searches", (Paragraph(lead), *map(_fold, tables)))


def winner_table(searches: Sequence[SearchResult]) -> Table:
    """One row per arm and search: the validation score of the unchanged arm and of the winner."""
    rows = []
    for search, samples in _by_fold(searches):
        chosen = _chosen(samples)
        counts = {state: sum(s.state == state for s in samples) for state in ("pruned", "failed")}
        ended = [f"{number} {state}" for state, number in counts.items() if number]
        unchanged = samples[0].score if samples[0].state == "finished" else None
        rows.append((
            _arm_cell(search, samples),
            Cell(str(len(samples)), (", ".join(ended),) if ended else (), {"": len(samples)}),
            formatting.share(unchanged),
            formatting.share(chosen.score if chosen else None),
            Cell(_settings_text(chosen.settings) if chosen else formatting.ABSENT),
        ))  # fmt: skip
    columns = ("Arm", "Samples", "Unchanged, %", "Chosen, %", "Chosen values")
    return Table("searches", "What was chosen, by validation score", columns, tuple(rows))


def value_table(searches: Sequence[SearchResult]) -> Table:
    """One row per arm and hyperparameter: its range, its value unchanged, and as chosen."""
    rows = []
    for search in searches:
        groups = [samples for own, samples in _by_fold([search])]
        best = [chosen for samples in groups if (chosen := _chosen(samples))]
        for name, space in search.space.items():
            unchanged = search.unchanged.get(name)
            values = [_value_text(own.settings.get(name, unchanged)) for own in best]
            values = values[:1] if len(set(values)) == 1 else values
            rows.append((
                Cell(search.arm), Cell(name), Cell(space), Cell(_value_text(unchanged)),
                Cell("; ".join(values) or formatting.ABSENT),
            ))  # fmt: skip
    columns = ("Arm", "Hyperparameter", "Searched from", "Unchanged", "Chosen, by fold")
    caption = (
        "Where folds test different patients, each chooses for itself: values that differ stand in "
        "the order of the folds."
    )
    return Table("searched values", "Every hyperparameter", columns, tuple(rows), caption)


def sample_table(searches: Sequence[SearchResult]) -> Table:
    rows = []
    for search, samples in _by_fold(searches):
        for own in samples:
            state = "chosen" if own.is_chosen else own.state
            rows.append((
                _arm_cell(search, samples), Cell(str(own.number), numbers={"": own.number}),
                formatting.share(own.score), Cell(state, tone="better" if own.is_chosen else ""),
                Cell(_settings_text(own.settings)),
            ))  # fmt: skip
    columns = ("Arm", "Sample", "Validation score, %", "State", "Values")
    caption = "A pruned sample was stopped early, as it was in the worse half at that epoch."
    return Table("search samples", "Every sample", columns, tuple(rows), caption)


def _fold(table: Table) -> Block:
    if len(table.rows) <= MAX_ROWS:
        return table
    return Details(f"{table.title} ({len(table.rows)} rows)", (replace(table, title=""),))


def _by_fold(searches: Sequence[SearchResult]) -> Iterable[tuple[SearchResult, list[SampleResult]]]:
    """Samples that were compared with each other: of a fold, or of all folds together."""
    for search in searches:
        for fold in dict.fromkeys(own.fold for own in search.samples):
            yield search, [own for own in search.samples if own.fold == fold]


def _chosen(samples: Sequence[SampleResult]) -> SampleResult | None:
    return next((own for own in samples if own.is_chosen), None)


def _arm_cell(search: SearchResult, samples: Sequence[SampleResult]) -> Cell:
    fold = samples[0].fold
    marks = (ALL_FOLDS if fold is None else name_fold(fold),)
    return Cell(search.arm, (*marks, *(("trained again",) if search.trained_again else ())))


def _settings_text(settings: dict[str, Any]) -> str:
    parts = [f"{name.removeprefix('task.')} {_value_text(v)}" for name, v in settings.items()]
    return ", ".join(parts) or UNCHANGED


def _value_text(value: Any) -> str:
    if value is None:
        return "of the library"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
