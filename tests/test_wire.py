"""Values that travel between the judge and a student's process, and frames that must not hurt."""

import collections
import json
import math
import socket
import struct

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autograder.child import wire
from autograder.child.wire import Malformed, Packer, Unfit, Unpacker


def refuse(value: object) -> object:
    raise Unfit(type(value).__name__)


def travelled(value: object, strides: bool = False) -> object:
    """The value as it comes out at the other end of a real socket."""
    packer = Packer(refuse, strides)
    here, there = socket.socketpair()
    with here, there:
        wire.send(here, {"value": packer.pack(value)}, packer.tensors)
        message, tensors = wire.receive(there)
    return Unpacker(tensors, lambda tag, data: refuse(tag)).unpack(message["value"])


Point = collections.namedtuple("Point", "x y")
VALUES = [
    None, True, 3, -(10**50), 2.5, math.inf, "héllo \ud800", [], [1, [2, "x"]], (1, (2,)), {},
    {"a": 1, "$b": 2}, {1: "x", (1, 2): b"y"}, {1, 2}, b"\x00\xff", torch.float16, 3 + 4j,
    slice(1, None, 2), range(3), ..., torch.device("cpu"), Point(1, [2]),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values_arrive_as_they_were(value: object) -> None:
    got = travelled(value)
    assert got == value
    assert type(got) is type(value) or isinstance(value, Point)


def test_nan_arrives_as_nan() -> None:
    assert math.isnan(travelled(math.nan))


@pytest.mark.parametrize("dtype", list(wire.DTYPES), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)], ids=str)
def test_tensors_of_every_dtype_and_shape_arrive(dtype: torch.dtype, shape: tuple) -> None:
    value = torch.ones(shape).to(dtype)
    got = travelled(value)
    assert got.dtype == dtype
    assert got.shape == value.shape
    assert torch.equal(got.double(), value.double())


def test_the_library_reads_what_we_write() -> None:
    tensors = {"a": torch.randn(3, 5), "b": torch.arange(4), "c": torch.tensor(True)}
    read = safetensors.torch.load(wire._body(tensors))
    assert all(torch.equal(read[k], t) for k, t in tensors.items())


LAYOUTS = {
    "transposed": torch.arange(12.0).view(3, 4).T,
    "every other column": torch.arange(12.0).view(3, 4)[:, ::2],
    "expanded": torch.arange(3.0).view(3, 1).expand(3, 5),
    "one row of an expanded one": torch.arange(3.0).expand(2, 3)[:1],
    "complex": torch.view_as_complex(torch.arange(8.0).view(2, 2, 2)),
    "conjugated": torch.view_as_complex(torch.arange(8.0).view(2, 2, 2)).conj(),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_judges_tensor_keeps_its_layout(name: str) -> None:
    value = LAYOUTS[name]
    got = travelled(value, strides=True)
    assert torch.equal(got, value)
    assert got.is_complex() or value.is_contiguous() or got.stride() == value.stride()
    assert torch.equal(travelled(value), value)


def test_the_same_tensor_twice_arrives_as_two() -> None:
    x = torch.ones(2)
    a, b = travelled([x, x])
    a += 1
    assert b.tolist() == [1, 1]


def test_gradients_are_asked_for_on_the_other_side() -> None:
    assert travelled(torch.ones(2, requires_grad=True)).requires_grad
    assert not travelled(torch.ones(2)).requires_grad


def test_numpy_stays_numpy() -> None:
    got = travelled([np.arange(3), np.float32(2.5)])
    assert isinstance(got[0], np.ndarray)
    assert type(got[1]) is np.float32


def test_subclasses_arrive_as_what_they_pretend_to_be() -> None:
    """An int that equals everything arrives as the number that it holds."""

    class Always(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    assert type(travelled(Always(0))) is int
    assert travelled([Always(0)]) == [0]


NO_VALUES = [object(), torch.nn.Linear(1, 1), len, torch.eye(2).to_sparse()]


@pytest.mark.parametrize("value", NO_VALUES, ids=lambda v: type(v).__name__)
def test_what_is_no_plain_value_goes_to_the_hook(value: object) -> None:
    with pytest.raises(Unfit):
        travelled(value)


def test_too_deep_and_too_large_are_refused_by_the_sender() -> None:
    deep: list = []
    for _ in range(100):
        deep = [deep]
    for value in (deep, "x" * (wire.MAX_JSON + 1), torch.zeros(wire.MAX_TENSORS // 4 + 1)):
        with pytest.raises(Unfit):
            travelled(value)


# --- frames of a hostile sender --------------------------------------------------------------

BODY = safetensors.torch.save({"t0": torch.ones(2)})


def framed(text: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<II", len(text), len(body)) + text + body


FRAMES = {
    "garbage": b"\xff" * 8,
    "too long a text": struct.pack("<II", wire.MAX_JSON + 1, 0),
    "too many tensors": struct.pack("<II", 2, wire.MAX_TENSORS + 1),
    "no JSON": framed(b"{"),
    "no UTF-8": framed(b'{"a": "\xff"}'),
    "deep JSON": framed(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a large number": framed(b'{"a": ' + b"9" * 5000 + b"}"),
    "a list": framed(b"[1]"),
    "bad tensors": framed(b"{}", b"\x00" * 64),
    "a header that promises more": framed(b"{}", (1 << 40).to_bytes(8, "little") + b"{}"),
}
MESSAGES = {
    "a tensor that is not there": {"$tensor": "t9", "grad": False},
    "a gradient of integers": {"$tensor": "i", "grad": True},
    "an endless tuple": {"$tuple": 3},
    "an unhashable key": {"$dict": [[[], 1]]},
    "a pair of three": {"$dict": [[1, 2, 3]]},
    "a dtype that is a function": {"$dtype": "load"},
    "a layout beyond memory": {"$tensor": "t0", "grad": False,
                               "layout": [[1 << 40, 1 << 40], [1, 1]]},
    "an unknown tag": {"$code": "x"},
    "bytes that are none": {"$bytes": "é"},
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_a_hostile_frame_is_malformed(name: str) -> None:
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(5)
        there.settimeout(5)
        here.sendall(FRAMES[name])
        here.shutdown(socket.SHUT_WR)
        with pytest.raises(Malformed):
            wire.receive(there)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_hostile_value_is_malformed(name: str) -> None:
    tensors = {"t0": torch.ones(2), "i": torch.arange(3)}
    with pytest.raises(Malformed):
        Unpacker(tensors, lambda tag, data: refuse(tag)).unpack([MESSAGES[name]])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["a", "$tensor", "$tuple", "$dict", "$named", "$array", "$set", "grad"]),
        inner, max_size=3), max_leaves=15))  # fmt: skip
def test_any_json_is_a_value_or_malformed(data: object) -> None:
    def resolve(tag: str, _: object) -> object:
        raise Malformed(tag)

    try:
        Unpacker({"t0": torch.ones(2)}, resolve).unpack(json.loads(json.dumps(data)))
    except Malformed:
        pass
