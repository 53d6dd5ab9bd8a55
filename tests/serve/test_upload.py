"""What happens to a clip that the decoder rejects, or whose decoder is lost."""

import asyncio
import contextlib
import io
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import psutil
import pytest
from PIL import Image

from lus_ray.data.decoding.decoder import DecodedVideo
from lus_ray.inference.limits import ServiceLimits
from serve.errors import RequestError
from serve.upload import DecoderPool
from tests.data.decoding import dicom_files
from tests.serve.service import eventually, to_video

LIMITS = ServiceLimits()
STRICT = replace(LIMITS, clip=replace(LIMITS.clip, num_frames=4, frame_pixels=2**16))
SMALL = to_video(np.full((3, 48, 64), 100, np.uint8))


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(STRICT, num=1)
    assert eventually(lambda: len(decoders()) == 1)  # a process just started has no name yet
    yield pool
    pool.close()


def decode(pool: DecoderPool, clip: bytes, *, allow_text: bool = False) -> DecodedVideo:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the pool closes it
    file.write(clip)
    file.seek(0)
    return asyncio.run(pool.decode(file, allow_text=allow_text))[0]


def picture(height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height), 90).save(file, "png")
    return file.getvalue()


def decoders() -> list[psutil.Process]:
    processes = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "lus_ray.data.decoding.sandbox" in child.cmdline():
                processes.append(child)
    return processes


@pytest.mark.parametrize(
    ("clip", "status", "words"),
    [
        (b"<html>", 400, "neither a video nor an image"),
        (SMALL[:-200], 400, "."),
        (to_video(np.zeros((5, 48, 64), np.uint8)), 422, "5 frames; at most 4"),
        (picture(300, 300), 422, "300 x 300 pixels; at most"),
    ],
)
def test_an_unreadable_clip_and_one_over_a_limit_have_different_statuses(pool, clip, status, words):
    with pytest.raises(RequestError, match=words) as raised:
        decode(pool, clip)
    assert (raised.value.status, raised.value.retry_after_seconds) == (status, None)


@pytest.mark.slow
def test_burned_in_text_is_rejected_unless_allowed(pool, tmp_path):
    frames = dicom_files.with_text(dicom_files.fan(2))
    clip = dicom_files.write(tmp_path / "a.dcm", frames).read_bytes()
    with pytest.raises(RequestError) as raised:
        decode(pool, clip)
    assert raised.value.status == 422
    assert len(decode(pool, clip, allow_text=True).frames) == 2


def test_a_warm_decoder_that_is_lost_is_replaced_and_the_clip_decoded(pool):
    (warm,) = decoders()
    warm.kill()
    assert len(decode(pool, SMALL).frames) == 3
    (replacement,) = decoders()
    assert replacement.pid != warm.pid


def test_a_clip_that_loses_two_decoders_may_be_retried(pool):
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.005):
            for decoder in decoders():
                decoder.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(RequestError) as raised:
            decode(pool, SMALL)
    finally:
        stop.set()
        killer.join()
    assert (raised.value.status, raised.value.retry_after_seconds) == (503, 1)
