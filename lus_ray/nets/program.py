"""The pickle inside a torch file, read as a description and never run.

A pickle is a program for a small stack machine, and `pickle.load` lets it call anything. This
machine knows the few instructions that a table of tensors needs, and can build nothing but
numbers, texts, tuples, lists, dicts and descriptions of tensors. A name in the program is
compared with a list of twelve and never looked up.
"""

import io
import math
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lus_ray.errors import CheckpointError

MAX_INSTRUCTIONS = 60_000
"""The program of ResNet-50 has 13,000 for its 320 tensors; the limit takes half a second."""

DTYPES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
}
"""Names that stand for a kind of storage; with the three below, all that a program may use."""

ORDERED_DICT = "collections OrderedDict"
TENSOR = "torch._utils _rebuild_tensor_v2"
PARAMETER = "torch._utils _rebuild_parameter"


@dataclass(frozen=True)
class Name:
    """A name that the program may use; it is never looked up."""

    text: str


@dataclass(frozen=True)
class Storage:
    """A row of numbers: their type, the key of their bytes, and how many there are."""

    dtype: torch.dtype
    key: str
    num_values: int

    @property
    def num_bytes(self) -> int:
        """Its length in the file."""
        return self.num_values * self.dtype.itemsize


@dataclass(frozen=True)
class Strided:
    """A tensor as a part of a storage, in numbers of values."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def run(program: io.BytesIO, path: Path) -> tuple[Any, dict[str, Storage]]:
    """What one pickle describes, and every storage by its key; the stream is left at its end.

    Raises:
        CheckpointError: the program is damaged, or asks for more than tensors; the message names
            the file and what was asked for.
    """
    machine = _Machine(path)
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(program)):
            if count > MAX_INSTRUCTIONS:
                raise CheckpointError(f"{path}: a longer program than any table of tensors")
            if instruction.name == "STOP":
                return machine.stack.pop(), machine.storages
            machine.step(instruction.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{path}: its table of tensors is damaged ({error})") from None
    raise CheckpointError(f"{path}: its table of tensors has no end")


class _Machine:
    """A stack, marks into it, and numbered notes: all that a pickle works with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def step(self, name: str, argument: Any) -> None:
        """One instruction; every other one is refused by name."""
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.marks.append(len(self.stack))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self.stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                self.stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE":
                self.stack.append(argument)
            case "EMPTY_DICT":
                self.stack.append({})
            case "EMPTY_LIST":
                self.stack.append([])
            case "EMPTY_TUPLE":
                self.stack.append(())
            case "TUPLE":
                self.stack.append(tuple(self._since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(tuple(self._last(int(name[-1]))))
            case "APPEND" | "APPENDS":
                items = self._last(1) if name == "APPEND" else self._since_mark()
                self._top(list).extend(items)
            case "SETITEM" | "SETITEMS":
                pairs = self._last(2) if name == "SETITEM" else self._since_mark()
                self._set(pairs[::2], pairs[1::2])
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case "GLOBAL":
                self.stack.append(self._allowed(argument))
            case "REDUCE":
                self.stack.append(self._call(*self._last(2)))
            case "BINPERSID":
                self.stack.append(self._storage(*self._last(1)))
            case "BUILD":
                # An OrderedDict carries the versions of its modules; no number depends on them.
                self._last(1)
                self._top(dict)
            case _:
                raise CheckpointError(
                    f"{self.path}: instruction {name} is no part of a weights file"
                )

    def _allowed(self, text: str) -> Name:
        if text not in (ORDERED_DICT, TENSOR, PARAMETER) and text not in DTYPES:
            called = ".".join(text.split(" ", 1))
            raise CheckpointError(
                f"{self.path}: it asks for {called!r}, which is no part of a weights file; "
                "save the plain state_dict, or safetensors"
            )
        return Name(text)

    def _call(self, function: Any, arguments: Any) -> Any:
        match function, arguments:
            case Name(text), () if text == ORDERED_DICT:
                return {}
            case Name(text), (Strided() as tensor, *_) if text == PARAMETER:
                return tensor
            case Name(text), (
                Storage() as storage,
                int(offset),
                tuple(size),
                tuple(stride),
                *_,
            ) if text == TENSOR:
                return _strided(storage, offset, size, stride)
        raise ValueError("a call that makes no tensor")

    def _storage(self, described: Any) -> Storage:
        match described:
            case ("storage", Name(kind), str(key), str(), int(num_values), *rest):
                if kind not in DTYPES or rest not in ([], [None]) or not 0 <= num_values < 1 << 48:
                    raise ValueError("a storage of an unknown kind")
                storage = Storage(DTYPES[kind], key, num_values)
                if self.storages.setdefault(key, storage) != storage:
                    raise ValueError(f"storage {key!r} is described in two ways")
                return storage
        raise ValueError("a storage of an unknown kind")

    def _set(self, keys: list[Any], values: list[Any]) -> None:
        # Other kinds of keys are never hashed: nested tuples could take for ever.
        if not all(isinstance(key, str | int) for key in keys):
            raise TypeError("a key that is neither text nor number")
        self._top(dict).update(zip(keys, values, strict=True))

    def _since_mark(self) -> list[Any]:
        return self._last(len(self.stack) - self.marks.pop())

    def _last(self, count: int) -> list[Any]:
        if not 0 <= count <= len(self.stack):
            raise IndexError("an empty stack")
        start = len(self.stack) - count
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"a {type(self.stack[-1]).__name__} in the place of a {kind.__name__}")
        return self.stack[-1]


def _strided(storage: Storage, offset: int, size: tuple, stride: tuple) -> Strided:
    numbers = [offset, storage.num_values, *size, *stride]
    whole = all(type(number) is int and 0 <= number < 1 << 48 for number in numbers)
    if not whole or len(size) != len(stride) or len(size) > 8:
        raise ValueError("a tensor of no sensible shape")
    reach = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    num_values = math.prod(size)
    if num_values and (num_values > storage.num_values or reach >= storage.num_values):
        raise ValueError("a tensor larger than its storage")
    return Strided(storage, offset, size, stride)
