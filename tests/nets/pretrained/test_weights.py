"""Weights: safetensors are read, hostile ones refused; a state enters a network whole or not."""

import json
import re
import struct
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from lus_ray.errors import CheckpointError
from lus_ray.nets import I3D, TSM, resnet18
from lus_ray.nets.pretrained import weights

assert_same = partial(assert_close, rtol=0, atol=0)


@pytest.mark.slow
def test_files_are_read_by_their_suffix(tmp_path: Path):
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth")
    assert_same(weights.read(tmp_path / "w.safetensors"), state)
    assert_same(weights.read(str(tmp_path / "w.pth")), state)
    with pytest.raises(CheckpointError, match="no such file"):
        weights.read(tmp_path / "nowhere.pth")


def encode(header: object, num_bytes: int = 8, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    length = len(text) if length is None else length
    return struct.pack("<Q", length) + text + bytes(num_bytes)


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


PAIR = entry([2], 0, 8)


HOSTILE = {
    "empty": b"",
    "html": b"<html>404</html>",
    "zip": b"PK\3\4",
    "zeros": bytes(2000),
    "endless header": encode({"a": PAIR}, length=1 << 62),
    "header beyond the file": encode({"a": PAIR}, length=200 << 20),
    "huge header": encode({"a": PAIR, "__metadata__": {"padding": "x" * (9 << 20)}}),
    "overlap": encode({"a": PAIR, "b": entry([2], 4, 12)}, 12),
    "same bytes twice": encode({"a": PAIR, "b": PAIR}),
    "wrong shape": encode({"a": entry([3], 0, 8)}),
    "overflowing shape": encode({"a": entry([1 << 62, 4], 0, 8)}),
    "cut short": encode({"a": PAIR}, 4),
    "backwards": encode({"a": entry([2], 8, 0)}),
    "negative shape": encode({"a": entry([-2], 0, 8)}),
    "unknown type": encode({"a": entry([2], 0, 8, "EVIL")}),
    "a list": encode(["not", "a", "table"], 0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_safetensors_are_refused_in_one_line(name: str, tmp_path: Path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(HOSTILE[name])
    message = "a header of 94" if name == "huge header" else str(path)
    with pytest.raises(CheckpointError, match=message) as refusal:
        weights.read(path)
    assert "\n" not in str(refusal.value)


def test_imagenet_weights_fill_everything_but_the_head():
    torch.manual_seed(0)
    state, net = resnet18(7, width=8).state_dict(), TSM(3, width=8)
    head = net.fc.weight.clone()
    assert set(weights.load(net, state)) == {name for name in state if not name.startswith("fc.")}
    assert torch.equal(net.fc.weight, head)
    assert torch.equal(net.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


def test_with_its_head_a_state_is_copied_whole():
    torch.manual_seed(0)
    first, second = TSM(3, width=8, num_frames=2), TSM(3, width=8, num_frames=2)
    weights.load(second, first.state_dict(), head=True)
    assert_same(second.state_dict(), first.state_dict())


def test_kinetics_weights_fill_everything_but_the_projection():
    state, net = I3D(9, width=4).state_dict(), I3D(2, width=4)
    assert not any(name.startswith("blocks.6") for name in weights.load(net, state))


def test_the_names_of_the_tsm_reference_are_translated():
    state = TSM(3, width=8).state_dict()
    renamed = {
        re.sub(r"(\.[01])\.conv1\.", r"\1.conv1.net.", f"module.base_model.{name}").replace(
            "base_model.fc.", "new_fc."
        ): tensor
        for name, tensor in state.items()
    }
    assert {"module.base_model.layer2.0.conv1.net.weight", "module.new_fc.bias"} < renamed.keys()
    assert set(weights.load(TSM(3, width=8), renamed, head=True)) == set(state)


def test_files_that_count_no_batches_fit():
    state = {n: t for n, t in resnet18(width=8).state_dict().items() if "num_batches" not in n}
    assert len(weights.load(TSM(3, width=8), state)) == len(state) - 2


@pytest.mark.parametrize(
    ("change", "message"),
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
def test_a_state_that_does_not_fit_changes_nothing(change: Callable, message: str):
    net = TSM(3, width=8)
    before = deepcopy(net.state_dict())
    state = resnet18(width=8).state_dict()
    change(state)
    with pytest.raises(CheckpointError, match=f"^ours: .*{message}"):
        weights.load(net, state, origin="ours")
    assert_same(net.state_dict(), before)
