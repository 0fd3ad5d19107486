"""Values inside a finished XNNPACK payload made results of it, in the bytes as they stand.

Layout (executorch/backends/xnnpack/serialization/schema.fbs, xnnpack_graph_serialize.py, 1.5.1): a header of 30 bytes
(`XH00`, then where the flatbuffer and the constants stand), the flatbuffer `XNNGraph`, constants. A value is a table
that says by `flags` and `external_id` whether it is a result. Fields of a flatbuffer that are zero are left out, so
`flags` has no place that could be overwritten: a value that becomes a result gets another table behind all others, and
the reference to its old one is turned to that. Everything else stays byte for byte what it was.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from flatbuffers.table import Table

from mlp_export.errors import InputError
from mlp_export.program.flatbuffer import field, integer, integers, string, subtable, tables

_HEADER = struct.Struct("<4x4sHIIIQ")  # magic, header length, flatbuffer offset and size, constants' offset and size
_MAGIC = b"XH00"
_ALIGNMENT = 16
# Field numbers of XNNGraph, XNode, XValue, XNNQuantizedTensorValue, XNNTensorValue, ConstantDataOffset
_NODES, _VALUES, _EXTERNS, _CONSTANTS = 1, 2, 3, 8
_NODE_TYPE, _NODE = 0, 1
_VALUE_TYPE, _VALUE = 0, 1
_QUANTIZED_VALUE = 0
_DATATYPE, _RANK, _DIMS, _CONSTANT, _EXTERNAL, _FLAGS, _ID = range(7)
_CONSTANT_NAME = 2
_PLAIN = 1  # XValueUnion's XNNTensorValue
_EXTERNAL_OUTPUT = 2  # XNN_VALUE_FLAG_EXTERNAL_OUTPUT
# XNodeUnion: the kinds of node that decoders are made of, with the fields that are inputs, and the output
_KINDS: dict[int, tuple[str, tuple[int, ...], int]] = {
    1: ("add", (0, 1), 2),
    2: ("linear", (0, 1, 2), 3),
    3: ("softmax", (0,), 1),
    4: ("sigmoid", (0,), 1),
    5: ("transpose", (2,), 3),
    8: ("divide", (0, 1), 2),
    12: ("minimum", (0, 1), 2),
    14: ("maximum pooling", (10,), 11),
    15: ("multiply", (0, 1), 2),
    16: ("subtract", (0, 1), 2),
    18: ("convert", (0,), 1),
    20: ("reshape", (2,), 3),
    26: ("maximum", (0, 1), 2),
    27: ("negate", (0,), 1),
    30: ("absolute", (0,), 1),
    32: ("concatenate", (1, 2), 5),
    35: ("slice", (3,), 4),
    37: ("matmul", (0, 1), 2),
    40: ("reciprocal square root", (0,), 1),
}


@dataclass(frozen=True)
class PayloadNode:
    """An operator of the graph; inputs and output are indices of values."""

    kind: str
    inputs: tuple[int, ...]
    output: int


@dataclass(frozen=True)
class PayloadValue:
    """A tensor of the graph at its largest shape. `constant` is the name of its bytes, "" where they have none."""

    shape: tuple[int, ...]
    datatype: int
    constant: str
    is_plain: bool  # not quantized


class TappablePayload:
    """The graph of a delegate's payload."""

    def __init__(self, data: bytes) -> None:
        """Raises InputError where `data` is no payload of the XNNPACK delegate."""
        try:
            self._read(data)
        except (struct.error, IndexError, TypeError, UnicodeDecodeError) as error:
            raise InputError(f"the XNNPACK payload is damaged: {error}", "export it again") from error

    def _read(self, data: bytes) -> None:
        magic, _, start, size, constants, _ = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise InputError(f"an XNNPACK payload begins with {magic!r}, expected {_MAGIC!r}", "export it again")
        self._graph, self._start = bytearray(data[start : start + size]), start
        self._constants = data[constants:]
        self._root = Table(self._graph, struct.unpack_from("<I", self._graph)[0])
        names = [string(entry, _CONSTANT_NAME) for entry in tables(self._root, _CONSTANTS)]
        self._value_tables = list(tables(self._root, _VALUES))
        self.externs = integer(self._root, _EXTERNS, "<I")
        self.values = [self._value(entry, names) for entry in self._value_tables]
        self.nodes = [self._node(entry) for entry in tables(self._root, _NODES)]

    def _tensor(self, entry: Table) -> Table:
        value = subtable(entry, _VALUE)
        if value is not None and integer(entry, _VALUE_TYPE, "<B") != _PLAIN:
            value = subtable(value, _QUANTIZED_VALUE)
        if value is None:
            raise InputError("a value of the XNNPACK payload is empty", "export it again")
        return value

    def _value(self, entry: Table, names: Sequence[str]) -> PayloadValue:
        tensor = self._tensor(entry)
        return PayloadValue(
            shape=integers(tensor, _DIMS),
            datatype=integer(tensor, _DATATYPE, "<h"),
            constant=names[integer(tensor, _CONSTANT, "<I")],
            is_plain=integer(entry, _VALUE_TYPE, "<B") == _PLAIN,
        )

    def _node(self, entry: Table) -> PayloadNode:
        kind, inputs, output = _KINDS.get(integer(entry, _NODE_TYPE, "<B"), ("?", (), -1))
        node = subtable(entry, _NODE)
        if node is None or output < 0:
            raise InputError("the XNNPACK payload has an operator that is not known here", "give a .pte of mlp-export")
        return PayloadNode(
            kind,
            tuple(integer(node, at, "<I") for at in inputs),
            integer(node, output, "<I"),
        )

    def with_results(self, values: Sequence[int]) -> bytes:
        """The payload with `values`, which are plain and no results yet, as further results behind its own."""
        graph = bytearray(self._graph)
        graph += bytes(-len(graph) % 8)
        vtable = len(graph)
        places = (4, 8, 12, 16, 20, 24, 28)
        graph += struct.pack("<9H2x", 18, 32, *places) + bytes(4)
        for number, index in enumerate(values):
            entry, value = self._value_tables[index], self.values[index]
            if not value.is_plain:
                raise ValueError(f"value {index} is quantized")
            old, at = self._tensor(entry), len(graph)
            rank = len(value.shape)
            graph += struct.pack("<ih2x", at - vtable, value.datatype)
            graph += struct.pack(
                "<6I",
                rank,
                32 - 12,  # from this field to the dimensions
                integer(old, _CONSTANT, "<I"),
                self.externs + number,
                _EXTERNAL_OUTPUT,
                integer(old, _ID, "<I"),
            )
            graph += struct.pack(f"<{rank + 1}I", rank, *value.shape)
            reference = field(entry, _VALUE)
            struct.pack_into("<I", graph, reference, at - reference)
        struct.pack_into("<I", graph, field(self._root, _EXTERNS), self.externs + len(values))
        size = len(graph)
        graph += bytes(-size % _ALIGNMENT)
        length = _HEADER.size
        header = _HEADER.pack(_MAGIC, length, self._start, size, self._start + len(graph), len(self._constants))
        return header + bytes(self._start - length) + bytes(graph) + self._constants
