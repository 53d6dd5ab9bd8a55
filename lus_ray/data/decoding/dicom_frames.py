"""Read the frames of a DICOM file as stored: native, RLE, JPEG or JPEG 2000.

Shapes: H rows, W columns; a frame is (H, W) or, with red, green and blue, (H, W, 3).
Of YBR the luma is in the file: no colour is computed. A JPEG's own markers determine its colours,
as scanners label YBR as RGB. Overlay bits beside the stored ones are masked.

Damage that decoders conceal counts, too: `jpeg_damage` checks each JPEG, and an RLE segment with
more data than its image needs is damaged.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate, generate_fragments, parse_basic_offsets, parse_fragments
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import get_j2k_parameters

from lus_ray.data.decoding.dicom_header import DicomHeader
from lus_ray.data.decoding.dicom_syntax import JPEG, NATIVE
from lus_ray.data.decoding.jpeg_damage import check_jpeg
from lus_ray.errors import DecodeError

Frame = UInt[np.ndarray, "H W *colours"]

IMAGE_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff", b"\0\0\0\x0cjP  ")
"""Of a JPEG, a JPEG 2000 codestream and a JP2 file: the first fragment of a frame."""
PLAIN_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""Adobe's JPEG marker for components that are red, green and blue."""
MAX_SEGMENTS = 15
CUT = "the pixel data end early"


def read_frames(file: BinaryIO, header: DicomHeader) -> Iterator[Frame | DecodeError]:
    """The frames in order, or the error of a damaged one; at most as many as the file holds.

    Raises:
        DecodeError: the frames end early, or more follow than the header declares.
    """
    file.seek(header.pixels_at)
    if header.syntax in NATIVE:
        yield from _read_native(file, header)
        return
    frames = _read_encapsulated(file, header)
    for number, content in enumerate(frames, 1):
        if number > header.num_frames:
            raise _too_many("more", header)
        try:
            yield _decode(content, header)
        except MemoryError:
            raise
        except DecodeError as error:
            yield error
        except Exception:  # of many kinds
            yield DecodeError("the pixel data are damaged")


def _decode(content: bytes, header: DicomHeader) -> Frame:
    if header.syntax in JPEG:
        return _decode_jpeg(content, header)
    if header.syntax == uid.RLELossless:
        return _mask(_decode_rle(content, header), header)
    return _mask(_decode_jpeg_2000(content, header), header)


def _too_many(found: int | str, header: DicomHeader) -> DecodeError:
    reason = f"holds {found} frames than its header declares ({header.num_frames}); "
    return DecodeError(f"{reason}correct its NumberOfFrames or export it again", "refused")


def _read_native(file: BinaryIO, header: DicomHeader) -> Iterator[Frame]:
    width, num_pixels = header.bits_allocated // 8, header.rows * header.columns
    length, samples = header.pixels_length or 0, 1 if header.grey is not None else 3
    subsampled = (
        header.photometric == "YBR_FULL_422" and length < header.num_frames * num_pixels * 3
    )
    size = num_pixels * (2 if subsampled else samples) * width
    surplus = length - header.num_frames * size
    if surplus >= size:
        raise _too_many(f"{surplus // size} more", header)
    if length % size > 1:  # of frames of another size, all but the first would be sheared
        reason = f"its pixel data of {length} bytes are no whole number of frames of {size} bytes"
        raise DecodeError(f"{reason}; export it again", "refused")
    order = ">" if header.syntax == uid.ExplicitVRBigEndian else "<"
    for number in range(header.num_frames):
        content = _read_bytes(file, header, number * size, size)
        if len(content) < size or (number + 1) * size > length:
            raise DecodeError(CUT)
        frame = np.frombuffer(content, f"{order}u{width}").astype(f"u{width}")
        if subsampled:  # Y Y Cb Cr for each two pixels
            frame = frame.reshape(-1, 4)[:, :2].reshape(header.rows, header.columns)
        elif samples == 1:
            frame = frame.reshape(header.rows, header.columns)
        elif header.planar:
            frame = frame.reshape(3, header.rows, header.columns).transpose(1, 2, 0)
        else:
            frame = frame.reshape(header.rows, header.columns, 3)
        yield _mask(frame, header)


def _read_bytes(file: BinaryIO, header: DicomHeader, start: int, size: int) -> bytes:
    """Bytes of the pixel data in their order; 8-bit samples in big-endian words are swapped."""
    if not header.swapped:
        file.seek(header.pixels_at + start)
        return file.read(size)
    odd = start % 2
    file.seek(header.pixels_at + start - odd)
    words = file.read(odd + size + (odd + size) % 2)
    return np.frombuffer(words[: len(words) // 2 * 2], ">u2").astype("<u2").tobytes()[odd:][:size]


def _mask(frame: Frame, header: DicomHeader) -> Frame:
    """The stored bits alone, and of YBR the luma alone."""
    if frame.ndim == 3 and header.photometric.startswith("YBR_FULL"):
        frame = frame[..., 0]
    return (frame >> header.low_bit) & (2**header.bits_stored - 1)


def _read_encapsulated(file: BinaryIO, header: DicomHeader) -> Iterator[bytes]:
    """The content of one frame after another.

    As many fragments as frames are one each, as always in RLE. Otherwise a frame begins where a
    fragment begins with an image: no offset table is needed, which may be missing or wrong.
    """
    parse_basic_offsets(file)
    start, num_fragments = file.tell(), 0
    with suppress(ValueError):  # damaged: the frames before are read
        num_fragments, _ = parse_fragments(file)
    file.seek(start)
    is_whole = header.syntax == uid.RLELossless or num_fragments == header.num_frames
    parts: list[bytes] = []
    for fragment in generate_fragments(file):
        if parts and (is_whole or fragment.startswith(IMAGE_STARTS)):
            yield b"".join(parts)
            parts = []
        parts.append(fragment)
    if parts:
        yield b"".join(parts)


def _decode_jpeg(content: bytes, header: DicomHeader) -> Frame:
    image = Image.open(io.BytesIO(content), formats=("JPEG",))
    if image.size != (header.columns, header.rows):
        raise DecodeError("an image is not of the size in the header")
    check_jpeg(content)
    declared = "jfif" in image.info or "adobe_transform" in image.info
    subsampled = any(layer[1:3] != (1, 1) for layer in getattr(image, "layer", ()))
    if header.photometric == "RGB" and not declared and not subsampled:
        content = content[:2] + PLAIN_RGB + content[2:]
        image = Image.open(io.BytesIO(content), formats=("JPEG",))
    image.draft("L", image.size)  # the luma is in the file: no colour is computed
    return np.asarray(image.convert("L"))


def _decode_rle(content: bytes, header: DicomHeader) -> Frame:
    """Planes of bytes, the highest byte of each sample first, each in runs."""
    width, samples = header.bits_allocated // 8, 1 if header.grey is not None else 3
    count, *starts = struct.unpack(f"<{1 + MAX_SEGMENTS}L", content[:64])
    if count != width * samples:
        raise DecodeError(f"an RLE frame has {count} segments, not {width * samples}")
    ends = [*starts[1:count], len(content)]
    planes = [
        _unpack_runs(content[start:end], header.rows * header.columns)
        for start, end in zip(starts, ends, strict=False)
    ]
    joined = np.stack(planes).reshape(samples, width, header.rows, header.columns)
    frame = np.ascontiguousarray(np.moveaxis(joined, (0, 1), (2, 3))).view(f">u{width}")[..., 0]
    frame = frame.astype(f"u{width}")
    return frame if samples == 3 else frame[..., 0]


def _unpack_runs(segment: bytes, size: int) -> UInt[np.ndarray, "bytes"]:
    plane = Image.frombytes("L", (size, 1), segment, "packbits", "L")
    try:
        Image.frombytes("L", (size + 2, 1), segment, "packbits", "L")
    except ValueError:  # it holds no more than one byte of padding
        return np.asarray(plane)[0]
    raise DecodeError("an RLE frame is damaged: data remain after its image")


def _decode_jpeg_2000(content: bytes, header: DicomHeader) -> Frame:
    samples = 1 if header.grey is not None else 3
    found = get_j2k_parameters(content)
    if found.get("precision", 0) > header.bits_stored or found.get("is_signed"):
        raise DecodeError("a JPEG 2000 image is signed or of more bits than in the header")
    frames = get_decoder(header.syntax).iter_array(
        encapsulate([content]),
        raw=True,
        number_of_frames=1,
        rows=header.rows,
        columns=header.columns,
        samples_per_pixel=samples,
        planar_configuration=0,
        photometric_interpretation="MONOCHROME2" if samples == 1 else header.photometric,
        pixel_representation=0,
        bits_allocated=header.bits_allocated,
        bits_stored=header.bits_stored,
        pixel_keyword="PixelData",
    )
    return next(frames)[0]
