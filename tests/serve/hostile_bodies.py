"""Complete requests with hostile or damaged bodies, from a seeded generator.

Clients that violate HTTP itself are in `bad_clients`.
"""

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from lus_ray.inference.limits import CLIP_LIMITS
from tests.data.decoding import dicom_files
from tests.serve.service import to_video

CANARY = "Mustermann-4711"
"""The name of every file here, which no response and no log may repeat."""
RAW = "application/octet-stream"
FORM = "multipart/form-data; boundary=edge"


@dataclass(frozen=True)
class Attack:
    name: str
    body: bytes
    kind: str = RAW
    query: str = ""


def clips(folder: Path) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (3, 48, 64), dtype=np.uint8)
    pictures = [Image.fromarray(frame) for frame in frames]
    gif, png = io.BytesIO(), io.BytesIO()
    pictures[0].save(gif, "gif", save_all=True, append_images=pictures[1:])
    pictures[0].save(png, "png")
    dicom = dicom_files.write(folder / "a.dcm", dicom_files.fan(2), PatientName=CANARY)
    return {
        "mp4": to_video(frames),
        "gif": gif.getvalue(),
        "png": png.getvalue(),
        "dicom": dicom.read_bytes(),
    }


def attacks(valid: dict[str, bytes], num: int, rng: np.random.Generator) -> list[Attack]:
    """Every wrong type, bomb and form, then damaged clips, in random order."""
    fixed = [*wrong_types(rng), *bombs(), *forms(valid["png"])]
    every = [*fixed, *islice(damaged(valid, rng), num - len(fixed))]
    return [every[n] for n in rng.permutation(len(every))]


def damaged(valid: dict[str, bytes], rng: np.random.Generator) -> Iterator[Attack]:
    queries = ("", "", "", "?preview=1", "?allow_text=1", "?uncertainty=1&preview=2")
    while True:
        for name, clip in valid.items():
            donor = list(valid.values())[rng.integers(len(valid))]
            query = queries[rng.integers(len(queries))]
            bodies = {
                "flipped": _flipped(clip, rng),
                "flipped in its headers": _flipped(clip[:200], rng) + clip[200:],
                "cut": clip[: rng.integers(1, len(clip))],
                "zeroed": _zeroed(clip, rng),
                "spliced": _spliced(clip, donor, rng),
            }
            for change, body in bodies.items():
                yield Attack(f"{name} {change}", body, query=query)


def wrong_types(rng: np.random.Generator) -> Iterator[Attack]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"../../{CANARY}", b"x" * 1000)
    contents = {
        "html": b"<!doctype html><html><script>alert(1)</script></html>",
        "json": json.dumps({"file": "/etc/passwd"}).encode(),
        "zip": packed.getvalue(),
        "pickle": pickle.dumps({"a": print}),
        "elf": b"\x7fELF\x02\x01\x01" + bytes(200),
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
        "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "noise": rng.bytes(5000),
        "zeros": bytes(5000),
        "nothing": b"",
        "one byte": b"\0",
    }
    kinds = (RAW, "video/mp4", "image/gif", "text/html", "application/json", "a/b; c=\xff", "")
    for name, content in contents.items():
        for kind in kinds:
            yield Attack(name, content, kind)
        yield Attack(f"{name} in a form", form(content), FORM)


def bombs() -> Iterator[Attack]:
    wide = Image.new("1", (20_000, 20_000))
    png, gif = io.BytesIO(), io.BytesIO()
    wide.save(png, "png", compress_level=9)
    first, *rest = (Image.new("L", (4, 4), n % 256) for n in range(CLIP_LIMITS.num_frames + 500))
    first.save(gif, "gif", save_all=True, append_images=rest, duration=10)
    yield Attack("bomb of pixels", png.getvalue())
    yield Attack("bomb of frames", gif.getvalue())
    yield Attack("bomb by its header", png_with_size(2**31 - 1, 2**31 - 1))
    yield Attack("bomb by one side", png_with_size(1, 2**31 - 1))
    screen = struct.pack("<HH", 65535, 65535)
    yield Attack("gif of a huge screen", b"GIF89a" + screen + b"\0\0\0\0;")


def png_with_size(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def forms(clip: bytes) -> Iterator[Attack]:
    names = (
        f"../../../etc/{CANARY}", f"..\\..\\{CANARY}.mp4", f"{CANARY}\0.png", CANARY * 2000,
        f"/proc/self/environ/{CANARY}", f"%2e%2e%2f{CANARY}", f"{CANARY};rm -rf /", f'{CANARY}"',
        f"{CANARY}\r\nX-Evil: 1", "", f"CON.{CANARY}", f"🫁{CANARY}",
    )  # fmt: skip
    for name in names:
        yield Attack("name in a form", form(clip, name=name), FORM)
    whole, inner = form(clip), form(clip).replace(b"edge", b"inner")
    header = b'--edge\r\nContent-Disposition: form-data; name="file"\r\n'
    for kind in ("", '; boundary=""', f"; boundary={'b' * 5000}", "; boundary=other"):
        yield Attack("bad boundary", whole, f"multipart/form-data{kind}")
    nested = b"Content-Type: multipart/mixed; boundary=inner\r\n\r\n" + inner
    bodies = {
        "boundary alone": b"--edge--",
        "without its end": whole[:-12],
        "nested form": header + nested + b"\r\n--edge--\r\n",
        "two files": whole.removesuffix(b"--edge--\r\n") + whole,
        "no name": whole.replace(b'name="file"', b""),
        "many headers": header + b"X-A: b\r\n" * 5000 + b"\r\nx\r\n--edge--\r\n",
        "long header": header + b"X-A: " + b"b" * 100_000 + b"\r\n\r\nx\r\n--edge--",
        "many parts": (header + b"\r\nx\r\n") * 5000 + b"--edge--\r\n",
        "many fields": (header.replace(b"file", b"a") + b"\r\nx\r\n") * 5000 + b"--edge--\r\n",
    }
    for name, body in bodies.items():
        yield Attack(name, body, FORM)


def form(content: bytes, *, name: str = f"{CANARY}.mp4") -> bytes:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return b"--edge\r\n" + disposition.encode() + b"\r\n\r\n" + content + b"\r\n--edge--\r\n"


def _flipped(clip: bytes, rng: np.random.Generator) -> bytes:
    bits = np.frombuffer(clip, np.uint8).copy()
    indices = rng.integers(0, len(bits), rng.integers(1, 17))
    bits[indices] ^= np.uint8(1) << rng.integers(0, 8, len(indices), dtype=np.uint8)
    return bits.tobytes()


def _zeroed(clip: bytes, rng: np.random.Generator) -> bytes:
    begin = rng.integers(0, len(clip))
    length = min(int(rng.integers(1, 400)), len(clip) - begin)
    return clip[:begin] + bytes(length) + clip[begin + length :]


def _spliced(clip: bytes, donor: bytes, rng: np.random.Generator) -> bytes:
    begin, end = sorted(rng.integers(0, len(donor), 2))
    index = rng.integers(0, len(clip))
    return clip[:index] + donor[begin:end] + clip[index:]
