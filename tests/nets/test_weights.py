"""Weights: files that torch and safetensors write are read, hostile ones are refused in time."""

import json
import struct
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from lus_ray.errors import CheckpointError
from lus_ray.nets import I3D, TSM, resnet18
from lus_ray.nets.pretrained import weights

ZIP, STREAM = True, False


def small_state() -> dict[str, Tensor]:
    whole = torch.arange(12.0).reshape(3, 4)
    return OrderedDict(
        plain=whole,
        part=whole[1],
        transposed=whole.T,
        half=whole.half(),
        brain=whole.bfloat16(),
        count=torch.tensor(7),
        empty=torch.empty(0, 3),
        parameter=nn.Parameter(whole + 1),
    )


def same(state: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return state.keys() == expected.keys() and all(
        state[name].dtype == tensor.dtype and torch.equal(state[name], tensor)
        for name, tensor in expected.items()
    )


@pytest.mark.parametrize("layout", [ZIP, STREAM])
def test_torch_files_of_both_layouts_are_read_as_torch_reads_them(layout: bool, tmp_path: Path):
    state = small_state()
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=layout)
    assert same(weights.read(tmp_path / "w.pth"), state)


@pytest.mark.parametrize("layout", [ZIP, STREAM])
def test_a_state_dict_of_a_network_is_read_with_its_version_notes(layout: bool, tmp_path: Path):
    state = TSM(3, width=8).state_dict()
    assert state._metadata
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=layout)
    assert same(weights.read(tmp_path / "w.pth"), state)


@pytest.mark.parametrize("key", ["state_dict", "model_state", "model"])
def test_weights_inside_the_checkpoint_of_a_training_script_are_found(key: str, tmp_path: Path):
    state = small_state()
    script = {"epoch": 3, "arch": "tsm", "best": 0.5, key: state, "other": [1, (2, None, True)]}
    torch.save(script, tmp_path / "w.pyth")
    assert same(weights.read(tmp_path / "w.pyth"), state)


def test_safetensors_are_read(tmp_path: Path):
    state = {name: t.detach().clone().contiguous() for name, t in small_state().items()}
    save_file(state, tmp_path / "w.safetensors")
    assert same(weights.read(tmp_path / "w.safetensors"), state)


# Hostile and damaged files


class Canary:
    """Pickles to a call that makes a folder; where the folder exists, code has run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return Path.mkdir, (self.folder,)


class Shell:
    """Pickles to a shell command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        from os import system

        return system, (f"mkdir {self.folder}",)


@pytest.mark.parametrize("layout", [ZIP, STREAM])
@pytest.mark.parametrize(("bomb", "called"), [(Canary, "getattr"), (Shell, "system")])
def test_code_in_a_torch_file_is_named_and_never_runs(
    layout: bool, bomb: Callable, called: str, tmp_path: Path
):
    state = {"weight": torch.ones(2), "bias": bomb(tmp_path / "canary")}
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=layout)
    with pytest.raises(CheckpointError, match=rf"asks for '\w+\.{called}'"):
        weights.read(tmp_path / "w.pth")
    assert not (tmp_path / "canary").exists()


def with_program(path: Path, program: bytes, **entries: bytes) -> Path:
    """A torch zip file around a pickle made by hand."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        for name, content in entries.items():
            archive.writestr(f"archive/data/{name}", content)
    return path


def tensor_program(
    *, offset: int = 0, size: int = 2, stride: int = 1, num_values: int = 2, times: int = 1
) -> bytes:
    """Pickle text of {"a": tensor} with a one-axis tensor of storage "0"."""

    def number(value: int) -> bytes:
        raw = value.to_bytes(16, "little", signed=True)
        return b"\x8a" + bytes([len(raw)]) + raw

    def word(text: str) -> bytes:
        return b"X" + struct.pack("<I", len(text)) + text.encode()

    storage = b"(" + word("storage") + b"ctorch\nFloatStorage\n" + word("0") + word("cpu")
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(num_values) + b"tQ"
    call += number(offset) + number(size) + b"\x85" + number(stride) + b"\x85\x89}tR"
    pairs = b"".join(word(f"a{i}") + call for i in range(times))
    return b"\x80\x02}(" + pairs + b"u."


def test_the_program_made_by_hand_is_a_sound_one(tmp_path: Path):
    path = with_program(tmp_path / "w.pth", tensor_program(), **{"0": struct.pack("<2f", 1, 2)})
    assert weights.read(path)["a0"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": 1},
        {"offset": -1},
        {"size": 3},
        {"size": -1},
        {"size": 1 << 40},
        {"size": 1 << 40, "stride": 0},
        {"stride": 1 << 50},
        {"num_values": 1 << 40},
        {"num_values": -2},
        {"times": 500},
    ],
    ids=str,
)
def test_tensors_that_reach_beyond_their_bytes_are_refused(wrong: dict, tmp_path: Path):
    values = struct.pack("<2f", 1, 2) if "times" not in wrong else bytes(4 << 20)
    if "times" in wrong:
        wrong = {**wrong, "size": 1 << 20, "num_values": 1 << 20}
    path = with_program(tmp_path / "w.pth", tensor_program(**wrong), **{"0": values})
    refused_within_a_second(path, match="damaged|does not have its bytes|claim more bytes")


PROGRAMS = {
    "endless": b"\x80\x02" + b"}0" * 3_000_000,
    "many instructions": b"\x80\x02" + b"}" * 5_000_000 + b".",
    "self-containing": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "nested keys": b"\x80\x02})" + b"q\x01h\x01\x86" * 60 + b"K\x01s.",
    "empty": b"",
    "no end": b"\x80\x02}",
    "empty stack": b"\x80\x02.",
    "no mark": b"\x80\x02}u.",
    "unknown note": b"\x80\x02h\x07.",
    "import by stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "instance": b"(S'true'\nios\nsystem\n.",
    "extension": b"\x80\x02\x82\x01.",
    "a list": b"\x80\x02].",
    "a text": b"\x80\x02X\x01\x00\x00\x00a.",
    "a giant number": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "noise": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_hostile_programs_are_refused(name: str, tmp_path: Path):
    refused_within_a_second(with_program(tmp_path / "w.pth", PROGRAMS[name]))


def test_a_compressed_bomb_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(200 << 20))
    assert (tmp_path / "w.pth").stat().st_size < 1 << 20
    refused_within_a_second(tmp_path / "w.pth")


def test_an_archive_of_countless_entries_is_refused_before_it_is_listed(tmp_path: Path):
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0)
    directory = (entry + b"ab") * 1_000_000
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, len(directory), 4, 0)
    (tmp_path / "w.pth").write_bytes(b"PK\3\4" + directory + end)
    refused_within_a_second(tmp_path / "w.pth", match="more entries")


def safetensors_file(path: Path, header: object, data: bytes, *, length: int | None = None) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "num_bytes", "length"),
    [
        ({"a": entry([2], 0, 8)}, 8, 1 << 62),
        ({"a": entry([2], 0, 8)}, 8, 200 << 20),
        ({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, 12, None),
        ({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, 8, None),
        ({"a": entry([3], 0, 8)}, 8, None),
        ({"a": entry([1 << 62, 4], 0, 8)}, 8, None),
        ({"a": entry([2], 0, 8)}, 4, None),
        ({"a": entry([2], 8, 0)}, 8, None),
        ({"a": entry([-2], 0, 8)}, 8, None),
        ({"a": entry([2], 0, 8, "EVIL")}, 8, None),
        (["not", "a", "table"], 0, None),
    ],
    ids=[
        "endless header",
        "huge header",
        "overlap",
        "same bytes twice",
        "wrong shape",
        "overflowing shape",
        "cut short",
        "backwards",
        "negative shape",
        "unknown type",
        "a list",
    ],
)
def test_hostile_safetensors_are_refused(
    header: object, num_bytes: int, length: int | None, tmp_path: Path
):
    path = safetensors_file(tmp_path / "w.safetensors", header, bytes(num_bytes), length=length)
    refused_within_a_second(path)


def test_a_header_larger_than_any_table_of_tensors_is_refused_unread(tmp_path: Path):
    header = {"__metadata__": {"padding": "x" * (9 << 20)}, "a": entry([2], 0, 8)}
    path = safetensors_file(tmp_path / "w.safetensors", header, bytes(8))
    refused_within_a_second(path, match="a header of 94")


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\3\4", bytes(2000)])
def test_other_files_are_refused_in_one_line(ending: str, content: bytes, tmp_path: Path):
    (tmp_path / f"w.{ending}").write_bytes(content)
    refused_within_a_second(tmp_path / f"w.{ending}")


@pytest.mark.parametrize(
    "listed", [b"]K\0a.", b"])" + b"q\1h\1\x86" * 60 + b"a.", b"X\1\0\0\0" + b"0."]
)
def test_a_hostile_list_of_storages_in_a_stream_is_refused(listed: bytes, tmp_path: Path):
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "w.pth").read_bytes()
    keys = content.rindex(b"\x80\x02]")
    (tmp_path / "w.pth").write_bytes(content[: keys + 2] + listed + content[-16:])
    refused_within_a_second(tmp_path / "w.pth")


def test_a_missing_file_says_so(tmp_path: Path):
    with pytest.raises(CheckpointError, match="no such file"):
        weights.read(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("layout", [ZIP, STREAM])
def test_a_torch_file_cut_anywhere_is_refused(layout: bool, tmp_path: Path):
    whole = tmp_path / "whole.pth"
    torch.save(small_state(), whole, _use_new_zipfile_serialization=layout)
    content = whole.read_bytes()
    cut = tmp_path / "cut.pth"
    for percent in range(0, 100, 5):
        cut.write_bytes(content[: len(content) * percent // 100])
        refused_within_a_second(cut)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(layout=st.booleans(), where=st.floats(0, 0.999), value=st.integers(0, 255))
def test_one_wrong_byte_is_refused_or_harmless(
    layout: bool, where: float, value: int, tmp_path: Path
):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(3, 4)}, path, _use_new_zipfile_serialization=layout)
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] = value
    path.write_bytes(content)
    state: dict[str, Tensor] = {}
    with suppress(CheckpointError):
        state = weights.read(path)
    assert sum(tensor.numel() for tensor in state.values()) <= 12


def test_an_entry_that_ends_beyond_the_file_is_refused(tmp_path: Path):
    path = with_program(tmp_path / "w.pth", tensor_program(), **{"0": bytes(8)})
    content = bytearray(path.read_bytes())
    header = content.rindex(b"PK\3\4")
    content[header + 28 : header + 30] = b"\xff\xff"  # where its bytes begin, behind 64 kB
    path.write_bytes(content)
    refused_within_a_second(path, match="cut short")


def refused_within_a_second(path: Path, match: str = ".") -> None:
    begin = time.process_time()
    with pytest.raises(CheckpointError, match=match) as refusal:
        weights.read(path)
    assert time.process_time() - begin < 1
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)


# Loading into a network


def test_imagenet_weights_fill_everything_but_the_head():
    torch.manual_seed(0)
    state, net = resnet18(7, width=8).state_dict(), TSM(3, width=8)
    head = net.fc.weight.clone()
    loaded = weights.load(net, state)
    assert set(loaded) == {name for name in state if not name.startswith("fc.")}
    assert torch.equal(net.fc.weight, head)
    assert torch.equal(net.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


def test_with_its_head_a_network_becomes_the_other():
    torch.manual_seed(0)
    first, second = TSM(3, width=8, num_frames=2), TSM(3, width=8, num_frames=2)
    weights.load(second, first.state_dict(), head=True)
    assert same(dict(second.state_dict()), dict(first.state_dict()))


def test_kinetics_weights_fill_everything_but_the_projection():
    state, net = I3D(9, width=4).state_dict(), I3D(2, width=4)
    assert not any(name.startswith("blocks.6") for name in weights.load(net, state))


def test_the_names_of_the_tsm_reference_are_understood():
    state = TSM(3, width=8).state_dict()
    spelled = {
        "module.base_model." + name.replace(".conv1.weight", ".conv1.net.weight"): tensor
        for name, tensor in state.items()
        if not name.startswith("fc.")
    }
    spelled["module.new_fc.weight"] = state["fc.weight"]
    spelled["module.new_fc.bias"] = state["fc.bias"]
    assert "module.base_model.layer2.0.conv1.net.weight" in spelled
    assert set(weights.load(TSM(3, width=8), spelled, head=True)) == set(state)


def test_files_that_count_no_batches_fit():
    state = {n: t for n, t in resnet18(width=8).state_dict().items() if "num_batches" not in n}
    assert len(weights.load(TSM(3, width=8), state)) == len(state) - 2


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda state: state.pop("bn1.bias"), "lacks.*: bn1.bias"),
        (lambda state: state.update(extra=torch.ones(1)), "does not know: extra"),
        (
            lambda state: state.update({"conv1.weight": torch.ones(8, 1, 7, 7)}),
            r"shape.*conv1.weight \(8, 1, 7, 7\) for \(8, 3, 7, 7\)",
        ),
        (lambda state: state["bn1.bias"].fill_(float("nan")), "not finite: bn1.bias"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change: Callable, cause: str):
    net = TSM(3, width=8)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = resnet18(width=8).state_dict()
    change(state)
    with pytest.raises(CheckpointError, match=f"^ours: .*{cause}"):
        weights.load(net, state, origin="ours")
    assert same(dict(net.state_dict()), before)
