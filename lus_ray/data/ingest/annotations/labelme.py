"""LabelMe annotations: one JSON file per image, with shapes labelled by class name.

    {"imageHeight": 200, "imageWidth": 260, "shapes": [
        {"label": "pleura", "shape_type": "polygon", "points": [[12.5, 40], [200, 41], ...]}]}

Polygons, rectangles (two corners) and circles (centre, point on the edge) are drawn in the order
of the file; labels are class names of the scheme in any case. Lines, points and brush masks have no
width or are no shapes and are refused. The image in the file (`imageData`) is ignored, and its path
(`imagePath`) is never followed.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lus_ray.data.ingest.annotations.polygons import (
    Canvas,
    check_size,
    get_objects,
    read_json,
    short_repr,
)
from lus_ray.errors import SourceError


def read(
    path: Path, where: str, *, scheme: str, height: int, width: int
) -> UInt8[np.ndarray, "H W"]:
    """Class ids of `scheme` from one file; `where` names it in errors.

    Raises:
        SourceError: with the file, the shape and what does not fit.
    """
    content = read_json(path, where)
    check_size((content.get("imageHeight"), content.get("imageWidth")), height, width, where)
    canvas = Canvas(height, width, scheme=scheme, where=where)
    draw = {name: getattr(canvas, f"draw_{name}") for name in ("polygon", "rectangle", "circle")}
    for shape in get_objects(content, "shapes", where):
        kind = shape.get("shape_type") or "polygon"  # old files have polygons only
        if not isinstance(kind, str) or kind not in draw:
            reason = f"a shape of type {short_repr(kind)}; draw it as one of {', '.join(draw)}"
            raise SourceError(f"{where}: {reason}")
        draw[kind](shape.get("label"), shape.get("points"))
    return canvas.to_mask()
