"""The one ultrasound region of a DICOM image, and the size of its pixels.

Source    DICOM PS3.3: C.8.5.5 ultrasound region calibration.
"""

import math
from typing import Any

from pydicom.dataset import Dataset

from lus_ray.errors import DecodeError

TWO_DIMENSIONAL = 1
"""Region Spatial Format of an image in depth and width."""
TISSUE = 1
"""Region Data Type of plain echoes."""
CENTIMETRES = 3
"""Physical units of a region's axes."""


def read_region(
    elements: Dataset, rows: int, columns: int, notes: list[str]
) -> tuple[tuple[int, int, int, int] | None, float | None]:
    """The region, as in `DicomHeader`, and millimetres per pixel; None where not exactly one.

    Raises:
        DecodeError: the region lies outside of the image.
    """
    tissue = [
        region
        for region in elements.get("SequenceOfUltrasoundRegions") or ()
        if (region.get("RegionSpatialFormat"), region.get("RegionDataType"))
        == (TWO_DIMENSIONAL, TISSUE)
    ]
    if len(tissue) != 1:
        count = f"{len(tissue)} ultrasound regions" if tissue else "no ultrasound region"
        notes.append(f"its header names {count}: not cropped, spacing unknown")
        return None, None
    corners = ("MinY0", "MinX0", "MaxY1", "MaxX1")
    top, left, bottom, right = (int(tissue[0][f"RegionLocation{name}"].value) for name in corners)
    box = (top, left, min(bottom + 1, rows), min(right + 1, columns))
    if not (0 <= top < box[2] and 0 <= left < box[3]):
        raise DecodeError("its ultrasound region lies outside of its image; export it again")
    return box, _read_spacing(tissue[0], notes)


def _read_spacing(region: Any, notes: list[str]) -> float | None:
    units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
    across, down = (abs(float(region.get(f"PhysicalDelta{axis}") or 0)) for axis in "XY")
    if units != (CENTIMETRES, CENTIMETRES) or not (0 < down < 10 and math.isfinite(across)):
        notes.append("its region gives no spacing in centimetres")
        return None
    if abs(across - down) > 0.02 * down:
        notes.append("its pixels are not square: spacing stored as unknown")
        return None
    return 10 * down
