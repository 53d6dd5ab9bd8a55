"""DICOM files for tests: a moving fan, written in any transfer syntax, with a patient to hide."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

SECRETS = ("DOE^JANE", "HOSPITAL-4711", "19501231", "St Elsewhere", "1.2.3.99999")
"""Stand in every file of `write`, and nowhere else."""
REGION = (20, 30, 100, 130)
"""First row and column of the fan's region in `fan`, and those after its last."""


def fan(num_frames: int = 6, *, seed: int = 0) -> np.ndarray:
    """Frames of 120 x 160 (uint8): speckle in a triangle inside `REGION`, black around it."""
    speckle = np.random.default_rng(seed).integers(20, 200, (num_frames, 120, 160), dtype=np.uint8)
    rows, columns = np.indices((120, 160))
    inside = (rows >= 20) & (rows < 100) & (abs(columns - 80) <= 10 + (rows - 20) / 2)
    return speckle * inside.astype(np.uint8)


def with_text(frames: np.ndarray, text: str = "DOE JANE", *, at: tuple[int, int] = (3, 2)):
    """The same frames with bright letters; `at` is (x, y)."""
    page = Image.new("L", frames.shape[2:0:-1])
    ImageDraw.Draw(page).text(at, text, fill=255)
    return np.maximum(frames, np.asarray(page))


def region(**changes: Any) -> Dataset:
    """The ultrasound region of `fan`, with 0.02 cm a pixel."""
    top, left, bottom, right = REGION
    corners = {"MinY0": top, "MinX0": left, "MaxY1": bottom - 1, "MaxX1": right - 1}
    values = {f"RegionLocation{name}": value for name, value in corners.items()}
    values |= {"RegionSpatialFormat": 1, "RegionDataType": 1}
    values |= {"PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3}
    return _dataset(values | {"PhysicalDeltaX": 0.02, "PhysicalDeltaY": 0.02} | changes)


def write(
    path: Path, frames: np.ndarray, *, syntax: str = uid.ExplicitVRLittleEndian, **elements: Any
) -> Path:
    """Write grey (T, H, W) or colour (T, H, W, 3) frames; `elements` overrule or, None, leave out.

    A JPEG or RLE syntax encodes the frames.
    """
    secret = dict(zip(("PatientName", "PatientID", "PatientBirthDate", "InstitutionName",
                       "StudyInstanceUID"), SECRETS, strict=True))  # fmt: skip
    bits, is_colour = 8 * frames.itemsize, frames.ndim == 4
    num_frames, rows, columns = frames.shape[:3]
    pixels = {"Modality": "US", "PixelRepresentation": 0, "FrameTime": 40.0}
    pixels |= {"NumberOfFrames": num_frames, "Rows": rows, "Columns": columns}
    pixels |= {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1}
    pixels |= {
        "SamplesPerPixel": 3 if is_colour else 1,
        "PhotometricInterpretation": "RGB" if is_colour else "MONOCHROME2",
        "PlanarConfiguration": 0 if is_colour else None,
    }
    values = secret | pixels | elements
    dataset = _dataset({name: value for name, value in values.items() if value is not None})
    dataset.SOPClassUID = uid.UltrasoundMultiFrameImageStorage
    dataset.SOPInstanceUID = SECRETS[-1]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    if "PixelData" not in elements:
        _set_pixels(dataset, frames, syntax)
    # Pixels of encapsulated kinds have no length of their own.
    dataset["PixelData"].is_undefined_length = uid.UID(syntax).is_encapsulated
    dataset.save_as(path, enforce_file_format=True)
    return path


def jpeg(frame: np.ndarray, kind: str = "JPEG", **options: Any) -> bytes:
    """One frame as a JPEG or JPEG 2000, grey or YBR."""
    content = io.BytesIO()
    Image.fromarray(frame).save(content, kind, **({"quality": 95} if kind == "JPEG" else options))
    return content.getvalue()


def _dataset(values: dict[str, Any]) -> Dataset:
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def _set_pixels(dataset: Dataset, frames: np.ndarray, syntax: str) -> None:
    if syntax == uid.JPEGBaseline8Bit:
        dataset.PixelData = encapsulate([jpeg(frame) for frame in frames])
        return
    little = syntax != uid.ExplicitVRBigEndian
    content = frames.astype(frames.dtype.newbyteorder("<" if little else ">")).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OW" if frames.itemsize == 2 else "OB"
    if syntax == uid.RLELossless:
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.compress(uid.RLELossless, generate_instance_uid=False)
