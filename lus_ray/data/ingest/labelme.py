"""LabelMe: one JSON file an image, with shapes that carry the name of their class.

    {"imageHeight": 200, "imageWidth": 260, "shapes": [
        {"label": "pleura", "shape_type": "polygon", "points": [[12.5, 40], [200, 41], ...]}]}

Read are polygons, rectangles (two corners) and circles (centre, point on the edge), in the order
of the file, later ones on top; labels are class names of the scheme in any case. Lines, points
and brush masks are refused, as it cannot be said how wide they are, or are no shapes. The image
inside the file (`imageData`) is ignored, and the path in it (`imagePath`) is never followed.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lus_ray.data.ingest.polygons import Canvas, check_size, listed, read_json, shown
from lus_ray.errors import SourceError


def read(
    path: Path, where: str, *, scheme: str, height: int, width: int
) -> UInt8[np.ndarray, "H W"]:
    """Class ids of `scheme` from one file, drawn on an image of `height` x `width` pixels.

    `where` names the file in errors.

    Raises:
        SourceError: not such a file, drawn on another size, without a shape, or a shape of
            another kind, with another label, or outside of the image.
    """
    content = read_json(path, where)
    size = (content.get("imageHeight"), content.get("imageWidth"))
    check_size(size, height, width, where)
    canvas = Canvas(height, width, scheme=scheme, where=where)
    draw = {"polygon": canvas.polygon, "rectangle": canvas.rectangle, "circle": canvas.circle}
    for shape in listed(content, "shapes", where):
        kind = shape.get("shape_type") or "polygon"  # old files have polygons only
        if not isinstance(kind, str) or kind not in draw:
            kinds = ", ".join(draw)
            raise SourceError(f"{where}: a shape of type {shown(kind)}; draw it as one of {kinds}")
        draw[kind](shape.get("label"), shape.get("points"))
    return canvas.masks()
