"""Thumbnails of segmentations and of translated frames, many side by side on one page.

Shapes: H rows, W columns.
Not matplotlib: one page has sixty panels, each just a small PNG and two paths, and a frame that
several panels show is embedded once.
"""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

import numpy as np
from contourpy import LineType, contour_generator
from jaxtyping import Bool, UInt8
from PIL import Image

from lus_ray.figures.style import shorten

EXPERT, ARM = ("#ffd60a", ""), ("#3fb6ff", "5 3")
"""Colour and dashes of the contour of the expert and of an arm: every reader distinguishes yellow
from blue, and the dashes work without colour."""

SIDE = 160
"""Longer side of the embedded image in pixels."""

GREYS = 32
"""Grey levels of the embedded image: speckle hides the steps and the file is half as large."""

COLUMNS = 3
"""Panels in a row, so that the names can be read on a phone."""

TITLE, LETTER, GAP = 19.0, 7.4, 4.0
"""Height of a line of text, width of a letter, and the space between panels, in image pixels."""

Panel = tuple[str, str, float, float]
"""Name (may be empty), drawing, width and height."""


def draw_segmentations(
    frame: UInt8[np.ndarray, "H W"],
    target: Bool[np.ndarray, "H W"],
    predictions: Mapping[str, Bool[np.ndarray, "H W"]],
    *,
    title: str = "",
) -> str:
    """One panel per arm: the frame with the contours of the expert (`target`) and of the arm.

    Without an arm, the expert alone. Several arms have their names above.

    Raises:
        ValueError: a mask is not as large as the frame.
    """
    for name, mask in {"expert": target, **predictions}.items():
        if mask.shape != frame.shape:
            raise ValueError(f"{name}: {mask.shape} over a frame of {frame.shape}")
    height, width = _small_size(frame.shape)
    expert = _contour(target, EXPERT, name="expert")
    shared, use = f'<defs><g id="frame">{_image(frame)}{expert}</g></defs>', '<use href="#frame"/>'
    panels: list[Panel] = []
    for k, (arm, mask) in enumerate(predictions.items()):
        drawing = use + _contour(mask, ARM, name=f"arm{k}")
        panels.append((arm if len(predictions) > 1 else "", drawing, width, height))
    rows = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    return _arrange(rows or [[("", use, width, height)]], title=title, before=shared)


def draw_image_rows(
    rows: Sequence[Sequence[tuple[str, UInt8[np.ndarray, "_ _"]]]], *, title: str = ""
) -> str:
    """Rows of named images, for example a frame, its translation to another domain and back."""
    panels = [
        [(name, _image(image), *_small_size(image.shape)[::-1]) for name, image in row]
        for row in rows
    ]
    return _arrange(panels, title=title)


def _arrange(rows: Sequence[Sequence[Panel]], *, title: str, before: str = "") -> str:
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
    short = escape(shorten(text, max(4, int(width / LETTER))))
    return f'<text x="{across:g}" y="{down + 14:g}" fill="#222">{short}</text>'


def _image(image: UInt8[np.ndarray, "H W"]) -> str:
    height, width = _small_size(image.shape)
    small = Image.fromarray(image)
    if (height, width) != image.shape:
        small = small.resize((width, height), Image.Resampling.BOX)
    levels = np.round(np.asarray(small) * ((GREYS - 1) / 255)) * (255 / (GREYS - 1))
    packed = io.BytesIO()
    Image.fromarray(levels.round().astype(np.uint8)).save(packed, "PNG", optimize=True)
    text = base64.b64encode(packed.getvalue()).decode()
    return f'<image width="{width}" height="{height}" href="data:image/png;base64,{text}"/>'


def _small_size(shape: tuple[int, ...]) -> tuple[int, int]:
    height, width = shape
    scale = min(1.0, SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _contour(mask: Bool[np.ndarray, "H W"], style: tuple[str, str], *, name: str) -> str:
    lines = "".join(_edge_paths(mask))
    if not lines:
        return ""
    (height, width), (rows, columns) = _small_size(mask.shape), mask.shape
    scale = f"scale({width / (2 * columns):.6g} {height / (2 * rows):.6g})"
    colour, dashes = style
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<defs><path id="{name}" fill="none" vector-effect="non-scaling-stroke" '
        f'transform="{scale}" d="{lines}"/></defs>'
        f'<use href="#{name}" stroke="#000" stroke-opacity=".55" stroke-width="3"/>'
        f'<use href="#{name}" stroke="{colour}" stroke-width="1.4"{dashed}/>'
    )


def _edge_paths(mask: Bool[np.ndarray, "H W"]) -> Iterator[str]:
    """Closed lines halfway between pixels inside and outside, corners only, as SVG paths.

    In units of half a pixel: the image corner is (0, 0), the centre of the first pixel (1, 1).
    """
    contours = contour_generator(z=np.pad(mask, 1).astype(float), line_type=LineType.Separate)
    for line in contours.lines(0.5):
        points = np.asarray(line)[:-1] * 2 - 1
        after = np.diff(points, axis=0, append=points[:1])
        before = np.diff(points, axis=0, prepend=points[-1:])
        corners = points[np.any(after != before, axis=1)]
        start, *steps = np.diff(corners, axis=0, prepend=0).round().astype(int).tolist()
        yield f"M{start[0]} {start[1]}l" + " ".join(f"{x} {y}" for x, y in steps) + "z"
