"""The child process that decodes files: `python -m lus_ray.data.decoding.sandbox FD`."""

import importlib
from types import ModuleType
from typing import Any, BinaryIO

from av.error import FFmpegError

from lus_ray.data.decoding import file_types, jpeg_images, stills, video
from lus_ray.errors import DecodeError
from lus_ray.storage.sandbox import serve


def _import_reader(source: int) -> None:
    if file_types.is_dicom(source):  # once instead of in every fork
        _dicom_pixels()


def _dicom_pixels() -> ModuleType:
    return importlib.import_module("lus_ray.data.decoding.dicom_pixels")


def _decode(file: BinaryIO, out: BinaryIO, request: dict[str, Any]) -> dict[str, Any]:
    try:
        kind = file_types.detect_format(file)
        if kind is file_types.DICOM:
            return _dicom_pixels().write_frames(file, out, request)
        notes = file_types.check_extension(kind, request["suffix"])
        if kind in stills.OPENERS:
            return stills.write_frames(file, out, request, kind, notes)
        if kind is file_types.JPEG:
            file = jpeg_images.read_first(file, notes)
        return video.write_frames(file, out, request, kind, notes)
    except DecodeError as error:
        return {"error": str(error), "kind": error.kind}
    except MemoryError:
        size = request["memory_bytes"] >> 20
        return {"error": f"needs more than {size} MiB to decode", "kind": "refused"}
    except FFmpegError as error:
        return {"error": f"cannot be decoded ({error.strerror})", "kind": "unreadable"}
    except (OSError, ValueError, EOFError) as error:
        cause = f"{type(error).__name__}: {error}"
        return {"error": f"cannot be decoded ({cause})", "kind": "unreadable"}


if __name__ == "__main__":
    serve(_decode, prepare=_import_reader)
