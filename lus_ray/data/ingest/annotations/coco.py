"""COCO annotations: one JSON file per folder, with polygons or run lengths for each object.

    {"images": [{"id": 1, "file_name": "a.png", "height": 200, "width": 260}],
     "categories": [{"id": 7, "name": "pleura"}],
     "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "segmentation": ...}]}

`segmentation` is a list of polygons [x, y, x, y, ...], all of them filled, or run lengths
{"size": [height, width], "counts": ...}: pixels off, on, off, ... down the columns, as a list or
as COCO's compressed string. Objects are drawn in the order of the file, later ones on top. Category
names are class names of the scheme in any case; supercategories, boxes and areas are ignored.
Every function raises `SourceError` with file, object and reason.
"""

import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from lus_ray.data.ingest.annotations import polygons
from lus_ray.data.ingest.annotations.polygons import Canvas, get_objects, short_repr
from lus_ray.errors import SourceError

FIRST_CODE = ord("0")
"""The compressed string writes six bits as one character, from "0" on."""
MAX_CODES = 7
"""Characters of one number; seven hold 34 bits, more than any image has pixels."""


@dataclass(frozen=True)
class CocoFile:
    """A COCO file: images by file name in NFC, annotations by image id, category names by id."""

    where: str
    images: dict[str, list[dict[str, Any]]]
    annotations: dict[int, list[dict[str, Any]]]
    categories: dict[int, str]

    def draw_mask(
        self, name: str, *, scheme: str, height: int, width: int
    ) -> UInt8[np.ndarray, "H W"]:
        where = f"{self.where} ({name})"
        images = self.images.get(unicodedata.normalize("NFC", name), [])
        if len(images) != 1:
            raise SourceError(
                f"{where}: {len(images)} images have this 'file_name'; write in 'coco' one that is "
                "in the file once"
            )
        (image,) = images
        polygons.check_size((image.get("height"), image.get("width")), height, width, where)
        canvas = Canvas(height, width, scheme=scheme, where=where)
        for annotation in self.annotations.get(image["id"], []):
            self._draw(canvas, annotation)
        return canvas.to_mask()

    def _draw(self, canvas: Canvas, annotation: dict[str, Any]) -> None:
        label = self.categories.get(_get_id(annotation, "category_id", self.where))
        where = f"{canvas.where}: annotation {short_repr(annotation.get('id'))}"
        if label is None:
            number = short_repr(annotation["category_id"])
            raise SourceError(f"{where} is of category {number}, which the file does not list")
        shape = annotation.get("segmentation")
        height, width = canvas.height, canvas.width
        if isinstance(shape, dict):
            size = shape.get("size")
            drawn_on = tuple(size) if isinstance(size, list) and len(size) == 2 else (size, None)
            polygons.check_size(drawn_on, height, width, where)
            counts = shape.get("counts")
            canvas.fill_pixels(label, decode_run_lengths(counts, height, width, where))
            return
        if not isinstance(shape, list) or not shape:
            raise SourceError(f"{where} has no segmentation; draw one, a box is not enough")
        for flat in shape:
            canvas.draw_polygon(label, _to_points(flat, where))


def load(path: Path, where: str) -> CocoFile:
    """Read a COCO file; `where` names it in errors."""
    content = polygons.read_json(path, where)
    images: dict[str, list[dict[str, Any]]] = defaultdict(list)
    annotations: dict[int, list[dict[str, Any]]] = {}
    for image in get_objects(content, "images", where):
        name, number = image.get("file_name"), _get_id(image, "id", where)
        if not isinstance(name, str) or number in annotations:
            raise SourceError(
                f"{where}: image {number} has no 'file_name', or is a duplicate; export it again"
            )
        images[unicodedata.normalize("NFC", name)].append(image)
        annotations[number] = []
    for annotation in get_objects(content, "annotations", where):
        number = _get_id(annotation, "image_id", where)
        if number not in annotations:
            raise SourceError(
                f"{where}: annotation {short_repr(annotation.get('id'))} is of image {number}, "
                "which the file does not list; export it again"
            )
        annotations[number].append(annotation)
    categories: dict[int, str] = {}
    for category in get_objects(content, "categories", where):
        number, name = _get_id(category, "id", where), category.get("name")
        if number in categories or not isinstance(name, str):
            raise SourceError(f"{where}: category {number} has no name, or is a duplicate")
        categories[number] = name
    return CocoFile(where, dict(images), annotations, categories)


def decode_run_lengths(counts: Any, height: int, width: int, where: str) -> Bool[np.ndarray, "H W"]:
    """The pixels of COCO run lengths: off, on, off, ... down one column after another."""
    longest = MAX_CODES * (height * width + 2)
    if isinstance(counts, str) and len(counts) <= longest:
        counts = _decompress(counts, where)
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        raise SourceError(f"{where} has run lengths that are not whole numbers; export it again")
    if sum(counts) != height * width:
        raise SourceError(
            f"{where} has run lengths of {short_repr(sum(counts))} pixels in all, but the image "
            f"has {height * width}; export it for this image"
        )
    on = np.arange(len(counts)) % 2 == 1
    return np.repeat(on, counts).reshape(width, height).T


def _decompress(text: str, where: str) -> list[int]:
    """Run lengths of COCO's string: five bits a character, low ones first, the sixth is "more";
    from the fourth number on, the difference to the number two before."""
    lengths: list[int] = []
    value = num_codes = 0
    for character in text:
        code = ord(character) - FIRST_CODE
        if not 0 <= code < 64 or num_codes == MAX_CODES:
            raise SourceError(f"{where} has damaged compressed run lengths; export it again")
        value |= (code & 31) << (5 * num_codes)
        num_codes += 1
        if code & 32:
            continue
        if code & 16:
            value -= 1 << (5 * num_codes)
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = num_codes = 0
    if num_codes:
        raise SourceError(f"{where} has truncated compressed run lengths; export it again")
    return lengths


def _to_points(flat: Any, where: str) -> list[list[float]]:
    if not isinstance(flat, list) or len(flat) % 2 or not all(map(polygons.is_number, flat)):
        raise SourceError(f"{where} has a polygon that is not a list of x, y, x, y, ...; redraw it")
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]


def _get_id(parent: dict[str, Any], key: str, where: str) -> int:
    number = parent.get(key)
    if type(number) is not int:
        raise SourceError(f"{where}: {key!r} is {short_repr(number)}; a whole number is required")
    return number
