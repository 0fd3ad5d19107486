"""The Core ML package in a finished `.pte`, read where it stands: nothing is unpacked, nothing of coremltools' reader.

Three formats, one in the other. ExecuTorch's folder in a byte string (backends/apple/coreml/runtime/inmemoryfs): the
files' bytes, then the tree of files as JSON, written backwards so that it can be read from the end. The specification:
a protobuf `Model` (coremltools' `Model.proto`, `MIL.proto`). And the weights (`MILBlob/Blob/StorageFormat.hpp`): a
value has a record of 64 bytes, sentinel 0xDEADBEEF, type u32, size u64, offset of its bytes u64, unused bits u64; codes
of 4 bits stand two to a byte, the first in the low nibble.
"""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from mlp_export.backends.coreml.payload import BACKEND_ID, COMPILED, METADATA, PACKAGE, SPECIFICATION, WEIGHTS
from mlp_export.backends.coreml.tools import MIL_pb2, Model_pb2
from mlp_export.errors import InputError
from mlp_export.program.pte import read_layout

_HINT = "export it again, or copy the whole file again"
_RECORD = struct.Struct("<IIQQQ")
_SENTINEL = 0xDEADBEEF
_ELSEWHERE = b"CMJR"  # a payload that names where the package is
_MOST_TREE_BYTES = 1 << 20
_TYPES = MIL_pb2.DataType
_DTYPES: dict[int, np.dtype[Any]] = {
    _TYPES.FLOAT16: np.dtype(np.float16),
    _TYPES.FLOAT32: np.dtype(np.float32),
    _TYPES.INT32: np.dtype(np.int32),
    _TYPES.INT8: np.dtype(np.int8),
    _TYPES.UINT8: np.dtype(np.uint8),
    _TYPES.BOOL: np.dtype(np.bool_),
}


@dataclass(frozen=True)
class CoremlPackage:
    """The package of one delegate. Values are views of `data` where they can be."""

    name: str  # of the file, for messages
    data: mmap.mmap
    files: dict[str, tuple[int, int]]  # path in the payload -> where its bytes are in `data`, and how many
    specification: Any  # a `Model` message; None where the package holds a compiled model alone
    input_names: list[str]  # in the order of the delegate's arguments
    output_names: list[str]

    @property
    def functions(self) -> Mapping[str, Any]:
        """The program's `Function` messages by name."""
        functions: Mapping[str, Any] = self.specification.mlProgram.functions
        return functions

    @property
    def function(self) -> Any:
        """The first function's `Block`; mlp-export writes one."""
        function = next(iter(self.functions.values()))
        return function.block_specializations[function.opset]

    def value(self, value: Any) -> np.ndarray | str:
        """A constant (`Value` message): an array, or a string. Codes of 4 bits come as int8.

        Raises InputError where its bytes are not there or it is of a type that no program of ours has.
        """
        kind = value.type.tensorType
        shape = [dimension.constant.size for dimension in kind.dimensions]
        if value.WhichOneof("value") == "blobFileValue":
            return self._blob(value.blobFileValue, kind.dataType, shape)
        tensor = value.immediateValue.tensor
        field = tensor.WhichOneof("value")
        if field == "strings":
            return str(tensor.strings.values[0])
        if kind.dataType not in _DTYPES:
            raise InputError(f"{self.name}: a constant of type {kind.dataType}", _HINT)
        dtype = _DTYPES[kind.dataType]
        if field == "bytes":  # float16, and whole numbers of fewer than 32 bits
            return np.frombuffer(tensor.bytes.values, dtype).reshape(shape)
        return np.array(getattr(tensor, field).values, dtype).reshape(shape)

    def _blob(self, place: Any, kind: int, shape: Sequence[int]) -> np.ndarray:
        start, size = self._file(f"{PACKAGE}/{WEIGHTS}")
        count = math.prod(shape)
        try:
            if place.offset + _RECORD.size > size:
                raise ValueError("its record lies outside the file")
            sentinel, _, length, offset, _ = _RECORD.unpack_from(self.data, start + place.offset)
            wanted = (count + 1) // 2 if kind == _TYPES.INT4 else count * _DTYPES[kind].itemsize
            if sentinel != _SENTINEL or length != wanted or offset + length > size:
                raise ValueError(f"its record says {length} bytes at {offset}, expected {wanted}")
        except (ValueError, KeyError) as error:
            raise InputError(f"{self.name}: a weight of the Core ML package is damaged: {error}", _HINT) from error
        if kind != _TYPES.INT4:
            return np.frombuffer(self.data, _DTYPES[kind], count, start + offset).reshape(shape)
        packed = np.frombuffer(self.data, np.uint8, wanted, start + offset)
        return unpack_int4(packed, count).reshape(shape)

    def _file(self, path: str) -> tuple[int, int]:
        if path not in self.files:
            raise InputError(f"{self.name}: the Core ML package has no {path}", _HINT)
        return self.files[path]


def unpack_int4(packed: np.ndarray, count: int) -> np.ndarray:
    """Codes int8 [count] of bytes [(count + 1) / 2], the first of two in the low nibble."""
    codes = np.empty(2 * len(packed), np.int8)
    signed = packed.view(np.int8)
    codes[1::2] = signed >> 4
    codes[0::2] = np.left_shift(signed, 4) >> 4
    return codes[:count]


def read_package(data: mmap.mmap, name: str) -> CoremlPackage:
    """The package of the one Core ML delegate in a `.pte`. Raises InputError where there is none, or a damaged one."""
    return only_package(read_packages(data, name), name)


def only_package(packages: Sequence[CoremlPackage], name: str) -> CoremlPackage:
    """The package, where there is one. Raises InputError for none or several in file `name`."""
    if len(packages) != 1:
        raise InputError(f"{name} has {len(packages)} Core ML packages, expected one", "give a .pte of mlp-export")
    return packages[0]


def read_packages(data: mmap.mmap, name: str) -> list[CoremlPackage]:
    """The packages of all Core ML delegates in a `.pte`. Raises InputError for a damaged one."""
    layout = read_layout(data, name)
    spans = []
    for start, size in layout.delegate_spans(BACKEND_ID):
        span = start, size
        if data[start : start + len(_ELSEWHERE)] == _ELSEWHERE:  # several methods share a package in the named data
            try:
                span = layout.named_span(json.loads(data[start + len(_ELSEWHERE) : start + size])["key"])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{name}: the Core ML delegate names no package: {error}", _HINT) from error
        spans.append(span)
    return [read_payload(data, start, size, name) for start, size in dict.fromkeys(spans)]


def read_payload(data: mmap.mmap, start: int, size: int, name: str) -> CoremlPackage:
    """The package in a payload of `size` bytes at `start`. Raises InputError for a damaged one."""
    files = read_tree(data, start, size, name)
    specification = None
    try:
        if COMPILED not in {path.split("/")[0] for path in files}:
            place, length = files[f"{PACKAGE}/{SPECIFICATION}"]
            specification = Model_pb2.Model()
            specification.ParseFromString(data[place : place + length])
            if not specification.mlProgram.functions:
                raise ValueError("no function")
        place, length = files[METADATA]
        metadata = json.loads(data[place : place + length])
        # Files with several functions have names for each method.
        names = metadata if "inputNames" in metadata else next(iter(metadata["methods"].values()))
        inputs, outputs = list(names["inputNames"]), list(names["outputNames"])
    except KeyError as error:
        raise InputError(f"{name}: the Core ML package has no {error}", _HINT) from error
    except (ValueError, DecodeError, StopIteration, TypeError, AttributeError) as error:
        raise InputError(f"{name}: the Core ML package is damaged: {error}", _HINT) from error
    return CoremlPackage(name, data, files, specification, inputs, outputs)


def read_tree(data: mmap.mmap, start: int, size: int, name: str) -> dict[str, tuple[int, int]]:
    """The files of a payload: path -> where its bytes are, and how many."""
    end = start + size
    text = bytes(data[max(start, end - _MOST_TREE_BYTES) : end])[::-1]
    try:
        tree, _ = json.JSONDecoder().raw_decode(text.decode("latin-1"))
        nodes = tree["nodes"]
        found: dict[str, tuple[int, int]] = {}
        ahead = [(len(nodes) - 1, "")]
        seen: set[int] = set()
        while ahead:
            index, path = ahead.pop()
            if index in seen:
                raise ValueError("a file in two folders")
            seen.add(index)
            node = nodes[index]
            if node["kind"] == 0:
                region = node["dataRegion"]
                if region["offset"] < 0 or region["size"] < 0 or region["offset"] + region["size"] > size:
                    raise ValueError(f"{path} ends outside the payload")
                found[path] = (start + region["offset"], region["size"])
            ahead += [(at, f"{path}/{child}" if path else child) for child, at in node["children"].items()]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{name}: the Core ML package is damaged: {error}", _HINT) from error
    return found
