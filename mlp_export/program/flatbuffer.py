"""Fields of a flatbuffer's tables, by the numbers that they have in its schema, where they stand in the bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from flatbuffers.table import Table


def field(table: Table, slot: int) -> int:
    """Position of a field in the buffer, 0 where it is left out."""
    offset = table.Offset(4 + 2 * slot)
    return table.Pos + offset if offset else 0


def subtable(table: Table, slot: int) -> Table | None:
    """The table, or member of a union, that a field refers to."""
    position = field(table, slot)
    return Table(table.Bytes, table.Indirect(position)) if position else None


def tables(table: Table, slot: int) -> Iterator[Table]:
    """The tables of a vector."""
    offset = table.Offset(4 + 2 * slot)
    if offset:
        start = table.Vector(offset)
        for i in range(table.VectorLen(offset)):
            yield Table(table.Bytes, table.Indirect(start + 4 * i))


def integer(table: Table, slot: int, code: str) -> int:
    """A number of `struct`'s type `code`; 0 where it is left out."""
    position = field(table, slot)
    return struct.unpack_from(code, table.Bytes, position)[0] if position else 0


def integers(table: Table, slot: int) -> tuple[int, ...]:
    """A vector of uint32."""
    offset = table.Offset(4 + 2 * slot)
    if not offset:
        return ()
    return struct.unpack_from(f"<{table.VectorLen(offset)}I", table.Bytes, table.Vector(offset))


def bytes_span(table: Table, slot: int) -> tuple[int, int]:
    """Position and size of a vector of bytes."""
    offset = table.Offset(4 + 2 * slot)
    return (table.Vector(offset), table.VectorLen(offset)) if offset else (0, 0)


def string(table: Table, slot: int) -> str:
    """A text; "" where it is left out."""
    position = field(table, slot)
    return table.String(position).decode() if position else ""
