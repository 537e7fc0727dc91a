"""Frames between the judge and a student's process: JSON and tensors, nothing that can run.

A frame is two little-endian uint32 lengths, JSON, and tensors in safetensors' format. `pack` turns
a value into JSON (tensors beside it), `unpack` back. What is neither plain data nor a tensor goes
through the hooks `export` and `resolve` of the side in question, as a numbered handle. No pickle,
no code, and every bound is checked before the memory is taken.
"""

import base64
import collections
import json
import socket
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

HEAD = struct.Struct("<II")
MAX_JSON, MAX_TENSORS, MAX_DEPTH = 1 << 20, 64 << 20, 32
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL", torch.uint16: "U16", torch.uint32: "U32",
    torch.uint64: "U64", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
ODD = (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)  # numpy does not know them
ENCODE = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
Tensors = dict[str, Tensor]


class Malformed(BaseException):
    """The other side sent something that cannot be read. Not an Exception: no test may catch it."""


class Closed(BaseException):
    """The other side has gone."""


class Unfit(Exception):
    """A value that cannot travel; the text says which."""


# --- frames ----------------------------------------------------------------------------------


def send(sock: socket.socket, message: dict[str, Any], tensors: Tensors) -> None:
    """Send one frame; Unfit if it is too large, Closed if nobody reads it."""
    try:
        text = ENCODE(message).encode()
    except ValueError:  # Python writes no integer of more than 4,300 digits
        raise Unfit("a number that is too long to be judged") from None
    body = _body(tensors) if tensors else b""
    if len(text) > MAX_JSON or len(body) > MAX_TENSORS:
        raise Unfit("a value that is too large to be judged")
    try:
        sock.sendall(HEAD.pack(len(text), len(body)) + text + body)
    except OSError:
        raise Closed from None


def _body(tensors: Tensors) -> bytes:
    """Contiguous tensors in safetensors' format: a length, a header in JSON, the bytes.

    Written here, because the library's `save` costs more than the call that is judged; what comes
    from the other side is read by the library.
    """
    header, parts, at = {}, [], 0
    for key, t in tensors.items():
        if t.dtype not in DTYPES:
            raise Unfit(f"a tensor of {t.dtype}")
        parts.append((t.reshape(-1).view(torch.uint8) if t.dtype in ODD else t).numpy().tobytes())
        end = at + len(parts[-1])
        header[key] = {"dtype": DTYPES[t.dtype], "shape": t.shape, "data_offsets": (at, end)}
        at = end
    text = ENCODE(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, *parts))


def receive(sock: socket.socket) -> tuple[dict[str, Any], Tensors]:
    """The next frame; Closed at its end, Malformed if it is none."""
    n_text, n_body = HEAD.unpack(_exactly(sock, HEAD.size))
    if n_text > MAX_JSON or n_body > MAX_TENSORS:
        raise Malformed("a frame that is too large")
    frame = _exactly(sock, n_text + n_body)
    try:
        message = json.loads(frame[:n_text])
        tensors = safetensors.torch.load(frame[n_text:]) if n_body else {}
    except Exception as error:  # RecursionError, ValueError, SafetensorError, whatever they raise
        raise Malformed(f"{type(error).__name__} in a frame") from None
    if not isinstance(message, dict):
        raise Malformed("a frame without a message")
    return message, tensors


def _exactly(sock: socket.socket, n: int) -> bytes:
    parts = bytearray()
    while len(parts) < n:
        try:
            part = sock.recv(min(n - len(parts), 1 << 20))
        except OSError:
            raise Closed from None
        if not part:
            raise Closed
        parts += part
    return bytes(parts)


# --- values ----------------------------------------------------------------------------------


class Packer:
    """Turns values into JSON; `tensors` collects what stands beside it.

    `strides` keeps the layout of tensors that are not contiguous: the judge's inputs keep their
    meaning, while a student's results come contiguous, whatever their strides claim.
    """

    def __init__(self, export: Callable[[Any], Any], strides: bool = False) -> None:
        self.export, self.strides = export, strides
        self.tensors: Tensors = {}
        self.sources: dict[str, Tensor] = {}  # the tensor that each key was made from

    def pack(self, value: Any, depth: int = 0) -> Any:
        """One value; subclasses of plain types are reduced to these types."""
        if depth > MAX_DEPTH:
            raise Unfit("a value that is nested too deeply")
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, np.ndarray | np.generic):
            return self._array(value)
        for kind in (int, float, str):
            if isinstance(value, kind):
                return kind(value)
        if isinstance(value, bytes | bytearray):
            return {"$bytes": base64.b64encode(bytes(value)).decode()}
        if isinstance(value, torch.dtype):
            return {"$dtype": str(value).removeprefix("torch.")}
        if isinstance(value, torch.device):
            return {"$device": str(value)}
        if isinstance(value, complex):
            return {"$complex": [value.real, value.imag]}
        if isinstance(value, slice | range):
            return {f"${type(value).__name__}": [value.start, value.stop, value.step]}
        if value is Ellipsis:
            return {"$ellipsis": True}
        return self._container(value, depth + 1)

    def _container(self, value: Any, depth: int) -> Any:
        if isinstance(value, list):
            return [self.pack(v, depth) for v in value]
        if isinstance(value, tuple):
            packed = [self.pack(v, depth) for v in value]
            fields = getattr(type(value), "_fields", None)
            if isinstance(fields, tuple) and len(fields) == len(packed):
                return {"$named": [type(value).__name__, list(map(str, fields)), packed]}
            return {"$tuple": packed}
        if isinstance(value, dict):
            if all(type(k) is str and not k.startswith("$") for k in value):
                return {k: self.pack(v, depth) for k, v in value.items()}
            return {"$dict": [[self.pack(k, depth), self.pack(v, depth)]
                              for k, v in value.items()]}  # fmt: skip
        if isinstance(value, set | frozenset):
            return {"$set": [self.pack(v, depth) for v in value]}
        return self.export(value)

    def _tensor(self, value: Tensor) -> Any:
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            return self.export(value)
        key, plain = f"t{len(self.tensors)}", value.detach()
        form: dict[str, Any] = {"$tensor": key, "grad": value.requires_grad}
        if value.requires_grad and not value.is_leaf:
            form["inner"] = True  # it may be changed in place, which a leaf may not
        if plain.is_complex():
            plain, form["complex"] = torch.view_as_real(plain.resolve_conj()), True
        elif self.strides and not plain.is_contiguous():
            form["layout"] = [list(plain.shape), list(plain.stride())]
            for dim, stride in enumerate(plain.stride()):
                if stride == 0:  # expanded: one slice says it all
                    plain = plain.narrow(dim, 0, 1)
        self.tensors[key] = plain if plain.is_contiguous() else plain.contiguous()
        self.sources[key] = value
        return form

    def _array(self, value: np.ndarray | np.generic) -> Any:
        try:
            tensor = torch.from_numpy(np.array(value))
        except TypeError:  # of texts or objects
            return self.export(value)
        key = f"t{len(self.tensors)}"
        self.tensors[key] = tensor
        return {"$array": key, "scalar": isinstance(value, np.generic)}


class Unpacker:
    """Turns JSON back into values. `resolve` gives the object behind a handle or name."""

    def __init__(self, tensors: Tensors, resolve: Callable[[str, Any], Any]) -> None:
        self.tensors, self.resolve = tensors, resolve
        self.made: dict[str, Tensor] = {}  # the tensor that was made for each key
        self.leaves: list[Tensor] = []  # where gradients arrive

    def unpack(self, data: Any, depth: int = 0) -> Any:
        """One value; Malformed if it is none."""
        if depth > 2 * MAX_DEPTH:
            raise Malformed("a value that is nested too deeply")
        if isinstance(data, list):
            return [self.unpack(v, depth + 1) for v in data]
        if not isinstance(data, dict):
            return data
        tag = next(iter(data), "")
        if not tag.startswith("$"):
            return {k: self.unpack(v, depth + 1) for k, v in data.items()}
        try:
            return self._tagged(tag, data, depth + 1)
        except Exception as error:
            raise Malformed(f"{type(error).__name__} in a value") from None

    def _tagged(self, tag: str, data: dict[str, Any], depth: int) -> Any:
        content = data[tag]
        if tag == "$tensor":
            return self._tensor(data)
        if tag == "$array":
            array = self.tensors[content].numpy()
            return array[()] if data["scalar"] and not array.shape else array
        if tag == "$tuple":
            return tuple(self.unpack(v, depth) for v in content)
        if tag == "$named":
            name, fields, values = content
            made = collections.namedtuple(name, fields, rename=True)
            return made(*(self.unpack(v, depth) for v in values))
        if tag == "$dict":
            return {self.unpack(k, depth): self.unpack(v, depth) for k, v in content}
        if tag == "$set":
            return {self.unpack(v, depth) for v in content}
        if tag == "$bytes":
            return base64.b64decode(content)
        if tag == "$dtype":
            kind = getattr(torch, content)
            if not isinstance(kind, torch.dtype):
                raise TypeError
            return kind
        if tag == "$device":
            return torch.device(content)
        if tag == "$complex":
            return complex(*content)
        if tag in ("$slice", "$range"):
            return (slice if tag == "$slice" else range)(*content)
        if tag == "$ellipsis":
            return ...
        return self.resolve(tag, data)

    def _tensor(self, form: dict[str, Any]) -> Tensor:
        key = form["$tensor"]
        value = self.tensors[key]
        if form.get("complex"):
            value = torch.view_as_complex(value)
        if "layout" in form:
            shape, strides = form["layout"]
            kept = [1 if stride == 0 else n for n, stride in zip(shape, strides, strict=True)]
            laid = torch.empty_strided(kept, strides, dtype=value.dtype)
            value = laid.copy_(value).as_strided(shape, strides)
        if form["grad"]:
            self.leaves.append(value.requires_grad_())
            value = value.clone() if form.get("inner") else value
        self.made[key] = value
        return self.made[key]
