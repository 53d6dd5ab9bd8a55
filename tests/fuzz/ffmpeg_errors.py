"""Exit with 1 where FFmpeg reports errors while it decodes a file: `ffmpeg -v error -i FILE`."""

import io
import sys
from pathlib import Path
from typing import BinaryIO

import av
import av.logging
from av.error import FFmpegError
from pydicom.encaps import generate_frames
from pydicom.filereader import dcmread


def has_errors(path: Path) -> bool:
    """Whether FFmpeg, or for DICOM the reader, reports an error in any of the images."""
    av.logging.set_level(av.logging.ERROR)
    with av.logging.Capture() as messages:
        try:
            for file in _open(path):
                with av.open(file) as container:
                    for _ in container.decode(container.streams.video[0]):
                        pass
        except (FFmpegError, IndexError, ValueError):
            return True
    return bool(messages)


def _open(path: Path) -> list[BinaryIO | str]:
    if path.read_bytes()[128:132] != b"DICM":
        return [str(path)]  # its name tells FFmpeg more than its content
    elements = dcmread(path)
    return [io.BytesIO(image) for image in generate_frames(elements.PixelData, number_of_frames=1)]


if __name__ == "__main__":
    sys.exit(has_errors(Path(sys.argv[1])))
