"""What becomes of a clip whose decoder refuses it, or is lost under it."""

import asyncio
import io
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from serve.decoders import Decoders

from lus_ray.data.decoding.decoder import DecodedVideo
from lus_ray.inference.limits import ServiceLimits
from serve.errors import Refused
from tests.data.decoding import dicom_files
from tests.serve.service import film

LIMITS = ServiceLimits()
TIGHT = replace(LIMITS, clip=replace(LIMITS.clip, num_frames=4, frame_pixels=2**16))
SMALL = film(np.full((3, 48, 64), 100, np.uint8))


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    """One decoder that takes little."""
    made = Decoders(TIGHT, num=1)
    yield made
    made.close()


def decoded(decoders: Decoders, clip: bytes, *, allow_text: bool = False) -> DecodedVideo:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed when it was decoded
    file.write(clip)
    file.seek(0)
    return asyncio.run(decoders.decode(file, allow_text=allow_text))


def picture(height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height), 90).save(file, "png")
    return file.getvalue()


@pytest.fixture
def written_on(tmp_path: Path) -> bytes:
    """A DICOM clip with writing beside its fan."""
    frames = dicom_files.with_text(dicom_files.fan(2))
    return dicom_files.write(tmp_path / "a.dcm", frames).read_bytes()


@pytest.mark.parametrize(
    ("clip", "status", "words"),
    [
        (b"<html>", 400, "neither a video nor an image"),
        (SMALL[:-200], 400, "."),
        (film(np.zeros((5, 48, 64), np.uint8)), 422, "5 frames; at most 4"),
        (picture(300, 300), 422, "300 x 300 pixels; at most"),
    ],
)
def test_no_clip_is_told_from_one_that_is_too_much(decoders, clip, status, words):
    with pytest.raises(Refused, match=words) as refused:
        decoded(decoders, clip)
    assert (refused.value.status, refused.value.retry_after_seconds) == (status, None)


def test_writing_beside_the_fan_is_refused_unless_it_is_allowed(decoders, written_on):
    with pytest.raises(Refused, match="bright pixels outside of the fan") as refused:
        decoded(decoders, written_on)
    assert refused.value.status == 422
    assert len(decoded(decoders, written_on, allow_text=True).frames) == 2


def test_a_process_waits_before_the_first_clip_comes(decoders):
    assert len(processes()) == 1
    assert len(decoded(decoders, SMALL).frames) == 3


def test_a_clip_whose_decoder_is_lost_is_decoded_by_the_next_one(decoders):
    (waiting,) = processes()
    waiting.kill()
    assert len(decoded(decoders, SMALL).frames) == 3
    (other,) = processes()
    assert other.pid != waiting.pid


def test_a_clip_that_loses_two_decoders_is_to_come_again(decoders):
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.005):
            for one in processes():
                one.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(Refused, match="the decoder process ended") as refused:
            decoded(decoders, SMALL)
    finally:
        over.set()
        killer.join()
    assert (refused.value.status, refused.value.retry_after_seconds) == (503, 1)


def processes() -> list[psutil.Process]:
    """The decoder processes of this one, whether or not they have begun."""
    found = []
    for child in psutil.Process().children():
        try:
            if "lus_ray.data.decoding.sandbox" in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found
