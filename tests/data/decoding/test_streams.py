import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from lus_ray.errors import DecodeError

COUNTING = 20 + 3 * np.arange(60, dtype=np.uint8)[:, None, None] + np.zeros((48, 64), np.uint8)
"""Frame n is grey 20 + 3 n."""
LOSSLESS = {"libx264": {"crf": "4", "bf": "0", "g": "250"}, "mjpeg": {"q": "2"}}


def write_tracks(path, tracks, times=None):
    """Tracks of (codec, grey frames, disposition); frame n is shown at `times`[n] / 25 s."""
    with av.open(str(path), "w", options={"use_editlist": "1"}) as container:
        streams = []
        for codec, frames, disposition in tracks:
            stream = container.add_stream(codec, rate=25, options=LOSSLESS.get(codec, {}))
            stream.height, stream.width = frames.shape[1:]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            streams.append(stream)
        for n in range(max(len(frames) for _, frames, _ in tracks)):
            for stream, (_, frames, _) in zip(streams, tracks, strict=True):
                if n < len(frames):
                    frame = av.VideoFrame.from_ndarray(frames[n], format="gray")
                    frame.pts, frame.time_base = times[n] if times else n, Fraction(1, 25)
                    container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    return path


def replace_edits(path, edits):
    """Write edits of (frames shown, first frame of the media, or None for a delay)."""
    content = bytearray(path.read_bytes())
    at = content.index(b"mdhd") + 4
    (scale,) = struct.unpack(">I", content[at + 12 : at + 16])
    at = content.index(b"elst") - 4
    (size,) = struct.unpack(">I", content[at : at + 4])
    rows = [
        struct.pack(">IiI", n * 40, -1 if first is None else first * scale // 25, 1 << 16)
        for n, first in edits
    ]
    body = struct.pack(">II", 0, len(edits)) + b"".join(rows)
    content[at : at + size] = struct.pack(">I", 8 + len(body)) + b"elst" + body
    for box in (b"edts", b"trak", b"moov"):  # they follow the samples, so that no offset moves
        start = content.rindex(box, 0, at) - 4
        (outer,) = struct.unpack(">I", content[start : start + 4])
        content[start : start + 4] = struct.pack(">I", outer + 8 + len(body) - size)
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mov"])
@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
@pytest.mark.parametrize(
    ("edits", "shown"),
    [
        ([(24, 36)], range(36, 60)),
        ([(10, None), (50, 10)], range(10, 60)),
        ([(40, 0)], range(40)),
        ([(10, 5), (10, 40)], [*range(5, 15), *range(40, 50)]),
        ([(20, 0), (20, 0)], [*range(20), *range(20)]),
    ],
)
def test_an_edit_list_decides_which_frames_are_shown(name, codec, edits, shown, tmp_path, decoder):
    path = write_tracks(tmp_path / name, [(codec, COUNTING, Disposition.default)])
    replace_edits(path, edits)
    decoded = decoder.decode(path)
    greys = decoded.frames.mean((1, 2))
    assert np.abs(greys - [20 + 3 * n for n in shown]).max() < 1.5
    assert decoded.num_declared == len(shown)
    assert decoded.notes == ()


def test_a_truncated_file_with_an_edit_list_is_refused(write_video, decoder):
    path = write_video("a.mp4", COUNTING, options={"use_editlist": "1", "movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: (content.index(b"mdat") + len(content)) // 2])
    with pytest.raises(DecodeError, match=r"truncated: \d+ of 60 frames decode"):
        decoder.decode(path)


@pytest.mark.parametrize(
    ("name", "codec"), [("gap.avi", "mpeg4"), ("gap.mkv", "libx264"), ("gap.mp4", "libx264")]
)
def test_frames_dropped_while_recording_are_no_truncation(name, codec, tmp_path, decoder):
    times = [n if n < 30 else n + 7 for n in range(60)]
    path = write_tracks(tmp_path / name, [(codec, COUNTING, Disposition.default)], times)
    decoded = decoder.decode(path)
    assert np.abs(decoded.frames.mean((1, 2)) - COUNTING[:, 0, 0]).max() < 4
    notes = {
        "gap.avi": ("dropped when it was recorded, and not filled in: 7 frames",),
        "gap.mkv": (
            "its time stamps leave room for 7 more after frame 29, counted from 0: dropped when "
            "it was recorded, or lost",
        ),
        "gap.mp4": (),
    }
    assert decoded.notes == notes[name]


def test_a_part_of_a_recording_may_begin_late(tmp_path, decoder):
    track = [("libx264", COUNTING, Disposition.default)]
    path = write_tracks(tmp_path / "part2.mkv", track, range(300, 360))
    decoded = decoder.decode(path)
    assert decoded.frames.shape == (60, 48, 64)
    assert decoded.notes == ()


@pytest.mark.parametrize("name", ["cut.mkv", "cut.mp4"])
def test_a_start_without_key_frame_is_skipped_and_named(name, tmp_path, decoder):
    whole = tmp_path / "whole.avi"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream(
            "mpeg4", rate=25, options={"g": "12", "sc_threshold": "1000000000"}
        )
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for pixels in COUNTING:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="gray")))
        container.mux(stream.encode())
    path = tmp_path / name
    with av.open(str(whole)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        is_key = [packet.is_keyframe for packet in packets]
        first = is_key.index(True, 20)
        for packet in packets[first - 3 :]:
            packet.pts, packet.dts = packet.pts - first + 3, packet.dts - first + 3
            packet.stream = stream
            out.mux(packet)
    decoded = decoder.decode(path)
    assert np.abs(decoded.frames.mean((1, 2)) - COUNTING[first:, 0, 0]).max() < 4
    assert decoded.notes == ("repaired: skipped 3 frames at its start without a key frame",)


@pytest.mark.parametrize(
    ("name", "flags"), [("a.mkv", ""), ("a.mp4", "frag_keyframe+empty_moov+default_base_moof")]
)
def test_a_truncated_clip_is_noticed_without_a_count(name, flags, write_video, decoder):
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 64), np.uint8)
    path = write_video(name, noise, options={"movflags": flags} if flags else None)
    assert len(decoder.decode(path).frames) == 40
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DecodeError, match=r"truncated: \d+ of \d+ frames decode|damaged"):
        decoder.decode(path)


CLIP = ("libx264", COUNTING[:20], Disposition.default)
PICTURE = ("mjpeg", np.full((1, 32, 32), 235, np.uint8), Disposition.attached_pic)
PREVIEW = ("mjpeg", np.full((1, 32, 32), 235, np.uint8), Disposition.default)
AVI_CLIP = ("mpeg4", COUNTING[:20], Disposition.default)


@pytest.mark.parametrize(
    ("name", "tracks"),
    [
        ("a.mp4", [PICTURE, CLIP]),
        ("a.mp4", [CLIP, PICTURE]),
        ("a.mov", [PREVIEW, CLIP]),
        ("a.mp4", [CLIP, PREVIEW]),
        ("a.avi", [PREVIEW, AVI_CLIP]),
    ],
)
def test_a_cover_or_preview_picture_is_never_the_clip(name, tracks, tmp_path, decoder):
    decoded = decoder.decode(write_tracks(tmp_path / name, tracks))
    assert decoded.frames.shape == (20, 48, 64)
    assert decoded.notes == ("skipped 1 cover or preview picture",)


def test_cover_art_that_stands_before_the_track_is_skipped(write_video, decoder):
    def box(kind, content):
        return struct.pack(">I", 8 + len(content)) + kind + content

    jpeg = io.BytesIO()
    Image.new("L", (32, 32), 255).save(jpeg, "JPEG")
    cover = box(b"covr", box(b"data", struct.pack(">II", 13, 0) + jpeg.getvalue()))
    handler = box(b"hdlr", struct.pack(">II4s4s9x", 0, 0, b"mdir", b"appl"))
    tags = box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", cover)))
    path = write_video("a.mp4", COUNTING[:20])
    content = path.read_bytes()
    at = content.index(b"moov") - 4
    (size,) = struct.unpack(">I", content[at : at + 4])
    head = content[:at] + struct.pack(">I", size + len(tags)) + b"moov"
    path.write_bytes(head + tags + content[at + 8 :])
    assert decoder.decode(path).frames.shape == (20, 48, 64)


def test_a_matroska_with_an_attached_cover_gives_its_clip(tmp_path, decoder):
    jpeg = io.BytesIO()
    Image.new("L", (32, 32), 255).save(jpeg, "JPEG")
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        container.add_attachment("cover.jpg", "image/jpeg", jpeg.getvalue())
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for pixels in COUNTING[:20]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="gray")))
        container.mux(stream.encode())
    decoded = decoder.decode(tmp_path / "a.mkv")
    assert decoded.frames.shape == (20, 48, 64)
    assert decoded.notes == ("skipped 1 cover or preview picture",)


MPEG_CLIP = ("mpeg2video", COUNTING[:20], Disposition.default)
WMV_CLIP = ("wmv2", COUNTING[:20], Disposition.default)


@pytest.mark.parametrize(
    ("name", "track"),
    [
        ("a.mp4", CLIP),
        ("a.mov", CLIP),
        ("a.mkv", CLIP),
        ("a.avi", AVI_CLIP),
        ("a.mpg", MPEG_CLIP),
        ("a.wmv", WMV_CLIP),
        ("one.mp4", ("libx264", COUNTING[:1], Disposition.default)),
    ],
)
def test_two_video_tracks_are_refused_with_the_remedy(name, track, tmp_path, decoder):
    path = write_tracks(tmp_path / name, [track, track])
    with pytest.raises(DecodeError, match="holds 2 video tracks or image tiles; export one"):
        decoder.decode(path)


def test_nothing_but_cover_art_is_refused(tmp_path, decoder):
    path = write_tracks(tmp_path / "a.mp4", [PICTURE])
    with pytest.raises(DecodeError, match="cover art but no video"):
        decoder.decode(path)
