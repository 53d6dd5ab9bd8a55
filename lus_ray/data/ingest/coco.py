"""COCO: one JSON file for a whole folder, with polygons or run lengths for each object.

    {"images": [{"id": 1, "file_name": "a.png", "height": 200, "width": 260}],
     "categories": [{"id": 7, "name": "pleura"}],
     "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "segmentation": ...}]}

`segmentation` is a list of polygons [x, y, x, y, ...], all of them filled, or run lengths
{"size": [height, width], "counts": ...}: pixels off, on, off, ... down the columns, as a list or
as COCO's compressed string. Objects of an image lie on one another in the order of the file.
Category names are class names of the scheme in any case; supercategories, boxes and areas are
ignored. Names and numbers in the file are looked up and never opened.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from lus_ray.data.ingest.polygons import Canvas, check_size, is_number, listed, read_json, shown
from lus_ray.errors import SourceError

FIRST_CODE = ord("0")
"""The compressed string writes six bits as one character, from "0" on."""
MAX_CODES = 7
"""Characters of one number; seven hold 34 bits, more than any image has pixels."""


@dataclass(frozen=True)
class Coco:
    """A file read once: images by file name, objects by image, category names by number."""

    where: str
    images: dict[str, list[dict[str, Any]]]
    objects: dict[int, list[dict[str, Any]]]
    categories: dict[int, str]

    def masks(self, name: str, *, scheme: str, height: int, width: int) -> UInt8[np.ndarray, "H W"]:
        """Class ids of `scheme` of the image `name`, which has `height` x `width` pixels.

        Raises:
            SourceError: no such image or two of them, of another size, without an object, or an
                object that is of another category, outside of the image, or of the wrong length.
        """
        where = f"{self.where} ({name})"
        found = self.images.get(name, [])
        if len(found) != 1:
            raise SourceError(
                f"{where}: {len(found)} images have this 'file_name'; write in 'coco' one that is "
                "in the file once"
            )
        image = found[0]
        check_size((image.get("height"), image.get("width")), height, width, where)
        canvas = Canvas(height, width, scheme=scheme, where=where)
        for thing in self.objects.get(image["id"], []):
            self._draw(canvas, thing)
        return canvas.masks()

    def _draw(self, canvas: Canvas, thing: dict[str, Any]) -> None:
        label = self.categories.get(_id(thing, "category_id", self.where))
        where = f"{canvas.where}: annotation {shown(thing.get('id'))}"
        if label is None:
            number = shown(thing["category_id"])
            raise SourceError(f"{where} is of category {number}, which the file does not list")
        shape = thing.get("segmentation")
        if isinstance(shape, dict):
            size = shape.get("size")
            found = tuple(size) if isinstance(size, list) and len(size) == 2 else (size, None)
            check_size(found, canvas.height, canvas.width, where)
            canvas.pixels(label, runs(shape.get("counts"), canvas.height, canvas.width, where))
            return
        if not isinstance(shape, list) or not shape:
            raise SourceError(f"{where} has no segmentation; draw its outline, a box is not enough")
        for flat in shape:
            canvas.polygon(label, _pairs(flat, where))


def load(path: Path, where: str) -> Coco:
    """Read a COCO file; `where` names it in errors.

    Raises:
        SourceError: not a COCO file, or its parts contradict each other.
    """
    content = read_json(path, where)
    images: dict[str, list[dict[str, Any]]] = defaultdict(list)
    objects: dict[int, list[dict[str, Any]]] = {}
    for image in listed(content, "images", where):
        name, number = image.get("file_name"), _id(image, "id", where)
        if not isinstance(name, str) or number in objects:
            raise SourceError(
                f"{where}: image {number} has no 'file_name', or comes twice; export it again"
            )
        images[name].append(image)
        objects[number] = []
    for thing in listed(content, "annotations", where):
        number = _id(thing, "image_id", where)
        if number not in objects:
            raise SourceError(
                f"{where}: annotation {shown(thing.get('id'))} is of image {number}, which the "
                "file does not list; export it again"
            )
        objects[number].append(thing)
    categories: dict[int, str] = {}
    for category in listed(content, "categories", where):
        number = _id(category, "id", where)
        if number in categories or not isinstance(category.get("name"), str):
            raise SourceError(f"{where}: category {number} has no name, or comes twice")
        categories[number] = category["name"]
    return Coco(where, dict(images), objects, categories)


def runs(counts: Any, height: int, width: int, where: str) -> Bool[np.ndarray, "H W"]:
    """The pixels of COCO run lengths: off, on, off, ... down one column after another.

    Raises:
        SourceError: not whole numbers of 0 and more, or together not height x width pixels.
    """
    longest = MAX_CODES * (height * width + 2)
    if isinstance(counts, str) and len(counts) <= longest:
        counts = _uncompressed(counts, where)
    lengths = counts
    if not isinstance(lengths, list) or not all(type(n) is int and n >= 0 for n in lengths):
        raise SourceError(f"{where} has run lengths that are no whole numbers; export it again")
    if sum(lengths) != height * width:
        raise SourceError(
            f"{where} has run lengths of {shown(sum(lengths))} pixels in all, but the image has "
            f"{height * width}; export it for this image"
        )
    on = np.arange(len(lengths)) % 2 == 1
    return np.repeat(on, lengths).reshape(width, height).T


def _uncompressed(text: str, where: str) -> list[int]:
    """Run lengths of COCO's string: five bits a character, low ones first, the sixth says "more";
    from the fourth number on, the difference to the number two before."""
    lengths: list[int] = []
    value = num_codes = 0
    for character in text:
        code = ord(character) - FIRST_CODE
        if not 0 <= code < 64 or num_codes == MAX_CODES:
            raise SourceError(f"{where} has compressed run lengths that are damaged; export again")
        value |= (code & 31) << (5 * num_codes)
        num_codes += 1
        if code & 32:
            continue
        if code & 16:
            value -= 1 << (5 * num_codes)
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = num_codes = 0
    if num_codes:
        raise SourceError(f"{where} has compressed run lengths that are cut off; export it again")
    return lengths


def _pairs(flat: Any, where: str) -> list[list[float]]:
    if not isinstance(flat, list) or len(flat) % 2 or not all(map(is_number, flat)):
        raise SourceError(f"{where} has a polygon that is no list of x, y, x, y, ...; redraw it")
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]


def _id(thing: dict[str, Any], key: str, where: str) -> int:
    number = thing.get(key)
    if type(number) is not int:
        raise SourceError(f"{where}: {key!r} is {shown(number)}; a whole number is required")
    return number
