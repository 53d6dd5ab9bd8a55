import struct

import av
import numpy as np
import pytest
from PIL import Image

from lus_ray.errors import DecodeError

UPRIGHT = np.kron(np.array([[40, 100], [160, 220]], np.uint8), np.ones((24, 32), np.uint8))
ONE = 1 << 16
# Exif number: stored from upright, (a, b, c, d) of the matrix, what is done.
ORIENTATIONS = {
    1: (lambda a: a, (1, 0, 0, 1), ()),
    2: (np.fliplr, (-1, 0, 0, 1), ("mirrored left to right",)),
    3: (lambda a: np.rot90(a, 2), (-1, 0, 0, -1), ("rotated by 180 degrees",)),
    4: (np.flipud, (1, 0, 0, -1), ("mirrored top to bottom",)),
    5: (
        np.transpose,
        (0, 1, 1, 0),
        ("mirrored left to right and rotated by 270 degrees clockwise",),
    ),
    6: (np.rot90, (0, 1, -1, 0), ("rotated by 90 degrees clockwise",)),
    7: (
        lambda a: np.rot90(a.T, 2),
        (0, -1, -1, 0),
        ("mirrored left to right and rotated by 90 degrees clockwise",),
    ),
    8: (lambda a: np.rot90(a, -1), (0, -1, 1, 0), ("rotated by 270 degrees clockwise",)),
}


def stored(number, num_frames=1):
    """Frames (T, H, W) that a file of this Exif orientation holds."""
    pixels = np.ascontiguousarray(ORIENTATIONS[number][0](UPRIGHT))
    return pixels[None].repeat(num_frames, axis=0)


def set_matrix(path, matrix):
    """Overwrite the nine numbers of the track header, of version 0."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(content)
    return path


def matrix_of(a, b, c, d, scale=ONE):
    return [a * scale, b * scale, 0, c * scale, d * scale, 0, 5 * ONE, 0, 1 << 30]


def assert_upright(decoded, notes=None):
    assert (decoded.height, decoded.width) == UPRIGHT.shape
    assert np.abs(decoded.frames.astype(int) - UPRIGHT).max() <= 6
    if notes is not None:
        assert decoded.notes == tuple(f"{note}, as its container asks" for note in notes)


@pytest.mark.parametrize("number", ORIENTATIONS)
def test_every_orientation_is_upright_in_jpeg_png_and_mp4(number, write_video, tmp_path, decoder):
    _, quarter, notes = ORIENTATIONS[number]
    exif = Image.Exif()
    exif[0x0112] = number
    for name in ("a.jpg", "a.png"):
        Image.fromarray(stored(number)[0]).save(tmp_path / name, exif=exif)
        assert_upright(decoder.decode(tmp_path / name), notes)
    path = write_video("a.mp4", stored(number, 3))
    for scale in (ONE, 3 * ONE):  # a uniform scale changes nothing
        assert_upright(decoder.decode(set_matrix(path, matrix_of(*quarter, scale))), notes)


@pytest.mark.parametrize("name", ["a.mkv", "a.mov"])
def test_a_mirrored_quarter_turn_is_upright_in_other_containers(name, tmp_path, decoder):
    pixels = np.ascontiguousarray(np.rot90(np.fliplr(UPRIGHT)))
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *pixels.shape, "yuv420p"
        stream.set_display_rotation(-90, hflip=True)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="gray")))
        container.mux(stream.encode())
    assert_upright(decoder.decode(tmp_path / name))


def display_orientation(degrees, hor_flip):
    """H.264 SEI message of type 47 with its length; `degrees` anticlockwise, held until the end."""
    bits = f"0{hor_flip}0{round(degrees / 360 * 65536):016b}" + "0100" + "1"
    payload = int(bits.ljust(24, "0"), 2).to_bytes(3, "big")
    message = b"\x06\x2f\x03" + payload + b"\x80"
    return len(message).to_bytes(4, "big") + message


@pytest.mark.parametrize(("degrees", "hor_flip", "number"), [(0, 1, 2), (90, 0, 8), (270, 0, 6)])
def test_the_message_within_h264_holds_for_the_frames_after_it(
    degrees, hor_flip, number, write_video, tmp_path, decoder
):
    path = tmp_path / "b.mp4"
    with (
        av.open(str(write_video("a.mp4", stored(number, 3)))) as source,
        av.open(str(path), "w") as out,
    ):
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                message = display_orientation(degrees, hor_flip) if packet.is_keyframe else b""
                copy = av.Packet(message + bytes(packet))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.is_keyframe, copy.stream = packet.is_keyframe, stream
                out.mux(copy)
    assert_upright(decoder.decode(path), ORIENTATIONS[number][2])


@pytest.mark.parametrize(
    "matrix",
    [
        (56756, 32768, 0, -32768, 56756, 0, 0, 0, 1 << 30),  # 30 degrees
        matrix_of(2, 0, 0, 1),
        matrix_of(1, 1, 0, 1),
        matrix_of(1, 0, 0, 0),
        (ONE, 0, ONE, 0, ONE, 0, 0, 0, 1 << 30),  # perspective
    ],
)
def test_any_other_matrix_is_refused_with_a_remedy(matrix, write_video, decoder):
    path = set_matrix(write_video("a.mp4", stored(1, 2)), matrix)
    with pytest.raises(DecodeError, match=r"a\.mp4: its display matrix .* export it upright"):
        decoder.decode(path)


def test_an_empty_matrix_means_upright(write_video, decoder):
    assert_upright(decoder.decode(set_matrix(write_video("a.mp4", stored(1, 2)), (0,) * 9)), ())
