"""A document for a terminal: the box, the main tables, gaps and claims, by rich.

The text has no colours unless a terminal shows it.
"""

import io
from collections.abc import Iterable

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from lus_ray.report import blocks
from lus_ray.report.blocks import Block, Document

WIDTH = 80
UNBROKEN = 24
"""Longest text of a cell that is never broken into lines."""
STYLES = {
    "better": "green", "worse": "yellow", "supported": "green", "contradicted": "yellow",
}  # fmt: skip


def render(document: Document, *, width: int = WIDTH, colour: bool = False) -> str:
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=width, highlight=False, force_terminal=colour, legacy_windows=False,
        color_system="standard" if colour else None,
    )  # fmt: skip
    lead = [block for block in document.lead if not isinstance(block, blocks.Claims)]
    claims = [block for block in document.lead if isinstance(block, blocks.Claims)]
    shown = [section for section in document.sections if section.is_brief]
    console.print(Text(document.title, "bold"))
    for block in (*lead, *shown, *claims):
        for part in _render(block):
            console.print(part)
        if isinstance(block, blocks.Section) or block is lead[-1]:
            console.print()
    lines = [line.rstrip() for line in buffer.getvalue().splitlines()]
    return "\n".join(lines)


def _render(block: Block) -> Iterable[RenderableType]:
    match block:
        case blocks.Box():
            sentences = [Text.assemble((f"{name}: ", "bold"), text) for name, text in block.items]
            facts = [Text(" · ".join(block.facts), "dim")] if block.facts else []
            yield Panel(Group(*sentences, *facts), box=box.ASCII2, padding=(0, 1))
        case blocks.Section():
            for own in block.blocks:
                yield from _render(own)
        case blocks.Table() if block.brief:
            yield _table(block)
            yield ""
        case blocks.Claims():
            yield Text(block.title, "bold")
            for verdict, text, evidence in block.items:
                line = Text.assemble((verdict, STYLES.get(verdict, "dim")), f": {text} ", evidence)
                yield _hang(line)
        case blocks.Paragraph():
            yield _hang(Text(block.text, "yellow" if block.is_notice else ""))
        case blocks.Points():
            yield from (_hang(Text(text)) for text in block.items)


def _hang(text: Text) -> RenderableType:
    """A bullet with the text indented beside it."""
    grid = RichTable.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column()
    grid.add_row("-", text)
    return grid


def _table(block: blocks.Table) -> RenderableType:
    table = RichTable(
        title=escape(block.title), title_justify="left", title_style="bold", box=None,
        padding=(0, 2, 0, 0), header_style="dim", expand=False,
    )  # fmt: skip
    for number, title in enumerate(block.columns[: block.brief]):
        is_short = all(len(row[number].text) <= UNBROKEN for row in block.rows)
        table.add_column(escape(title), no_wrap=number > 0 and is_short, overflow="fold")
    for number, (first, *others) in enumerate(block.rows):
        name = first.text + "".join(f" ({remark})" for remark in first.remarks)
        cells = [Text(own.text, STYLES.get(own.tone, "")) for own in others[: block.brief - 1]]
        table.add_row(Text(name), *cells, style="bold" if number in block.strong else "")
    return table
