"""How a DICOM file is encoded and where its pixel data begin.

Source    DICOM PS3.5: 7.1 element, A.4 encapsulated pixels; PS3.10: 7.1 file meta information.
"""

from typing import Any, BinaryIO, Literal

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from lus_ray.data.decoding import file_types
from lus_ray.errors import DecodeError

NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)
PIXEL_DATA = (0x7FE0, 0x0010)
FLOAT_PIXELS = ((0x7FE0, 0x0008), (0x7FE0, 0x0009))
UNDEFINED_LENGTH = 0xFFFFFFFF


def read_syntax(file: BinaryIO) -> uid.UID | None:
    """Checked before the rest: a deflated file would be inflated whole, however large.

    None where the file has no file meta information, which is never deflated.
    """
    try:
        file.seek(file_types.PREAMBLE_BYTES)
        if file.read(len(file_types.DICOM_MARK)) != file_types.DICOM_MARK:
            file.seek(0)
        meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
        syntax = uid.UID(str(meta.get("TransferSyntaxUID", "")))
    except MemoryError:
        raise
    except Exception:
        raise DecodeError("its DICOM header is damaged; export it again") from None
    if not meta:
        return None
    if syntax not in (*NATIVE, *JPEG, *JPEG_2000, uid.RLELossless):
        name = syntax.name if syntax in uid.UID_dictionary else "an unknown transfer syntax"
        raise DecodeError(
            f"holds pixels as {name}; export it uncompressed, as JPEG Baseline or RLE"
        )
    return syntax


def guess_syntax(elements: Any) -> uid.UID:
    implicit, little_endian = elements.original_encoding
    if not little_endian:
        return uid.ExplicitVRBigEndian
    return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian


def find_pixels(file: BinaryIO, elements: Dataset, syntax: uid.UID) -> tuple[int, int | None, bool]:
    """Read the head of the pixel data: where they begin, their length, and whether in words."""
    order: Literal["little", "big"] = "little" if syntax.is_little_endian else "big"
    head = file.read(8)
    tag = tuple(int.from_bytes(head[at : at + 2], order) for at in (0, 2))
    if tag in FLOAT_PIXELS:
        raise DecodeError("its pixels are floating-point numbers; export 8 or 16 bits")
    sop_class = uid.UID(str(elements.get("SOPClassUID", "")))
    if tag != PIXEL_DATA and "Rows" in elements:
        raise DecodeError("its pixel data are missing; copy or export it again")
    if tag != PIXEL_DATA:
        name = f" ({sop_class.name})" if sop_class in uid.UID_dictionary else ""
        raise DecodeError(f"holds no image{name}; export the clip itself")
    if sop_class == uid.EnhancedUSVolumeStorage:
        raise DecodeError("holds slices of a volume, not a clip; export the clip itself")
    number, parts = (
        int(elements.get(f"InConcatenation{name}Number") or 1) for name in ("", "Total")
    )
    if max(number, parts) > 1:
        raise DecodeError(f"is part {number} of {parts} of a clip; export the clip in one file")
    swapped = not syntax.is_little_endian and head[4:6] == b"OW"
    length = int.from_bytes(head[4:] if syntax.is_implicit_VR else file.read(4), order)
    if (length == UNDEFINED_LENGTH) != syntax.is_encapsulated:
        found = "are not" if syntax.is_encapsulated else "are"
        raise DecodeError(f"its pixel data {found} encapsulated, unlike its transfer syntax")
    return file.tell(), None if syntax.is_encapsulated else length, swapped
