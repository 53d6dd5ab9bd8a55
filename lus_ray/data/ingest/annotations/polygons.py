"""Draw the shapes of untrusted annotation files as class ids.

Shapes: H rows, W columns. Points are (x, y) in pixels from the upper left corner of the image.
A corner belongs to the pixel that holds it (whole part of x and y), and the pixels that an edge
crosses belong to the shape, as in LabelMe's own export: a square from (1, 1) to (3, 3) is 3 x 3
pixels, and a thin line never vanishes. COCO's tools fill up to one pixel less on the right and at
the bottom. Later shapes lie on top of earlier ones. Every function raises `SourceError` with the
file, what was found and the remedy.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw

from lus_ray.clip import MASK_SCHEMES
from lus_ray.errors import SourceError

MAX_BYTES = 64 << 20
MAX_VALUES = 10_000_000
"""Values in one file: memory grows with these and not with the bytes."""
MAX_SHAPES = 1_000
MAX_POINTS = 100_000
MAX_PAINTED = 2**32
"""Shapes, corners, and shapes times pixels of one image; these bound the drawing time."""

Point = Sequence[float]


def read_json(path: Path, where: str) -> dict[str, Any]:
    """The object in a JSON file, within limits of bytes, values and depth."""
    if not path.is_file():  # a named pipe would block
        raise SourceError(f"{where}: is not a file")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SourceError(f"{where}: larger than {MAX_BYTES >> 20} MB; split it")
        text = path.read_bytes()
        if sum(map(text.count, (b",", b"[", b"{"))) > MAX_VALUES:
            raise SourceError(f"{where}: holds more than {MAX_VALUES} values; split it")
        content = json.loads(text, parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)[:80]
        raise SourceError(
            f"{where}: not a readable JSON file ({reason}); export it again"
        ) from None
    if not isinstance(content, dict):
        raise SourceError(f"{where}: holds a {type(content).__name__}, not an object; export again")
    return content


def short_repr(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def get_objects(parent: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    values = parent.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise SourceError(f"{where}: {key!r} is not a list of objects; export the file again")
    return values


def check_size(drawn_on: tuple[Any, Any], height: int, width: int, where: str) -> None:
    """Refuse annotations of an image of another size."""
    if any(isinstance(side, bool) for side in drawn_on) or drawn_on != (height, width):
        rows, columns = map(short_repr, drawn_on)
        raise SourceError(
            f"{where}: drawn on {rows} x {columns} pixels, but the image has {height} x {width} "
            "(height x width); export it for this image"
        )


class Canvas:
    """Class ids of one image, background at first; `where` begins every error message.

    Refused: labels that the scheme lacks, points that are no numbers or lie outside of the image,
    and too many shapes or points.
    """

    def __init__(self, height: int, width: int, *, scheme: str, where: str) -> None:
        self.height, self.width, self.scheme, self.where = height, width, scheme, where
        self.image = Image.new("L", (width, height), 0)
        self.pen = ImageDraw.Draw(self.image)
        self.ids = {name.lower(): number for number, name in enumerate(MASK_SCHEMES[scheme])}
        self.num_shapes = self.num_points = 0

    def draw_polygon(self, label: Any, points: Any) -> None:
        corners = self._to_pixels(label, points)
        if len(corners) < 3:
            raise self._error(label, f"has {len(corners)} points; a polygon has three or more")
        self.pen.polygon(corners, fill=self._class_id(label))

    def draw_rectangle(self, label: Any, points: Any) -> None:
        corners = self._to_pixels(label, points)
        if len(corners) != 2:
            raise self._error(label, f"has {len(corners)} points; a rectangle has two corners")
        box = [f(axis) for f in (min, max) for axis in zip(*corners, strict=True)]
        self.pen.rectangle(box, fill=self._class_id(label))

    def draw_circle(self, label: Any, points: Any) -> None:
        """Fill a circle given by its centre and a point on its edge."""
        self._to_pixels(label, points)
        if len(points) != 2:
            raise self._error(label, f"has {len(points)} points; a circle has centre and edge")
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        box = [(x - radius, y - radius), (x + radius, y + radius)]
        self._check_inside(label, box)
        self.pen.ellipse([(int(x), int(y)) for x, y in box], fill=self._class_id(label))

    def fill_pixels(self, label: Any, inside: Bool[np.ndarray, "H W"]) -> None:
        self._count(num_points=0)
        self.image.paste(self._class_id(label), mask=Image.fromarray(inside))

    def to_mask(self) -> UInt8[np.ndarray, "H W"]:
        """The class ids; an image without a shape is refused, as annotation may be missing."""
        if not self.num_shapes:
            raise SourceError(
                f"{self.where}: the image has no annotation; if it truly shows nothing, draw one "
                "shape labelled 'background'"
            )
        return np.array(self.image)

    def _class_id(self, label: Any) -> int:
        number = self.ids.get(label.strip().lower()) if isinstance(label, str) else None
        if number is None:
            names = ", ".join(MASK_SCHEMES[self.scheme])
            raise self._error(label, f"is no class of scheme {self.scheme!r}; one of {names}")
        return number

    def _to_pixels(self, label: Any, points: Any) -> list[tuple[int, int]]:
        if not isinstance(points, list) or not all(map(_is_point, points)):
            raise self._error(label, "has points that are not all [x, y] in numbers; redraw it")
        self._count(num_points=len(points))
        self._check_inside(label, points)
        return [(int(x), int(y)) for x, y in points]

    def _check_inside(self, label: Any, points: Iterable[Point]) -> None:
        for x, y in points:
            if not (0 <= x <= self.width and 0 <= y <= self.height):
                raise self._error(
                    label,
                    f"reaches ({short_repr(x)}, {short_repr(y)}), outside of the image, which is "
                    f"{self.width} wide and {self.height} high; redraw it",
                )

    def _count(self, *, num_points: int) -> None:
        self.num_shapes += 1
        self.num_points += num_points
        if self.num_shapes > MAX_SHAPES or self.num_points > MAX_POINTS:
            reason = f"more than {MAX_SHAPES} shapes or {MAX_POINTS} points on one image"
            raise SourceError(f"{self.where}: {reason}")
        if self.num_shapes * self.height * self.width > MAX_PAINTED:
            reason = f"{self.num_shapes} shapes on so large an image; shrink it"
            raise SourceError(f"{self.where}: {reason}")

    def _error(self, label: Any, reason: str) -> SourceError:
        shape = f"shape {self.num_shapes or 1} {short_repr(label)}"
        return SourceError(f"{self.where}: {shape} {reason}")


def _is_point(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(map(is_number, point))


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
