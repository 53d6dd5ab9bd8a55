import numpy as np
import pytest
from PIL import Image

from lus_ray.data.decoding.blank_blocks import BLANK
from lus_ray.data.decoding.damage import list_ranges
from lus_ray.errors import DecodeError

CODECS = {
    "h264.mp4": {"options": {}},
    "h264.mkv": {"options": {}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "divx.avi": {"codec": "msmpeg4"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mpeg1.mpg": {"codec": "mpeg1video"},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "wmv1.wmv": {"codec": "wmv1"},
    "wmv2.wmv": {"codec": "wmv2"},
    "av1.mp4": {"codec": "libsvtav1"},
    "png.mov": {"codec": "png", "pix_fmt": "gray"},
}
BLIND = {"vp8.webm": {"codec": "libvpx"}, "vp9.webm": {"codec": "libvpx-vp9"}}
"""Codecs that notice blank blocks alone."""


@pytest.fixture(scope="module")
def moving():
    """Thirty frames (96, 128) of smoothed noise that moves 2 pixels per frame."""
    noise = np.random.default_rng(5).integers(40, 200, (96, 128))
    texture = ((noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) // 3).astype(np.uint8)
    return np.stack([np.roll(texture, 2 * n, 1) for n in range(30)])


def scatter(content, rng):
    start = len(content) // 3
    for at in range(start, start + len(content) // 10, 37):
        content[at] = rng.integers(0, 256)


def blank(content, rng):
    start = len(content) // 3
    content[start : start + 1024] = bytes(1024)


def swap(content, rng):
    first, second = len(content) // 3, len(content) // 2
    blocks = bytes(content[first : first + 512]), bytes(content[second : second + 512])
    content[second : second + 512], content[first : first + 512] = blocks


def lose(content, rng):
    start = len(content) // 3
    del content[start : start + 512]


@pytest.mark.parametrize("name", CODECS)
def test_damage_in_the_middle_is_never_stored_as_right(name, write_video, moving, decoder):
    path = write_video(name, moving, **CODECS[name])
    whole = decoder.decode(path)
    assert len(whole.frames) == 30
    assert not any(note.startswith("repaired") for note in whole.notes)
    right = {frame.tobytes() for frame in whole.frames}
    content = path.read_bytes()
    for damage in (scatter, blank, swap, lose):
        hurt = bytearray(content)
        damage(hurt, np.random.default_rng(9))
        path.write_bytes(hurt)
        try:
            decoded = decoder.decode(path)
        except DecodeError as error:
            assert "\n" not in str(error)  # noqa: PT017
            continue
        assert {frame.tobytes() for frame in decoded.frames} <= right, damage
        assert any(note.startswith("repaired") for note in decoded.notes), damage


@pytest.mark.parametrize("name", BLIND)
def test_a_blank_block_is_noticed_in_codecs_without_redundancy(name, write_video, moving, decoder):
    path = write_video(name, moving, **BLIND[name])
    assert len(decoder.decode(path).frames) == 30
    content = bytearray(path.read_bytes())
    blank(content, None)
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"damaged|truncated"):
        decoder.decode(path)


def save_jpeg(path, texture, **options):
    Image.fromarray(texture).save(path, quality=92, **options)
    return bytearray(path.read_bytes())


@pytest.mark.parametrize("damage", [scatter, blank, lose])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_damaged_in_the_middle_is_refused(damage, progressive, moving, tmp_path, decoder):
    path = tmp_path / "a.jpg"
    content = save_jpeg(path, moving[0], progressive=progressive)
    assert len(decoder.decode(path).frames) == 1
    damage(content, np.random.default_rng(9))
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"a\.jpg: damaged: frame 0 of 1.*copy it again"):
        decoder.decode(path)


def test_harmless_oddities_of_a_jpeg_are_read(moving, tmp_path, decoder):
    path = tmp_path / "a.jpg"
    content = bytes(save_jpeg(path, moving[0]))
    frames = decoder.decode(path).frames
    exif = b"\xff\xe1\x00\x10Exif\0\0II*\0" + b"\xff" * 4
    zeros = b"\xff\xe2\x01\x02" + bytes(256)
    for odd in (
        content + bytes(300),
        *(content[:2] + part + content[2:] for part in (exif, zeros)),
    ):
        path.write_bytes(odd)
        assert np.array_equal(decoder.decode(path).frames, frames)
    black = np.zeros((512, 512), np.uint8)  # its flat blocks are runs of zeros
    black[:8, :8] = moving[0, :8, :8]
    assert BLANK in bytes(save_jpeg(path, black, optimize=True))
    assert np.abs(decoder.decode(path).frames[0].astype(int) - black).max() < 20


def test_one_damaged_frame_of_many_is_removed_and_named(write_video, moving, decoder):
    path = write_video("a.avi", moving, codec="mjpeg", pix_fmt="yuvj420p")
    whole = decoder.decode(path).frames
    content = bytearray(path.read_bytes())
    start = [at for at in range(len(content) - 4) if content[at : at + 4] == b"\xff\xd8\xff\xe0"]
    start = start or [at for at in range(len(content) - 2) if content[at : at + 2] == b"\xff\xd8"]
    content[start[7] + 900 : start[7] + 1100] = bytes(200)
    path.write_bytes(content)
    decoded = decoder.decode(path)
    assert np.array_equal(decoded.frames, np.delete(whole, 7, axis=0))
    named, counted = decoded.notes
    assert named.startswith("repaired: removed frame 7 of 30, counted from 0, as damaged")
    assert counted == "repaired: 29 of 30 frames decode"


def test_frames_predicted_from_a_damaged_one_are_damaged_too(write_video, moving, decoder):
    path = write_video("a.avi", moving, codec="mpeg4")  # a key frame every 12 frames
    content = bytearray(path.read_bytes())
    movie = content.index(b"movi")
    chunks = [at for at in range(movie, len(content)) if content[at : at + 4] == b"00dc"]
    content[chunks[14] + 30 : chunks[14] + 60] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"a\.avi: damaged: frames 14-23 of 30.*; copy it again"):
        decoder.decode(path)


def test_an_avi_that_lost_its_index_and_key_frame_is_refused(write_video, moving, decoder):
    path = write_video("a.avi", moving, codec="msmpeg4")
    content = bytearray(path.read_bytes())
    del content[content.rindex(b"idx1") :]
    first = content.index(b"00dc", content.index(b"movi"))
    content[first + 40 : first + 1000] = bytes(960)
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"damaged: frames 0-\d+ of 30"):
        decoder.decode(path)


@pytest.mark.parametrize(
    ("numbers", "words"), [([], ""), ([3], "3"), ([3, 8, 9, 10, 12], "3, 8-10, 12")]
)
def test_numbers_are_listed_as_ranges(numbers, words):
    assert list_ranges(numbers) == words
