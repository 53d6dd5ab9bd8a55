"""Small pictures of which many stand side by side: what arms outline, and translated frames.

Letters: H rows, W columns, V vertices.
Why written here and not by matplotlib: fifteen arms and four frames make sixty pictures of one
page. The text of such a picture is a small PNG and two paths and nothing else, and a frame that
several panels show is in it once.
"""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

import numpy as np
from contourpy import LineType, contour_generator
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from lus_ray.figures.style import shorten

EXPERT, ARM = ("#ffd60a", ""), ("#3fb6ff", "5 3")
"""Colour and dashes of the outline of the expert and of an arm: yellow and blue stay two for every
reader, and the dashes tell them apart without colour."""

SIDE = 160
"""Longer side of the embedded picture in pixels."""

GREYS = 32
"""Levels of grey of the embedded picture: speckle hides the steps and the file is half as large."""

COLUMNS = 3
"""Panels in a row, so that the names can be read on a phone."""

TITLE, LETTER, GAP = 19.0, 7.4, 4.0
"""Height of a line of text, width of a letter in it, and the space between panels, in pixels of
the picture."""

Panel = tuple[str, str, float, float]
"""A name, or none, what is drawn below it, and its width and height."""


def draw_segmentations(
    picture: UInt8[np.ndarray, "H W"],
    true: Bool[np.ndarray, "H W"],
    said: Mapping[str, Bool[np.ndarray, "H W"]],
    *,
    title: str = "",
) -> str:
    """One panel an arm: the frame, what the expert outlines (`true`) and what the arm does.

    Without an arm, the expert alone. Panels have the names of the arms where there are several.

    Raises:
        ValueError: a mask is not as large as the picture.
    """
    for name, mask in {"expert": true, **said}.items():
        if mask.shape != picture.shape:
            raise ValueError(f"{name}: {mask.shape} over a picture of {picture.shape}")
    height, width = _shown(picture.shape)
    frame = (
        f'<defs><g id="frame">{_image(picture)}{_outline(true, EXPERT, name="expert")}</g></defs>'
    )
    shown = '<use href="#frame"/>'
    panels = [
        (
            name if len(said) > 1 else "",
            shown + _outline(mask, ARM, name=f"arm{number}"),
            width,
            height,
        )
        for number, (name, mask) in enumerate(said.items())
    ]
    rows = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    return _written(rows or [[("", shown, width, height)]], title=title, before=frame)


def draw_translations(
    rows: Sequence[Sequence[tuple[str, UInt8[np.ndarray, "_ _"]]]], *, title: str = ""
) -> str:
    """Rows of named pictures: a frame, how the other domain would show it, and back again."""
    return _written(
        [[(name, _image(picture), *_shown(picture.shape)[::-1]) for name, picture in row]
         for row in rows],
        title=title,
    )  # fmt: skip


def _written(rows: Sequence[Sequence[Panel]], *, title: str, before: str = "") -> str:
    """An SVG of rows of panels, each below its name."""
    body, widest = [before], 0.0
    down = TITLE if title else 0.0
    for row in rows:
        head = TITLE if any(name for name, *_ in row) else 0.0
        across = 0.0
        for name, drawing, width, _ in row:
            if name:
                body.append(_text(name, across, down, width))
            body.append(f'<g transform="translate({across:g} {down + head:g})">{drawing}</g>')
            across += width + GAP
        widest = max(widest, across - GAP)
        down += head + max((height for *_, height in row), default=0.0) + GAP
    if title:
        body.append(_text(title, 0, 0, widest))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {widest:g} {down - GAP:g}" '
        f'font-family="sans-serif" font-size="14">{"".join(body)}</svg>\n'
    )


def _text(text: str, across: float, down: float, width: float) -> str:
    """A line of text, cut where it would meet the next panel."""
    shown = escape(shorten(text, max(4, int(width / LETTER))))
    return f'<text x="{across:g}" y="{down + 14:g}" fill="#222">{shown}</text>'


def _image(picture: UInt8[np.ndarray, "H W"]) -> str:
    """The picture in `GREYS` levels, its longer side at most `SIDE`, as a PNG inside the text."""
    height, width = _shown(picture.shape)
    small = Image.fromarray(picture)
    if (height, width) != picture.shape:
        small = small.resize((width, height), Image.Resampling.BOX)
    levels = np.round(np.asarray(small) * ((GREYS - 1) / 255)) * (255 / (GREYS - 1))
    packed = io.BytesIO()
    Image.fromarray(levels.round().astype(np.uint8)).save(packed, "PNG", optimize=True)
    text = base64.b64encode(packed.getvalue()).decode()
    return f'<image width="{width}" height="{height}" href="data:image/png;base64,{text}"/>'


def _shown(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of a picture in pixels once it is small enough."""
    height, width = shape
    scale = min(1.0, SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _outline(mask: Bool[np.ndarray, "H W"], style: tuple[str, str], *, name: str) -> str:
    """The edge of a mask as closed lines with a dark rim; nothing where the mask is empty."""
    lines = "".join(_path(line) for line in _edges(mask))
    if not lines:
        return ""
    (height, width), (rows, columns) = _shown(mask.shape), mask.shape
    scale = f"scale({width / (2 * columns):.6g} {height / (2 * rows):.6g})"
    colour, dashes = style
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<defs><path id="{name}" fill="none" vector-effect="non-scaling-stroke" '
        f'transform="{scale}" d="{lines}"/></defs>'
        f'<use href="#{name}" stroke="#000" stroke-opacity=".55" stroke-width="3"/>'
        f'<use href="#{name}" stroke="{colour}" stroke-width="1.4"{dashed}/>'
    )


def _edges(mask: Bool[np.ndarray, "H W"]) -> Iterator[Float[np.ndarray, "V 2"]]:
    """Closed lines (x, y) halfway between pixels inside and outside, without points on straights.

    Halves of a pixel are whole numbers here: the corner of the picture is (0, 0), its first pixel
    has its centre at (1, 1).
    """
    found = contour_generator(z=np.pad(mask, 1).astype(float), line_type=LineType.Separate)
    for line in found.lines(0.5):
        points = np.asarray(line)[:-1] * 2 - 1
        turns = np.any(np.diff(points, axis=0, append=points[:1]) != np.diff(
            points, axis=0, prepend=points[-1:]), axis=1)  # fmt: skip
        yield points[turns]


def _path(points: Float[np.ndarray, "V 2"]) -> str:
    """A closed line as SVG path data, each point relative to the one before."""
    start, *steps = np.diff(points, axis=0, prepend=0).round().astype(int).tolist()
    return f"M{start[0]} {start[1]}l" + " ".join(f"{x} {y}" for x, y in steps) + "z"
