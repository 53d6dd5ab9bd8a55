"""The style of all figures: lines that differ without colour, the same bytes each time."""

import io
import re
from collections.abc import Callable
from typing import Any

from matplotlib import patheffects, rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

LINES = (
    ("#0072b2", ""),
    ("#d55e00", "6 2"),
    ("#009e73", "2 2"),
    ("#cc79a7", "8 2 2 2"),
    ("#56708a", "4 1"),
    ("#b8860b", "1 1"),
)
"""Colour and dash pattern of each curve."""

HALO = [patheffects.withStroke(linewidth=3.4, foreground="white")]
"""A light edge that keeps a line visible on a dark image."""

STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lus_ray",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "lines.linewidth": 1.6,
}


def render_svg(
    draw: Callable[[Figure], None], *, width: float, height: float, title: str = ""
) -> str:
    """SVG of a figure; sizes in inches."""
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        if title:
            figure.suptitle(shorten(title, int(13 * width)), fontsize=9)
        buffer = io.StringIO()
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=no_metadata)
    text = buffer.getvalue()
    return _renumber_ids(text[text.index("<svg") :])


def shorten(text: str, length: int) -> str:
    """Cut a text to at most `length` characters, with an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip(" ,") + "…"


def line_style(number: int) -> dict[str, Any]:
    """Colour and dashes of `LINES`, repeated after the last."""
    colour, dashes = LINES[number % len(LINES)]
    style = (0, tuple(float(d) for d in dashes.split())) if dashes else "-"
    return {"color": colour, "linestyle": style}


def _renumber_ids(svg: str) -> str:
    """Matplotlib hashes positions, whose last bits the layout solver does not reproduce."""
    identifiers = dict.fromkeys(re.findall(r'id="([a-z]+[0-9a-f]{10})"', svg))
    numbers = {name: f"i{number}" for number, name in enumerate(identifiers)}
    return re.sub(r"\b[a-z]+[0-9a-f]{10}\b", lambda match: numbers.get(match[0], match[0]), svg)
