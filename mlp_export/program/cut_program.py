"""A program cut at its delegate's call, for machines that have everything to run it but the delegate.

What stands before the call and what stands behind it become two methods of a second program: the same tables and
constants, run by ExecuTorch's own runtime with its own kernels. Whoever has another way to compute what the delegate
computes stands between the two. Behind the call, the method has the caches among its outputs, since the delegate takes
them.
"""

from __future__ import annotations

import copy
import mmap
from collections.abc import Sequence

import executorch.extension.llm.custom_ops.custom_ops
import executorch.kernels.quantized  # noqa: F401  registers the embedding kernels
import torch
from executorch.exir.schema import (
    Buffer,
    DelegateCall,
    ExecutionPlan,
    Instruction,
    Program,
    SubsegmentOffsets,
    Tensor,
)
from executorch.runtime import Runtime

from mlp_export.errors import InputError
from mlp_export.program.executorch_private import PTEFile, serialize_pte_binary
from mlp_export.program.pte import PteLayout, read_layout, read_program
from mlp_export.program.tables import CACHE_WRITERS, dtype, kernel_calls, planned_bytes

_BEFORE, _BEHIND = "before", "behind"


class CutProgram:
    """Method `forward` of a program, without its one delegate call."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        """`data`: a `.pte`. Raises InputError where it is none, or has another number of delegate calls."""
        layout = read_layout(data, name)
        program = read_program(data, layout)
        forward = next((plan for plan in program.execution_plan if plan.name == "forward"), None)
        chain = [] if forward is None else forward.chains[0].instructions
        calls = [n for n, instruction in enumerate(chain) if isinstance(instruction.instr_args, DelegateCall)]
        if forward is None or len(calls) != 1:
            raise InputError(f"{name} has {len(calls)} delegate calls in method forward, expected one")
        written = [arguments[CACHE_WRITERS[name]] for name, arguments in kernel_calls(forward) if name in CACHE_WRITERS]
        arguments = chain[calls[0]].instr_args.args
        caches = [index for index in arguments if index in set(written)]
        if not caches:
            raise InputError(
                f"{name}: the delegate takes no KV cache that the program writes", "give a .pte of mlp-export"
            )
        first = arguments.index(caches[0])
        shared, results = arguments[:first], arguments[first + len(caches) :]
        before, behind = copy.deepcopy(forward), copy.deepcopy(forward)
        before.name, behind.name = _BEFORE, _BEHIND
        before.chains[0].instructions = chain[: calls[0]]
        before.outputs = shared
        after = chain[calls[0] + 1 :]
        behind.chains[0].instructions = [*_sizes_for(after, before), *after]
        behind.inputs = [*forward.inputs, *results]
        behind.outputs = [*forward.outputs, *caches]
        constants = [plan for plan in program.execution_plan if plan is not forward]
        self.caches = [_zeros(forward, index) for index in caches]
        program.execution_plan = [before, behind, *constants]
        _take_constants(program, data, layout)
        self._program = Runtime.get().load_program(serialize_pte_binary(PTEFile(program=program)).__bytes__())
        self._before, self._behind = (self._program.load_method(method) for method in (_BEFORE, _BEHIND))

    def constant(self, name: str) -> int:
        """What a constant method returns. Raises InputError where there is none."""
        method = self._program.load_method(name) if name in self._program.method_names else None
        if method is None:
            raise InputError(f"the program has no constant method {name}", "give a .pte of the stock text runner's")
        return int(method.execute([])[0])

    def arguments(self, tokens: torch.Tensor, input_pos: torch.Tensor) -> list[torch.Tensor]:
        """What the delegate is called with, in order; the caches are as the last call left them."""
        return [*self._before.execute([tokens, input_pos]), *self.caches]

    def logits(self, tokens: torch.Tensor, input_pos: torch.Tensor, results: Sequence[torch.Tensor]) -> torch.Tensor:
        """What `forward` returns when the delegate returned `results`. The caches are written."""
        logits, *caches = self._behind.execute([tokens, input_pos, *results])
        self.caches = [cache.clone() for cache in caches]
        return logits.clone()


def _sizes_for(after: list[Instruction], before: ExecutionPlan) -> list[Instruction]:
    """What of `before` is computed for `after`: sizes. A tensor would stand in memory that the delegate's results take
    over, and raises ValueError.
    """
    made = {i.instr_args.args[-1]: i for i in before.chains[0].instructions}
    used = {index for i in after for index in i.instr_args.args} & set(made)
    for index in used:
        if isinstance(before.values[index].val, Tensor):
            raise ValueError(f"tensor {index} is computed before the delegate's call and used behind it")
    return [i for i in before.chains[0].instructions if i.instr_args.args[-1] in used]


def _zeros(plan: ExecutionPlan, index: int) -> torch.Tensor:
    """A cache as a fresh program has it."""
    cache = plan.values[index].val
    assert isinstance(cache, Tensor)
    return torch.zeros(cache.sizes, dtype=dtype(cache))


def _take_constants(program: Program, data: mmap.mmap, layout: PteLayout) -> None:
    """Put the constants' bytes into the tables, and take out what names a segment of the old file."""
    buffers = [Buffer(b"") for _ in layout.constants]
    for plan in program.execution_plan:
        plan.delegates = []
        for value in plan.values:
            if isinstance(value.val, Tensor) and value.val.data_buffer_idx > 0 and value.val.allocation_info is None:
                index, size = value.val.data_buffer_idx, planned_bytes(value.val)
                start = layout.segment_base + layout.constants[index]
                buffers[index] = Buffer(bytes(data[start : start + size]))
    program.constant_buffer = buffers or [Buffer(b"")]
    program.constant_segment = SubsegmentOffsets(segment_index=0, offsets=[])
    program.backend_delegate_data, program.segments, program.named_data = [], [], []
