"""The bytes of a finished `.pte`: its segments, its named data and constants, and how two can share one place.

File layout (executorch/exir/_serialize/_program.py): a flatbuffer `Program` with an extended header (magic
`eh00`/`eh01` at byte 8: header length u32, program size u64, segment base u64, then segment data size u64), followed
by segments that the program names by {offset, size}. Nothing says that segments may not overlap, and the runtime only
ever reads them.
"""

from __future__ import annotations

import functools
import mmap
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from executorch.exir.schema import ExecutionPlan, Program
from flatbuffers.table import Table

from mlp_export.errors import InputError
from mlp_export.program.executorch_private import flatbuffer_to_program
from mlp_export.program.flatbuffer import bytes_span, field, integer, subtable, tables

# Field numbers of executorch/schema/program.fbs
_PROGRAM_PLANS, _PROGRAM_INLINE_DATA, _PROGRAM_SEGMENTS, _PROGRAM_CONSTANT_SEGMENT, _PROGRAM_NAMED_DATA = 1, 3, 4, 5, 7
_INLINE_BYTES = 0
_PLAN_DELEGATES = 7
_DELEGATE_ID, _DELEGATE_DATA = 0, 1
_DATA_LOCATION, _DATA_INDEX = 0, 1
_IN_A_SEGMENT = 1
_SEGMENT_OFFSET, _SEGMENT_SIZE = 0, 1
_SUBSEGMENT_INDEX, _SUBSEGMENT_OFFSETS = 0, 1
_NAMED_KEY, _NAMED_SEGMENT = 0, 1
_HEADER = struct.Struct("<4sIQQQ")  # magic, header length, program size, segment base, segment data size
_HEADER_AT = 8
_ALIGNMENT = 128


@dataclass(frozen=True)
class Segment:
    """A span of the segment area. `offset_field` is where the file keeps the offset (0 if it is left out, being
    zero).
    """

    offset: int
    size: int
    offset_field: int


@dataclass(frozen=True)
class DelegatePayload:
    """Where a delegate's payload stands. `inline`: inside the program, else a segment of its own, which a delegate may
    free once it is loaded.
    """

    offset: int  # in the file
    size: int
    inline: bool


@dataclass(frozen=True)
class PteLayout:
    """Where things are in a `.pte`. Offsets of segments and constants are relative to `segment_base`."""

    segment_base: int
    segment_bytes: int
    segments: tuple[Segment, ...]
    constants: tuple[int, ...]  # absolute-in-segment-area offsets of the program's constants, by index
    constant_segment: int
    named_data: dict[str, int]  # name -> segment index
    payloads: dict[str, list[DelegatePayload]]  # delegate id -> its payloads

    def named_span(self, name: str) -> tuple[int, int]:
        """Offset in the file and size of a named constant, see `named_segment`."""
        segment = self.segments[self.named_segment(name)]
        return self.segment_base + segment.offset, segment.size

    def delegate_spans(self, delegate: str) -> list[tuple[int, int]]:
        """Offset in the file and size of each payload of a delegate."""
        return [(payload.offset, payload.size) for payload in self.payloads.get(delegate, [])]

    def named_segment(self, name: str) -> int:
        """Index of the segment with the constant of key `name`, or `name@CONTENT`. Raises KeyError."""
        for key, index in self.named_data.items():
            if key == name or key.startswith(f"{name}@"):
                return index
        raise KeyError(name)


def read_layout(data: bytes | bytearray | mmap.mmap, name: str = ".pte") -> PteLayout:
    """Parse the header and the tables that name segments. Raises InputError where `data` is no whole `.pte`."""
    hint = "export it again, or copy the whole file again"
    try:
        magic, length, program_size, base, segment_bytes = _HEADER.unpack_from(data, _HEADER_AT)
        if bytes(data[4:6]) != b"ET":
            raise InputError(f"{name} is not an ExecuTorch program", hint)
        if magic[:3] != b"eh0":  # a program that has no segments needs no header
            length, program_size, base, segment_bytes = _HEADER.size, len(data), len(data), 0
        if length < _HEADER.size:
            segment_bytes = len(data) - base
        if base + segment_bytes > len(data) or program_size > len(data):
            raise InputError(f"{name} is cut short: {len(data):,} bytes of {base + segment_bytes:,}", hint)
        # flatbuffers.Table reads bytes-like objects by index and struct; the program part alone is enough
        program_bytes = bytearray(data[:program_size])
        program = Table(program_bytes, struct.unpack_from("<I", program_bytes, 0)[0])
        segments = tuple(
            Segment(integer(s, _SEGMENT_OFFSET, "<Q"), integer(s, _SEGMENT_SIZE, "<Q"), field(s, _SEGMENT_OFFSET))
            for s in tables(program, _PROGRAM_SEGMENTS)
        )
        constants: tuple[int, ...] = ()
        constant_segment = -1
        subsegments = subtable(program, _PROGRAM_CONSTANT_SEGMENT)
        if subsegments is not None and segments:
            constant_segment = integer(subsegments, _SUBSEGMENT_INDEX, "<I")
            vector = subsegments.Offset(4 + 2 * _SUBSEGMENT_OFFSETS)
            if vector:
                start, count = subsegments.Vector(vector), subsegments.VectorLen(vector)
                offsets = struct.unpack_from(f"<{count}Q", program_bytes, start)
                constants = tuple(segments[constant_segment].offset + offset for offset in offsets)
        named = {}
        for entry in tables(program, _PROGRAM_NAMED_DATA):
            key = entry.String(field(entry, _NAMED_KEY)).decode()
            named[key] = integer(entry, _NAMED_SEGMENT, "<I")
        inline = [bytes_span(table, _INLINE_BYTES) for table in tables(program, _PROGRAM_INLINE_DATA)]
        payloads: dict[str, list[DelegatePayload]] = {}
        for plan in tables(program, _PROGRAM_PLANS):
            for delegate in tables(plan, _PLAN_DELEGATES):
                payload = subtable(delegate, _DELEGATE_DATA)
                if payload is None:
                    continue
                index = integer(payload, _DATA_INDEX, "<I")
                if integer(payload, _DATA_LOCATION, "<b") == _IN_A_SEGMENT:
                    where = DelegatePayload(base + segments[index].offset, segments[index].size, inline=False)
                else:
                    where = DelegatePayload(*inline[index], inline=True)
                key = delegate.String(field(delegate, _DELEGATE_ID)).decode()
                payloads.setdefault(key, []).append(where)
        for segment in segments:
            if segment.offset + segment.size > segment_bytes:
                raise InputError(f"{name} is damaged: a segment ends outside the file", hint)
        return PteLayout(base, segment_bytes, segments, constants, constant_segment, named, payloads)
    except (struct.error, LookupError, ValueError, TypeError) as error:
        raise InputError(f"{name} is not a whole ExecuTorch program", hint) from error


def check_regular(path: Path) -> None:
    """Raises InputError for what is no file of bytes: a pipe without a writer would be waited for without end."""
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot read {path}: {reason}", "check the path and its permissions") from error
    if not regular:
        raise InputError(f"{path} is not a regular file", "give a .pte or the folder of a bundle")


def map_file(path: Path) -> mmap.mmap:
    """The file's bytes, read-only. Raises InputError where it is empty or cannot be read."""
    check_regular(path)
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", "export it again") from error


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """The file's bytes, until the body is left. Raises InputError where it is empty or cannot be read."""
    data = map_file(path)
    with data:  # what the body raises is its own: a disk that is full where it writes, for one
        yield data


class OpenPte:
    """An open `.pte`: its bytes, where things are in it, and its tables, each parsed once."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        """Raises InputError where `data` is no whole `.pte`."""
        self.path, self.data = path, data
        self.layout = read_layout(data, str(path))

    @functools.cached_property
    def program(self) -> Program:
        """The program's tables. Raises InputError where they are damaged."""
        return read_program(self.data, self.layout)

    @property
    def forward(self) -> ExecutionPlan:
        """The tables of method `forward`. Raises InputError where there is none."""
        for plan in self.program.execution_plan:
            if plan.name == "forward":
                return plan
        raise InputError(f"{self.path} has no method forward", "give a .pte with the methods of the stock text runner")


@contextmanager
def open_pte(path: Path) -> Iterator[OpenPte]:
    """The `.pte` at `path`, until the body is left. Raises InputError where it is no whole one."""
    with mapped(path) as data:
        yield OpenPte(path, data)


def read_bytes(data: mmap.mmap, start: int, size: int) -> torch.Tensor:
    """A span of the file, uint8 [size]."""
    return torch.frombuffer(bytearray(data[start : start + size]), dtype=torch.uint8)


def read_program(data: mmap.mmap, layout: PteLayout) -> Program:
    """The program's tables. Raises InputError where they are damaged."""
    with unchecked_tables("the program"):
        return flatbuffer_to_program(bytes(data[: layout.segment_base]))


@contextmanager
def unchecked_tables(name: str) -> Iterator[None]:
    """Raises InputError, naming the file, for what the body meets in damaged tables.

    Neither ExecuTorch's parser nor flatbuffers checks a file: damage shows where a table is used, as an index out of
    range, a value of another type or None.
    """
    damage = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, AssertionError, struct.error)
    try:
        yield
    except (*damage, RecursionError, MemoryError) as error:
        raise InputError(
            f"{name} is damaged: {type(error).__name__} in its tables", "export it again, or copy the whole file again"
        ) from error


def share_constants(source: Path, destination: Path, names: list[str]) -> list[str]:
    """Copy `source` so that each named constant whose bytes also stand among the program's constants is stored once.

    Returns the names now shared. The copy streams: its memory does not follow the file's size.
    """
    with mapped(source) as data:
        layout = read_layout(data, str(source))
        shared: dict[int, int] = {}  # segment -> offset, in the old segment area, of the same bytes
        for name in names:
            index = layout.named_segment(name)
            start, size = layout.named_span(name)
            for constant in layout.constants:
                at = layout.segment_base + constant
                if size and layout.segments[index].offset_field and data[at : at + size] == data[start : start + size]:
                    shared[index] = constant
                    break
        moved: dict[int, int] = {}
        end = 0
        for index, segment in enumerate(layout.segments):
            if index not in shared:
                moved[index] = end = -(-end // _ALIGNMENT) * _ALIGNMENT
                end += segment.size
        constants_moved = moved[layout.constant_segment] - layout.segments[layout.constant_segment].offset
        for index, constant in shared.items():
            moved[index] = constant + constants_moved

        head = bytearray(data[: layout.segment_base])
        for index, segment in enumerate(layout.segments):
            if segment.offset_field:
                struct.pack_into("<Q", head, segment.offset_field, moved[index])
            elif moved[index]:
                raise AssertionError("a segment without an offset field must stay first")
        struct.pack_into("<Q", head, _HEADER_AT + _HEADER.size - 8, end)
        with destination.open("wb") as file:
            file.write(head)
            for index, segment in enumerate(layout.segments):
                if index in shared:
                    continue
                file.seek(layout.segment_base + moved[index])
                start = layout.segment_base + segment.offset
                for at in range(start, start + segment.size, 1 << 24):
                    file.write(data[at : min(at + (1 << 24), start + segment.size)])
            file.flush()
            os.fsync(file.fileno())
        return [name for name in names if layout.named_segment(name) in shared]
