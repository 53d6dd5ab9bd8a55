import os
import signal
import struct
import threading
import time

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from lus_ray.data.decoding.decoder import DecodeLimits, FileDecoder
from lus_ray.errors import DecodeError

VIDEO = {"codec": "libx264", "pix_fmt": "yuv420p", "fps": 25}
FORMATS = {name: {} for name in ("clip.mp4", "clip.MP4", "clip.mov", "clip.mkv")} | {
    "clip.avi": {"codec": "mpeg4"},
    "clip.mpeg": {"codec": "mpeg1video", "format": "mpeg"},
    "clip.gif": {"codec": "gif", "pix_fmt": "gray", "fps": 10},
    "ten bit [1].mp4": {"pix_fmt": "yuv420p10le"},
    "full.mp4": {"pix_fmt": "yuvj420p"},
    "grey.avi": {"codec": "ffv1", "pix_fmt": "gray"},
}


@pytest.fixture
def large(write_video):
    """A video that takes long enough to be interrupted."""
    return write_video("large.avi", np.zeros((30, 1080, 1920), np.uint8), codec="mpeg4")


def decode_or_refuse(decoder, path):
    """The decoded file, or None where it is refused in one line."""
    try:
        return decoder.decode(path)
    except DecodeError as error:
        assert "\n" not in str(error)  # noqa: PT017


def save_image(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_all_frames_in_full_range(name, write_video, ramp, decoder):
    settings = VIDEO | FORMATS[name]
    decoded = decoder.decode(write_video(name, ramp, **settings))
    assert decoded.frames.shape == (30, 48, 64)
    assert decoded.frames.dtype == np.uint8
    assert np.abs(decoded.frames.astype(int) - ramp).mean() < 3
    assert decoded.fps == pytest.approx(settings["fps"], rel=0.01)
    assert (decoded.height, decoded.width, decoded.scale) == (48, 64, 1.0)
    assert (decoded.num_declared is None) == (name in ("clip.mpeg", "clip.mkv"))
    is_unnoticed = name == "clip.mpeg"  # Matroska declares its duration
    assert ["does not count frames" in note for note in decoded.notes] == [True] * is_unnoticed


@pytest.mark.parametrize("name", ["still.png", "still.JPG", "still.bmp", "still.tiff", "one.mp4"])
def test_an_image_or_a_video_of_one_frame_is_a_clip_of_one_without_fps(
    name, write_video, tmp_path, ramp, decoder
):
    is_video = name == "one.mp4"
    path = write_video(name, ramp[7:8]) if is_video else save_image(tmp_path / name, ramp[7])
    decoded = decoder.decode(path)
    assert decoded.frames.shape == (1, 48, 64)
    assert decoded.fps is None
    assert is_video or np.abs(decoded.frames[0].astype(int) - ramp[7]).max() <= 4


def test_odd_sizes_keep_every_row_and_column(write_video, decoder):
    path = write_video("odd.mp4", np.full((3, 35, 47), 90, np.uint8), pix_fmt="yuv444p")
    assert decoder.decode(path).frames.shape == (3, 35, 47)


def test_colour_becomes_luma_and_transparent_black(tmp_path, decoder):
    shades = [(200, 200, 200, alpha) for alpha in (0, 128, 255)]
    for colours, greys in ((200 * np.eye(3), [60, 117, 23]), (shades, [0, 100, 200])):  # BT.601
        pixels = np.asarray(colours, np.uint8)[None].repeat(16, axis=0).repeat(16, axis=1)
        frame = decoder.decode(save_image(tmp_path / "a.png", pixels)).frames[0]
        assert np.abs(frame[8, [8, 24, 40]].astype(int) - greys).max() <= 1


def test_a_rotation_in_the_container_is_applied_and_noted(write_video, decoder):
    frames = np.full((3, 48, 64), 60, np.uint8)
    frames[:, :24] = 180  # bright above
    path = write_video("turned.mp4", frames)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # version 0: nine 16.16 numbers after 40 bytes
    quarter = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)  # 90 degrees clockwise
    content[matrix : matrix + 36] = struct.pack(">9i", *quarter)
    path.write_bytes(content)
    decoded = decoder.decode(path)
    assert decoded.frames.shape == (3, 64, 48)
    assert (decoded.height, decoded.width) == (64, 48)
    assert decoded.frames[0, :, 40].mean() > 150 > 90 > decoded.frames[0, :, 8].mean()
    assert any("rotated by" in note for note in decoded.notes)


def test_large_frames_are_area_averaged_with_their_scale(tmp_path, decoder):
    pixels = np.random.default_rng(0).integers(0, 256, (512, 1024), dtype=np.uint8)
    decoded = decoder.decode(save_image(tmp_path / "large.png", pixels))
    assert decoded.frames.shape == (1, 256, 512)
    assert (decoded.height, decoded.width, decoded.scale) == (512, 1024, 0.5)
    blocks = pixels.reshape(256, 2, 512, 2).mean((1, 3))
    assert np.abs(decoded.frames[0] - blocks).max() <= 2


def test_content_decides_and_its_luma_equals_the_converter_of_ffmpeg(write_video, decoder):
    noise = np.random.default_rng(1).integers(0, 256, (4, 50, 38), dtype=np.uint8)
    path = write_video("noise.mp4", noise)
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    decoded = decoder.decode(path.rename(path.with_suffix(".avi")))
    assert np.array_equal(decoded.frames, expected)
    assert decoded.notes == ("its name ends in '.avi', but it holds MP4 or MOV",)


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("page.mp4", b"\n<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        ("empty.mp4", b"", "empty"),
        ("noise.avi", bytes(range(1, 200)) * 9, "neither a video nor an image"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", "neither a video"),
        ("only a head.mp4", b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42", "cannot be dec"),
        ("absent.mp4", None, "No such file"),
        ("", None, "not a file"),
    ],
)
def test_a_path_that_is_no_video_is_refused_in_one_line(name, content, cause, tmp_path, decoder):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DecodeError, match=cause) as caught:
        decoder.decode(tmp_path / name)
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["clip.mp4", "early index.mp4", "clip.avi", "clip.gif", "clip.png", "clip.jpg"]
)
@pytest.mark.slow
def test_a_file_cut_at_every_five_percent_is_refused_or_repaired(
    name, write_video, tmp_path, decoder
):
    noise = np.random.default_rng(2).integers(0, 256, (40, 64, 64), dtype=np.uint8)
    path = tmp_path / name
    if name in ("clip.png", "clip.jpg"):
        save_image(path, noise[0])
    else:
        write_video(name, noise, **FORMATS.get(name, {"options": {"movflags": "faststart"}}))
    whole = path.read_bytes()
    num_frames = len(decoder.decode(path).frames)
    for percent in range(5, 100, 5):
        path.write_bytes(whole[: len(whole) * percent // 100])
        if decoded := decode_or_refuse(decoder, path):
            repaired = any(note.startswith("repaired") for note in decoded.notes)
            assert repaired or len(decoded.frames) == num_frames, f"cut at {percent} %"
            assert len(decoded.frames) >= num_frames - 1


def test_frames_lost_beyond_the_tolerance_are_refused_and_one_is_repaired(
    write_video, ramp, decoder
):
    with pytest.raises(DecodeError, match="none"):
        decoder.decode(write_video("none.avi", ramp[:0], codec="mpeg4"))
    path = write_video("short.avi", ramp, codec="rawvideo", pix_fmt="gray")
    whole = path.read_bytes()
    end = whole.rindex(b"idx1")
    path.write_bytes(whole[: end - 48 * 64])
    assert decoder.decode(path).notes == ("repaired: 29 of 30 frames decode",)
    path.write_bytes(whole[: end - 3 * 48 * 64])
    with pytest.raises(DecodeError, match=r"truncated: 2\d of 30 frames decode"):
        decoder.decode(path)


@pytest.mark.parametrize(
    ("limits", "cause"),
    [
        (DecodeLimits(num_frames=20), "30 frames; at most 20"),
        (DecodeLimits(frame_pixels=1000), "48 x 64 pixels; at most 1000"),
        (DecodeLimits(stored_bytes=20_000), "MiB as grey frames"),
        (DecodeLimits(seconds=0.001), r"longer than 0\.001 s"),
    ],
)
def test_each_limit_refuses_the_file_and_names_itself(limits, cause, write_video, ramp):
    path = write_video("clip.mp4", ramp)
    with FileDecoder(limits) as decoder, pytest.raises(DecodeError, match=cause):
        decoder.decode(path)


@pytest.mark.slow
def test_a_decoder_short_of_memory_refuses_the_file_and_lives(write_video, ramp):
    path = write_video("clip.avi", np.zeros((2, 2160, 3840), np.uint8), codec="mpeg4")
    with FileDecoder(DecodeLimits(memory_bytes=200 << 20)) as decoder:
        for _ in range(2):
            with pytest.raises(DecodeError, match=r"200 MiB|Cannot allocate memory"):
                decoder.decode(path)
        assert decoder.process.poll() is None


@pytest.mark.slow
def test_the_frames_of_a_long_clip_are_not_kept_in_memory(tmp_path, decoder):
    frames = [Image.fromarray(np.full((64, 64), k % 251, np.uint8)) for k in range(600)]
    frames[0].save(tmp_path / "long.gif", save_all=True, append_images=frames[1:], duration=40)
    assert len(decoder.decode(tmp_path / "long.gif").frames) == 600


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.gif", "clip.mpeg"])
@pytest.mark.slow
def test_flipped_bytes_cost_at_most_their_own_file(name, write_video, ramp):
    path = write_video(name, ramp, **FORMATS[name])
    whole, rng = path.read_bytes(), np.random.default_rng(3)
    with FileDecoder(DecodeLimits(seconds=10)) as decoder:
        decoder.start()
        process = decoder.process
        for _ in range(10):
            content = np.frombuffer(whole, np.uint8).copy()
            changed = rng.integers(0, len(content), rng.integers(1, 20))
            content[changed] = rng.integers(0, 256, len(changed))
            path.write_bytes(content.tobytes())
            decode_or_refuse(decoder, path)
        assert decoder.process is process
        assert process.poll() is None


@pytest.mark.parametrize(
    ("number", "kind"),
    [(signal.SIGABRT, "unreadable"), (signal.SIGSEGV, "unreadable"), (signal.SIGKILL, "lost")],
)
@pytest.mark.slow
def test_a_crash_of_the_decoder_costs_one_file(number, kind, large, write_video, ramp):
    small = write_video("small.mp4", ramp)
    with FileDecoder() as decoder:
        decoder.decode(small)
        killer = threading.Thread(target=kill_fork, args=(decoder, number))
        killer.start()
        with pytest.raises(DecodeError, match=rf"large\.avi: crashed.*{number.name}") as crash:
            decoder.decode(large)
        assert crash.value.kind == kind
        killer.join()
        assert len(decoder.decode(small).frames) == 30


@pytest.mark.slow
def test_a_lost_decoder_process_is_restarted_and_closing_ends_it(write_video, ramp):
    path = write_video("clip.mp4", ramp)
    with FileDecoder() as decoder:
        decoder.decode(path)
        os.kill(decoder.process.pid, signal.SIGKILL)
        with pytest.raises(DecodeError, match="decoder process ended") as lost:
            decoder.decode(path)
        assert lost.value.kind == "lost"
        assert len(decoder.decode(path).frames) == 30
        process = decoder.process
    assert process.returncode is not None


@pytest.mark.slow
def test_stop_ends_a_decode_in_another_thread(large):
    causes: list[str] = []

    def work() -> None:
        try:
            while True:
                decoder.decode(large)
        except DecodeError as error:
            causes.append(str(error))

    with FileDecoder() as decoder:
        decoder.start()
        worker = threading.Thread(target=work)
        worker.start()
        time.sleep(0.1)
        decoder.stop()
        worker.join(timeout=20)
    (cause,) = causes
    assert cause.startswith("large.avi: the decoder process ended; run again, with more memory")


def kill_fork(decoder: FileDecoder, number: signal.Signals) -> None:
    server = psutil.Process(decoder.process.pid)
    deadline = time.monotonic() + 10
    while not (forks := server.children()) and time.monotonic() < deadline:
        time.sleep(0.001)
    forks[0].send_signal(number)
