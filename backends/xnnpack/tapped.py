"""A finished `.pte` whose layers can be looked into: the shipped bytes, with results of layers as further outputs.

The delegate's payload gets them as results (see `tapped_payload`), the program's tables get tensors for them, in
memory of their own behind everything else, and method `forward` returns them. Nothing else changes, so what is computed
is what the shipped file computes; whoever uses this compares the logits of both bit for bit. The file is written beside
the shipped one and removed when the session ends.

What is looked into is found by structure: from the linears `layers.N.o` and `layers.N.down`, which every form of the
graph has, back to what they take and forward to the sum that takes them.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import executorch.extension.llm.custom_ops.custom_ops
import executorch.kernels.quantized  # noqa: F401  registers the embedding kernels
import torch
from executorch.exir.scalar_type import ScalarType
from executorch.exir.schema import (
    AllocationDetails,
    BackendDelegate,
    BackendDelegateDataReference,
    BackendDelegateInlineData,
    DataLocation,
    DelegateCall,
    EValue,
    ExecutionPlan,
    Program,
    Tensor,
    TensorShapeDynamism,
)
from executorch.runtime import Runtime, Verification

from mlp_export.backends.xnnpack.payload import BACKEND_ID
from mlp_export.backends.xnnpack.tapped_payload import PayloadNode, TappablePayload
from mlp_export.errors import InputError
from mlp_export.models.config import ModelConfig
from mlp_export.program.executorch_private import ExtendedHeader, insert_flatbuffer_header, program_to_flatbuffer
from mlp_export.program.layer_taps import TAPS, CachedRows, TappedCall
from mlp_export.program.pte import PteLayout, mapped, read_layout, read_program
from mlp_export.program.tables import CACHE_WRITERS, kernel_calls, planned_bytes
from mlp_export.runtime.native_output import capture_native_output
from mlp_export.scratch import scratch_folder

_TAPPED_BYTES = 256_000_000  # most that the layers' results of one call may take
_ALIGNMENT = 64
_SEGMENT_ALIGNMENT = 128
_COPIED_BYTES = 1 << 24
_NORM = ("multiply", "linear", "reciprocal square root")  # operators of an RMS norm


class _Finder:
    def __init__(self, payload: TappablePayload) -> None:
        self.payload = payload
        self.makers = {node.output: node for node in payload.nodes}
        self.places = {node.output: place for place, node in enumerate(payload.nodes)}
        self.linears: dict[str, PayloadNode] = {}
        for node in payload.nodes:
            if node.kind == "linear" and (name := payload.values[node.inputs[1]].constant):
                self.linears[name.partition("@")[0]] = node

    def layers(self, count: int) -> list[int]:
        found = []
        for layer in range(count):
            o, down = self.linear(f"layers.{layer}.o"), self.linear(f"layers.{layer}.down")
            attended = self.taken_by(o)
            found += [self.query(attended), attended, self.sum(o), self.taken_by(down), self.sum(down)]
        return found

    def linear(self, name: str) -> PayloadNode:
        if name not in self.linears:
            raise _unknown(f"no linear {name}")
        return self.linears[name]

    def taken_by(self, linear: PayloadNode) -> int:
        """The float rows that a linear takes, before they are quantized."""
        convert = self.makers.get(linear.inputs[0])
        if convert is None or convert.kind != "convert":
            raise _unknown("a linear over rows that are not quantized for it")
        return convert.inputs[0]

    def sum(self, linear: PayloadNode) -> int:
        """The first sum behind a linear: hidden rows with what it adds to them. A norm may lie between, whose linear
        makes the mean of squares.
        """
        behind = {linear.output}
        for node in self.payload.nodes[self.places[linear.output] + 1 :]:
            if behind.isdisjoint(node.inputs):
                continue
            if node.kind == "add":
                return node.output
            if node.kind not in _NORM:
                break
            behind.add(node.output)
        raise _unknown("no sum behind a linear that adds to the hidden rows")

    def query(self, attended: int) -> int:
        """The grouped queries of the attention whose result is `attended`: the left operand of the product that its
        softmax is of, before that is multiplied by the keys' scales and the mask is added.
        """
        softmaxes = self.softmaxes_behind(attended)
        node = self.makers.get(softmaxes[0].inputs[0]) if len(softmaxes) == 1 else None
        while node is not None and node.kind in ("add", "multiply"):
            node = self.makers.get(node.inputs[0])
        if node is None or node.kind != "matmul":
            raise _unknown("no product of queries and keys in an attention")
        return node.inputs[0]

    def softmaxes_behind(self, value: int) -> list[PayloadNode]:
        """Those that `value` is made of, as far as no linear lies between."""
        found, ahead, seen = [], [value], set()
        while ahead:
            value = ahead.pop()
            node = self.makers.get(value)
            if value in seen or node is None:
                continue
            seen.add(value)
            if node.kind == "softmax":
                found.append(node)
            elif node.kind != "linear":
                ahead += node.inputs
        return found


def _unknown(what: str) -> InputError:
    return InputError(f"the XNNPACK payload has {what}", "its layers cannot be verified one by one")


class TappedXnnpackSession:
    """A program that shows its layers' results; its caches start as zeros."""

    def __init__(self, path: Path, config: ModelConfig, most_rows: int) -> None:
        """`path` is a file that `write_tapped` wrote, for calls of up to `most_rows` tokens."""
        self.most_rows, self._config = most_rows, config
        with capture_native_output():
            self._program = Runtime.get().load_program(path, verification=Verification.InternalConsistency)
            self._forward = self._program.load_method("forward")

    def forward(self, tokens: Sequence[int], position: int, rows: Sequence[int]) -> TappedCall:
        """`tokens`, which stand at `position`, `position` + 1, ..., with the results of `rows` among them; the last row
        is one.
        """
        logits, *others = self._forward.execute([torch.tensor([list(tokens)]), torch.tensor([position])])
        count, behind = self._config.num_layers, len(TAPS) * self._config.num_layers
        new_rows, taps = others[:-behind], others[-behind:]
        half = len(new_rows) // count // 2  # codes and scales, or values
        parts = [part.squeeze(2).transpose(0, 1) for part in new_rows]  # [K, S, 1, width] to [S, K, width]
        cached = [CachedRows(*(part.clone() for part in parts[at : at + half])) for at in range(0, len(parts), half)]
        values = {
            f"layers.{n // len(TAPS)}.{TAPS[n % len(TAPS)]}": self._picked(tap, rows) for n, tap in enumerate(taps)
        }
        return TappedCall(logits.view(-1).clone(), cached[::2], cached[1::2], values)

    def unload(self) -> None:
        """Let go of the program and its memory."""
        del self._forward, self._program

    def _picked(self, tap: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """`rows` of what a layer returned; the last layer returned the last row alone."""
        if tap.dim() == 3:  # grouped queries [K, G * S, E], as [S, H, E]
            groups = self._config.num_heads // self._config.num_kv_heads
            tap = tap.unflatten(1, (groups, -1)).permute(2, 0, 1, 3).flatten(1, 2)
        return (tap if len(tap) == 1 else tap[list(rows)]).clone()


@contextmanager
def open_tapped(path: Path, config: ModelConfig, scratch: Path | None = None) -> Iterator[TappedXnnpackSession]:
    """The program at `path` with its layers' results: a copy in folder `scratch`, TMPDIR if not given.

    Raises InputError where they are not found.
    """
    with scratch_folder(scratch) as folder:
        tapped = folder / path.name
        with tapped.open("wb") as file, mapped(path) as data:
            most_rows = write_tapped(data, config, file)
        session = TappedXnnpackSession(tapped, config, most_rows)
        try:
            yield session
        finally:
            session.unload()


def write_tapped(data: mmap.mmap, config: ModelConfig, file: BinaryIO) -> int:
    """Write `data`, a `.pte`, with its layers' results among the outputs. Returns how many tokens a call may have."""
    layout = read_layout(data)
    program = read_program(data, layout)
    plan = next(plan for plan in program.execution_plan if plan.name == "forward")
    calls = [i.instr_args for i in plan.chains[0].instructions if isinstance(i.instr_args, DelegateCall)]
    if len(calls) != 1:
        raise _unknown(f"{len(calls)} delegate calls around it, expected one")
    delegate = plan.delegates[calls[0].delegate_index]
    payload = TappablePayload(_payload(data, layout, program, delegate))
    taps = _Finder(payload).layers(config.num_layers)
    new_rows = calls[0].args[-sum(name in CACHE_WRITERS for name, _ in kernel_calls(plan)) :]
    if len(calls[0].args) != payload.externs or len(new_rows) % (2 * config.num_layers):
        raise _unknown(f"{payload.externs} arguments and results, which are not those of a decoder")

    shapes = [payload.values[tap].shape for tap in taps]
    chunk = max(shape[0] for shape in shapes if len(shape) == 2)
    rows = max(1, min(chunk, chunk * _TAPPED_BYTES // sum(4 * math.prod(shape) for shape in shapes)))
    for value in new_rows:  # nothing that comes later may take its memory
        _give_memory(plan, plan.values[value].val)
    # The program says in which memory results of the delegate stand.
    memory = plan.values[new_rows[0]].val.allocation_info.memory_id
    groups = config.num_heads // config.num_kv_heads
    for shape in shapes:
        few = (min(shape[0], rows), shape[1]) if len(shape) == 2 else (shape[0], min(shape[1], groups * rows), shape[2])
        tensor = Tensor(
            scalar_type=ScalarType.FLOAT,
            storage_offset=0,
            sizes=list(few),
            dim_order=list(range(len(few))),
            requires_grad=False,
            layout=0,
            data_buffer_idx=0,
            allocation_info=AllocationDetails(memory, 0, 0),
            shape_dynamism=TensorShapeDynamism.DYNAMIC_BOUND,
        )
        _give_memory(plan, tensor)
        plan.values.append(EValue(tensor))
        calls[0].args.append(len(plan.values) - 1)
    plan.outputs += [*new_rows, *calls[0].args[payload.externs :]]
    delegate.processed = BackendDelegateDataReference(DataLocation.INLINE, len(program.backend_delegate_data))
    program.backend_delegate_data.append(BackendDelegateInlineData(payload.with_results(taps)))
    write_program(program, data, layout, file)
    return rows


def _payload(data: mmap.mmap, layout: PteLayout, program: Program, delegate: BackendDelegate) -> bytes:
    """The delegate's bytes, which stand in the program or in a segment."""
    if delegate.id != BACKEND_ID:
        raise InputError(f"the program calls {delegate.id}, expected {BACKEND_ID}", "give a .pte of mlp-export")
    index = delegate.processed.index
    if delegate.processed.location == DataLocation.INLINE:
        return bytes(program.backend_delegate_data[index].data)
    segment = layout.segments[index]
    start = layout.segment_base + segment.offset
    return data[start : start + segment.size]


def _give_memory(plan: ExecutionPlan, tensor: Tensor) -> None:
    """Memory of its own, behind everything else in the same arena."""
    place, arenas = tensor.allocation_info, plan.non_const_buffer_sizes
    if place is None:
        raise _unknown("results without planned memory")
    offset = -(-arenas[place.memory_id] // _ALIGNMENT) * _ALIGNMENT
    arenas[place.memory_id] = offset + planned_bytes(tensor)
    place.memory_offset_high, place.memory_offset_low = divmod(offset, 1 << 32)


def write_program(program: Program, data: mmap.mmap, layout: PteLayout, file: BinaryIO) -> None:
    """The program's tables, then the segments of `data` as they are, in blocks."""
    tables = program_to_flatbuffer(program, constant_tensor_alignment=16)
    room = -(-ExtendedHeader.EXPECTED_LENGTH // tables.max_alignment) * tables.max_alignment
    size = room + len(tables.data)
    base = -(-size // _SEGMENT_ALIGNMENT) * _SEGMENT_ALIGNMENT
    header = ExtendedHeader(size, base, layout.segment_bytes).to_bytes()
    file.write(insert_flatbuffer_header(tables.data, "ET..", header.ljust(room, b"\0")))
    file.write(bytes(base - size))
    end = layout.segment_base + layout.segment_bytes
    for at in range(layout.segment_base, end, _COPIED_BYTES):
        file.write(data[at : min(at + _COPIED_BYTES, end)])
    file.flush()
