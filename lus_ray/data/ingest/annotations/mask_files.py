"""Read masks of own images: find their files and fit class ids to the size of the frames.

`mask`      a PNG, 8-bit grey or with a palette, whose pixel values are the class ids of the scheme;
            the colours of the palette have no meaning.
`polygons`  a LabelMe file.
`coco`      the image's `file_name` in ROOT/annotations.json.

A clip of several frames takes a folder with one PNG or LabelMe file per frame, named by its number
from 0. Masks belong to the upright image in its original size; where frames are shrunk, a mask
takes the class at the centre of each pixel. Nothing is coerced: other sizes, unknown classes or
missing frames refuse the clip: every function raises `SourceError` with file, reason and remedy.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.ExifTags import Base

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data.decoding.decoder import DecodedVideo
from lus_ray.data.ingest.annotations import coco, labelme
from lus_ray.data.ingest.annotations.polygons import check_size
from lus_ray.data.ingest.tables import label_table
from lus_ray.data.masks import resize_masks
from lus_ray.errors import SourceError

KINDS = ("mask", "polygons", "coco")
ANNOTATIONS = "annotations.json"

PALETTE, GREY = 3, 0
"""PNG colour types."""

Reader = Callable[..., UInt8[np.ndarray, "H W"]]
"""Class ids of the image with `scheme`, `height` and `width` by name."""


def check_header(path: Path, header: Sequence[str]) -> None:
    """Refuse a table with masks but no scheme, or with a scheme but no masks."""
    kinds = [name for name in KINDS if name in header]
    if kinds and "mask_scheme" not in header:
        schemes = ", ".join(MASK_SCHEMES)
        raise SourceError(
            f"{path}: column {kinds[0]!r} needs a column 'mask_scheme' with one of {schemes}"
        )
    if "mask_scheme" in header and not kinds:
        raise SourceError(f"{path}: column 'mask_scheme' needs one of the columns {KINDS}")


def load_annotations(rows: Sequence[label_table.TableRow], root: Path) -> coco.CocoFile | None:
    """Read the COCO file of a folder; None where no row needs it."""
    if not any(row.cells.get("coco") for row in rows):
        return None
    cell = label_table.TableRow("column 'coco'", {"coco": ANNOTATIONS})
    return coco.load(cell.path("coco", root), ANNOTATIONS)


def list_used(rows: Sequence[label_table.TableRow], root: Path) -> Iterator[Path]:
    """The files and folders of masks that rows name."""
    for row in rows:
        for kind in ("mask", "polygons"):
            if row.cells.get(kind):
                with contextlib.suppress(SourceError):  # reported with the masks of the row
                    yield row.path(kind, root)
    if any(row.cells.get("coco") for row in rows):
        yield root / ANNOTATIONS


def mask_columns(
    row: label_table.TableRow, root: Path, annotations: coco.CocoFile | None
) -> dict[str, Any]:
    """`mask_scheme`, and `masks` as a function of the decoded file; empty where not annotated."""
    kinds = [name for name in KINDS if row.cells.get(name)]
    scheme = row.cells.get("mask_scheme")
    if not kinds and not scheme:
        return {}
    if len(kinds) != 1 or not scheme:
        raise SourceError(
            f"{row.where}: found {kinds or 'no mask'} with 'mask_scheme' {scheme!r}; write the "
            f"scheme and exactly one of {KINDS}, or leave all of them empty"
        )
    if kinds == ["coco"]:
        assert annotations is not None
        draw = partial(annotations.draw_mask, row.cells["coco"])
        read = partial(_read_still, draw, scheme=scheme)
    else:
        path = row.path(kinds[0], root)
        if not path.is_file() and not path.is_dir():
            name = row.cells[kinds[0]]
            raise SourceError(f"{row.where}: {name!r} is neither a file nor a folder")
        read = partial(_read_files, path, Path(os.path.abspath(root)), kinds[0], scheme=scheme)
    return {"mask_scheme": scheme, "masks": read}


def read_png(
    path: Path, where: str, *, scheme: str, height: int, width: int
) -> UInt8[np.ndarray, "H W"]:
    """Class ids of `scheme` from the pixel values of a PNG."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            image.verify()  # the checksums, which decoding ignores
        with Image.open(path, formats=("PNG",)) as image:
            check_size((image.height, image.width), height, width, where)
            _check_pixel_type(image, path, where)
            ids = np.array(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:80]
        raise SourceError(f"{where}: not a readable PNG ({reason}); export it again") from error
    if ids.max() >= len(MASK_SCHEMES[scheme]):
        raise SourceError(
            f"{where}: pixel value {ids.max()} is no class of scheme {scheme!r}, which has 0 to "
            f"{len(MASK_SCHEMES[scheme]) - 1}; save class ids as pixel values"
        )
    return ids


def _check_pixel_type(image: Image.Image, path: Path, where: str) -> None:
    with path.open("rb") as file:
        depth, colour = file.read(26)[24:]
    # Grey of less than 8 bits stands for brightness: 1 of a single bit means white, not class 1.
    if colour != PALETTE and (colour, depth) != (GREY, 8):
        raise SourceError(
            f"{where}: a PNG of mode {image.mode} with {depth} bits; save class ids as 8-bit grey "
            "or as a palette"
        )
    if getattr(image, "n_frames", 1) > 1 or image.getexif().get(Base.Orientation, 1) != 1:
        raise SourceError(f"{where}: an animated or rotated PNG; save one upright image")


def _read_still(read: Reader, decoded: DecodedVideo, *, scheme: str) -> UInt8[np.ndarray, "T h w"]:
    if len(decoded.frames) != 1:
        raise SourceError(
            f"the file has {len(decoded.frames)} frames, but 'coco' is for still images; use "
            "'mask' or 'polygons' with a folder of one file per frame"
        )
    return _fit_to_frames([read], decoded, scheme=scheme)


def _read_files(
    path: Path, root: Path, kind: str, decoded: DecodedVideo, *, scheme: str
) -> UInt8[np.ndarray, "T h w"]:
    read, suffix = {"mask": (read_png, ".png"), "polygons": (labelme.read, ".json")}[kind]
    files = [path] if path.is_file() else list(_list_numbered(path, root, suffix))
    kept = decoded.drop_removed(files)
    if len(kept) != len(decoded.frames):
        num_removed = len(decoded.removed)
        removed = f", of which {num_removed} are damaged" if num_removed else ""
        raise SourceError(
            f"{path.relative_to(root)}: {len(files)} masks for {len(decoded.frames) + num_removed} "
            f"frames{removed}; give one for each frame, in a folder as 0{suffix}, 1{suffix}, ..."
        )
    readers = [partial(read, file, str(file.relative_to(root))) for file in kept]
    return _fit_to_frames(readers, decoded, scheme=scheme)


def _fit_to_frames(
    readers: Sequence[Reader], decoded: DecodedVideo, *, scheme: str
) -> UInt8[np.ndarray, "T h w"]:
    # One after another, so that few masks of the original size are in memory at once.
    height, width = decoded.frames.shape[1:]
    native = {"height": decoded.height, "width": decoded.width}
    small = (resize_masks(read(scheme=scheme, **native)[None], height, width) for read in readers)
    return np.concatenate(list(small))


def _list_numbered(folder: Path, root: Path, suffix: str) -> Iterator[Path]:
    """The files 0, 1, 2, ... of a folder, hidden ones ignored."""
    where = folder.relative_to(root)
    by_number: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        stem = path.stem
        is_number = stem.isascii() and stem.isdigit() and len(stem) < 10
        if not is_number or path.suffix.lower() != suffix or int(stem) in by_number:
            raise SourceError(
                f"{where / path.name}: masks are named by the number of their frame, each once: "
                f"0{suffix}, 1{suffix}, ...; rename or move it"
            )
        by_number[int(stem)] = path
    for number in range(len(by_number)):
        if number not in by_number:
            raise SourceError(f"{where}: no {number}{suffix}; frames are counted from 0")
        if not by_number[number].is_file():
            raise SourceError(f"{where / by_number[number].name}: is not a file; remove it")
        yield by_number[number]
