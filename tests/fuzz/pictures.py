"""Frames that name their file and their number, and survive compression; files of every format.

Shapes: T frames of 48 x 64. A frame is a grid of 6 x 8 blocks: two rows hold the eight bits of the
file's code and their inverse, two those of the frame's number, two are random.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pydicom import uid

from tests.data.decoding import dicom_files

BLOCK, ROWS, COLUMNS = 8, 6, 8
DARK, BRIGHT = 60, 200
LEVELS = 12
"""Grey values by which the mean of a block may differ after a lossy codec."""

VIDEOS = {
    "mp4": ("libx264", "yuv420p", {"crf": "12", "g": "6"}),
    "mov": ("mpeg4", "yuv420p", {"qmin": "2", "qmax": "3"}),
    "avi": ("mjpeg", "yuvj420p", {"qmin": "2", "qmax": "3"}),
    "mkv": ("libx264", "yuv420p", {"crf": "12", "g": "250"}),
    "mpg": ("mpeg2video", "yuv420p", {"qmin": "2", "qmax": "3"}),
}
STILLS = ("png", "jpg", "bmp", "tif")
SYNTAXES = {
    "dcm": uid.ExplicitVRLittleEndian,
    "rle.dcm": uid.RLELossless,
    "jpeg.dcm": uid.JPEGBaseline8Bit,
}
EXACT = ("png", "tif", "dcm", "rle.dcm", "gif")
UNCHECKED = ("bmp", "dcm", "rle.dcm", "tif")
"""Pixels without a checksum: nobody can notice other values in them."""


@dataclass(frozen=True)
class Picture:
    """The frames of a file as generated, uint8 (T, H, W); `form` is a key of the tables above."""

    code: int
    form: str
    frames: UInt8[np.ndarray, "T H W"]


def paint(code: int, form: str, rng: np.random.Generator) -> Picture:
    num_frames = 1 if form in STILLS else int(rng.integers(6, 13))
    levels = rng.integers(DARK, BRIGHT, (num_frames, ROWS, COLUMNS))
    for number in range(num_frames):
        for row, value in ((0, code), (2, number)):
            bits = (value >> np.arange(COLUMNS)) & 1
            levels[number, row] = DARK + (BRIGHT - DARK) * bits
            levels[number, row + 1] = BRIGHT - (BRIGHT - DARK) * bits
    frames = levels.repeat(BLOCK, 1).repeat(BLOCK, 2)
    return Picture(code, form, (frames + rng.integers(-6, 7, frames.shape)).astype(np.uint8))


def block_means(frames: UInt8[np.ndarray, "T H W"]) -> np.ndarray:
    """Means (T, 6, 8) of the blocks."""
    shape = (len(frames), ROWS, BLOCK, COLUMNS, BLOCK)
    return frames.reshape(shape).mean((2, 4))


def read_bits(frames: UInt8[np.ndarray, "T H W"], row: int) -> list[int | None]:
    """The number in a row of blocks of each frame (0: the file's code, 2: the frame's number)."""
    contrast = block_means(frames)[:, row] - block_means(frames)[:, row + 1]
    bits = (contrast > 0) @ (1 << np.arange(COLUMNS))
    clear = (np.abs(contrast) > (BRIGHT - DARK) / 2).all(1)
    return [int(value) if known else None for value, known in zip(bits, clear, strict=True)]


def write(picture: Picture, path: Path, patient: str = "") -> None:
    """Write the picture in its format; `patient` is the PatientID of a DICOM file."""
    form, frames = picture.form, picture.frames
    if form in VIDEOS:
        codec, pix_fmt, options = VIDEOS[form]
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25, options=options)
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], pix_fmt
            for pixels in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="gray")))
            container.mux(stream.encode())
    elif form in SYNTAXES:
        dicom_files.write(path, frames, syntax=SYNTAXES[form], PatientID=patient or None)
    else:
        first, *others = map(Image.fromarray, frames)
        options = {"save_all": True, "append_images": others} if others else {}
        first.save(path, **options, **({"quality": 95} if form == "jpg" else {}))


def to_png(ids: UInt8[np.ndarray, "H W"]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(ids).save(content, "PNG")
    return content.getvalue()
