"""Weights: safetensors are read, hostile ones refused; a state enters a network whole or not."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lus_ray.errors import CheckpointError
from lus_ray.nets import I3D, TSM, resnet18
from lus_ray.nets.pretrained import weights


def same(state: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return state.keys() == expected.keys() and all(
        state[name].dtype == tensor.dtype and torch.equal(state[name], tensor)
        for name, tensor in expected.items()
    )


def test_files_are_read_by_their_ending(tmp_path: Path):
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth")
    assert same(weights.read(tmp_path / "w.safetensors"), state)
    assert same(weights.read(str(tmp_path / "w.pth")), state)
    with pytest.raises(CheckpointError, match="no such file"):
        weights.read(tmp_path / "nowhere.pth")


def refuse(path: Path, match: str = ".") -> None:
    with pytest.raises(CheckpointError, match=match) as refusal:
        weights.read(path)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\3\4", bytes(2000)])
def test_other_files_named_safetensors_are_refused_in_one_line(content: bytes, tmp_path: Path):
    (tmp_path / "w.safetensors").write_bytes(content)
    refuse(tmp_path / "w.safetensors")


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
    refuse(path)


def test_a_header_larger_than_any_table_of_tensors_is_refused_unread(tmp_path: Path):
    header = {"__metadata__": {"padding": "x" * (9 << 20)}, "a": entry([2], 0, 8)}
    path = safetensors_file(tmp_path / "w.safetensors", header, bytes(8))
    refuse(path, match="a header of 94")


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
