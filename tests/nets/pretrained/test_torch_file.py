"""Torch files: what `torch.save` writes is read; hostile files end in one line and run nothing."""

import random
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from os import system
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lus_ray.errors import CheckpointError
from lus_ray.nets import TSM
from lus_ray.nets.pretrained import torch_file
from lus_ray.nets.pretrained.torch_file import TorchFileReader

assert_same = partial(assert_close, rtol=0, atol=0)
LAYOUTS = pytest.mark.parametrize("is_zip", [True, False])


@pytest.fixture(scope="module")
def reader() -> Iterator[TorchFileReader]:
    with TorchFileReader() as reader:
        yield reader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.pth"


def small_state() -> dict[str, Tensor]:
    x = torch.arange(12.0).reshape(3, 4)
    views = OrderedDict(plain=x, part=x[1], transposed=x.T, half=x.half(), brain=x.bfloat16())
    return views | {"count": torch.tensor(7), "empty": torch.empty(0, 3), "p": nn.Parameter(x + 1)}


def save(state: object, path: Path, *, is_zip: bool = True) -> Path:
    torch.save(state, path, _use_new_zipfile_serialization=is_zip)
    return path


def refuse(reader: TorchFileReader, path: Path, match: str = ".") -> None:
    with pytest.raises(CheckpointError, match=match) as refusal:
        reader.read(path)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith(f"{path}: ")


@pytest.mark.slow
@LAYOUTS
@pytest.mark.parametrize("state", [small_state(), TSM(3, width=8).state_dict()])
def test_files_of_both_layouts_are_read(reader, state: dict, is_zip: bool, path: Path):
    assert_same(reader.read(save(state, path, is_zip=is_zip)), state)


@pytest.mark.parametrize("key", ["state_dict", "model_state", "model"])
def test_weights_within_a_training_checkpoint_are_found(reader, key: str, path: Path):
    script = {"epoch": 3, "arch": "tsm", "best": 0.5, key: small_state(), "other": [1, (2, None)]}
    assert_same(reader.read(save(script, path)), small_state())


class Bomb:
    """Pickles to a call of a function."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call


@LAYOUTS
@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [(Path.mkdir, Path, "getattr"), (system, "mkdir {}".format, "posix.system")],
)
def test_code_in_a_file_is_named_and_never_runs(reader, is_zip, function, argument, name, path):
    canary = path.with_name("canary")
    save({"a": torch.ones(2), "b": Bomb(function, (argument(canary),))}, path, is_zip=is_zip)
    refuse(reader, path, f"asks for '{name}', .* save the plain state_dict")
    assert not canary.exists()


@pytest.mark.parametrize(
    "value", [torch.ones(2).to_sparse(), torch.ones(2, device="meta"), [torch.ones(2)], 3], ids=repr
)
def test_anything_but_named_plain_tensors_is_refused(reader, value: object, path: Path):
    refuse(reader, save({"a": value}, path), "no state dict of named tensors")


def write_archive(path: Path, program: bytes, storage: bytes = b"", **settings: int) -> Path:
    """A torch zip file around a pickle written by hand."""
    with zipfile.ZipFile(path, "w", **settings) as archive:
        archive.writestr("archive/version", "3")
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", storage)
    return path


def tensor_program(
    *, offset: int = 0, size: int = 2, stride: int = 1, num_values: int = 2, times: int = 1
) -> bytes:
    """Pickle of {"a0": tensor} with a one-axis tensor of storage "0"."""

    def number(value: int) -> bytes:
        return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)

    def word(text: str) -> bytes:
        return b"X" + struct.pack("<I", len(text)) + text.encode()

    storage = b"(" + word("storage") + b"ctorch\nFloatStorage\n" + word("0") + word("cpu")
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(num_values) + b"tQ"
    call += number(offset) + number(size) + b"\x85" + number(stride) + b"\x85\x89}tR"
    pairs = b"".join(word(f"a{i}") + call for i in range(times))
    return b"\x80\x02}(" + pairs + b"u."


def test_tensors_that_reach_beyond_their_bytes_are_refused(reader, path: Path):
    values = struct.pack("<2f", 1, 2)
    assert reader.read(write_archive(path, tensor_program(), values))["a0"].tolist() == [1, 2]
    for name, value in (
        *(("offset", 1), ("offset", -1), ("size", 3), ("size", -1), ("size", 1 << 40)),
        *(("stride", 1 << 50), ("num_values", 1 << 40), ("num_values", -2)),
    ):
        refuse(reader, write_archive(path, tensor_program(**{name: value}), values))
    refuse(reader, write_archive(path, tensor_program(size=1 << 40, stride=0), values))
    many = tensor_program(times=500, size=1 << 20, num_values=1 << 20)
    refuse(reader, write_archive(path, many, bytes(4 << 20)), "claim more bytes than the file has")


PROGRAMS = (
    b"\x80\x02" + b"}0" * 3_000_000,
    b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",  # contains itself
    *(b"", b"\x80\x02}", b"\x80\x02.", b"\x80\x02}u.", b"\x80\x02h\x07."),  # incomplete
    *(b"\x80\x04\x8c\x02os\x8c\x06system\x93.", b"(S'true'\nios\nsystem\n."),  # imports
    b"\x80\x02\x82\x01.",  # an extension
    *(b"\x80\x02].", b"\x80\x02X\x01\x00\x00\x00a."),  # other types
    b"\x80\x02\x8b\xff\xff\xff\x7f.",  # a giant number
    bytes(range(256)) * 40,
)
NESTED_KEYS = b"q\x01h\x01\x86" * 60


def test_hostile_programs_are_refused(reader, path: Path):
    for program in PROGRAMS:
        refuse(reader, write_archive(path, program))


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02" + b"}" * 5_000_000 + b".",
        b"\x80\x02})" + NESTED_KEYS + b"K\x01s.",
        bytes(60 << 20),
    ],
    ids=["many instructions", "nested keys", "a compressed bomb"],
)
def test_files_that_keep_the_reader_busy_are_refused(reader, program, path, monkeypatch):
    monkeypatch.setattr(torch_file, "BASE_SECONDS", 0.5)
    write_archive(path, program, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    refuse(reader, path, "takes longer than|damaged|not a readable")


def test_a_reader_short_of_memory_refuses_the_file_and_lives(reader, path, monkeypatch):
    save({"a": torch.zeros(4 << 20)}, path)
    monkeypatch.setattr(torch_file, "BASE_BYTES", -8 * path.stat().st_size)
    refuse(reader, path, "memory")
    monkeypatch.undo()
    assert len(reader.read(path)["a"]) == 4 << 20


def test_other_files_and_an_archive_of_countless_entries_are_refused(reader, path: Path):
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0)
    directory = (entry + b"ab") * 1_000_000
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, len(directory), 4, 0)
    for content in (b"", b"<html>404</html>", b"PK\3\4", bytes(2000), b"PK\3\4" + directory + end):
        path.write_bytes(content)
        refuse(reader, path)


@pytest.mark.parametrize("listed", [b"]K\0a.", b"])" + NESTED_KEYS + b"a.", b"X\1\0\0\0" + b"0."])
def test_a_hostile_list_of_storages_is_refused(reader, listed, path, monkeypatch):
    monkeypatch.setattr(torch_file, "BASE_SECONDS", 0.5)
    save({"a": torch.ones(2)}, path, is_zip=False)
    content = path.read_bytes()
    keys = content.rindex(b"\x80\x02]")
    path.write_bytes(content[: keys + 2] + listed + content[-16:])
    refuse(reader, path)


@LAYOUTS
def test_a_file_cut_anywhere_is_refused(reader, is_zip: bool, path: Path):
    content = save(small_state(), path, is_zip=is_zip).read_bytes()
    for percent in range(0, 100, 10):
        path.write_bytes(content[: len(content) * percent // 100])
        refuse(reader, path)


@LAYOUTS
def test_wrong_bytes_are_refused_or_harmless(reader, is_zip: bool, path: Path):
    save({"a": torch.ones(3, 4)}, path, is_zip=is_zip)
    content, rng = path.read_bytes(), random.Random(0)
    for _ in range(25):
        wrong = bytearray(content)
        wrong[rng.randrange(len(wrong))] = rng.randrange(256)
        path.write_bytes(wrong)
        with suppress(CheckpointError):
            assert sum(tensor.numel() for tensor in reader.read(path).values()) <= 12


@pytest.mark.slow
def test_a_lost_process_is_reported_and_started_again(reader, path: Path):
    save(small_state(), path)
    reader.start()
    reader.process.kill()
    refuse(reader, path, "run again")
    assert_same(reader.read(path), small_state())
