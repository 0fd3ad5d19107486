"""A program with the KV caches of one layer of each kind, made into the program of all layers.

torch.export and ExecuTorch's passes take a second a layer over caches that differ in nothing but their place in
memory. So the program around a delegate is traced for one local and one global layer, and this module repeats, in
ExecuTorch's own `Program` tables, what belongs to a cache: its buffer, the slice of it that the delegate reads, the
rows that the delegate returns, the selection of those that hold tokens, and the operator that writes them. The delegate
takes and returns them in the order of all layers.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence

from executorch.exir.schema import (
    DelegateCall,
    EValue,
    ExecutionPlan,
    Instruction,
    KernelCall,
    Program,
    Tensor,
)

from mlp_export.program.tables import planned_bytes

_WRITER = "llama::update_cache_with_indices"  # (new rows, cache, start, slots, out)
_READER = "aten::slice_copy"  # (cache, dim, start, end, step, out); where the delegate takes the filled slots alone
_SELECTOR = (
    "aten::index_select"  # (rows, dim, indices, out); where the delegate returns more rows than there are tokens
)
_ALIGNMENT = 64


def repeat_layers(
    program: Program, template: Sequence[Hashable], caches: Sequence[Hashable], other_results: int = 1
) -> None:
    """Rewrite method `forward` of `program`, which has the cache tensors `template`, to have `caches`.

    Both list the kinds of cache tensors in the order of the delegate's arguments and results; each kind stands once in
    `template`, and each of `caches` is one of them. Changes `program` in place.

    Raises ValueError where the program is not of the expected form: one delegate call, whose last arguments are the
    caches and the rows for each cache, with `other_results` all before or all behind those.
    """
    if len(set(template)) != len(template):
        raise ValueError("a kind of cache stands twice in the template")
    plan = next(plan for plan in program.execution_plan if plan.name == "forward")
    _Repetition(plan, template, other_results).apply(caches)


class _Repetition:
    def __init__(self, plan: ExecutionPlan, template: Sequence[Hashable], other_results: int) -> None:
        self.plan = plan
        self.instructions = plan.chains[0].instructions
        calls = [i for i in self.instructions if isinstance(i.instr_args, DelegateCall)]
        if len(plan.chains) != 1 or len(calls) != 1:
            raise ValueError(f"expected one chain with one delegate call, found {len(calls)} calls")
        self.call = calls[0].instr_args
        count = len(template)
        arguments = self.call.args
        first = len(arguments) - 2 * count - other_results
        self.shared = arguments[:first]
        self.taken = dict(zip(template, arguments[first : first + count], strict=True))
        results = arguments[first + count :]
        self.selectors = {i.instr_args.args[0]: i for i in self._kernels(_SELECTOR) if i.instr_args.args[0] in results}
        self.writers = {i.instr_args.args[0]: i for i in self._kernels(_WRITER)}
        self.readers = {i.instr_args.args[-1]: i for i in self._kernels(_READER)}
        rows = [value for value in results if self._written(value) in self.writers]
        if len(rows) != count or len(self.writers) != count:
            raise ValueError("not every row that the delegate returns is written to a cache")
        self.rows = dict(zip(template, rows, strict=True))
        self.results = [value for value in results if value not in rows]
        self.results_first = results[0] in self.results

    def _written(self, rows: int) -> int:
        """The value that is written to the cache: rows that the delegate returns, or those selected of them."""
        selector = self.selectors.get(rows)
        return rows if selector is None else selector.instr_args.args[-1]

    def _kernels(self, name: str) -> list[Instruction]:
        operators = [operator.name for operator in self.plan.operators]
        return [
            i
            for i in self.instructions
            if isinstance(i.instr_args, KernelCall) and operators[i.instr_args.op_index] == name
        ]

    def apply(self, caches: Sequence[Hashable]) -> None:
        seen: set[Hashable] = set()
        taken, rows = [], []
        readers: list[Instruction] = []
        writers: list[Instruction] = []
        for kind in caches:
            argument, row = self.taken[kind], self.rows[kind]
            if kind in seen:
                old_row, written = row, self._written(row)
                writer, reader, selector = self.writers[written], self.readers.get(argument), self.selectors.get(row)
                old_cache = writer.instr_args.args[1]
                cache, row = self._another(old_cache), self._another(old_row)
                if selector is not None:  # into the place that the kind's other layers have been written from
                    writers.append(_with_arguments(selector, {old_row: row}))
                writers.append(_with_arguments(writer, {old_row: row, old_cache: cache}))
                if reader is None:
                    argument = cache
                else:
                    new_slice = self._another(argument)
                    readers.append(_with_arguments(reader, {old_cache: cache, argument: new_slice}))
                    argument = new_slice
            seen.add(kind)
            taken.append(argument)
            rows.append(row)
        if len(seen) != len(self.taken):
            raise ValueError("a cache of the template is in no layer")
        results = [*self.results, *rows] if self.results_first else [*rows, *self.results]
        self.call.args = [*self.shared, *taken, *results]
        at = next(n for n, i in enumerate(self.instructions) if i.instr_args is self.call)
        last_writer = max(n for n, i in enumerate(self.instructions) if any(i is w for w in self.writers.values()))
        self.instructions[last_writer + 1 : last_writer + 1] = writers
        self.instructions[at:at] = readers

    def _another(self, index: int) -> int:
        """A value like that at `index`, with memory of its own at the end of the same arena."""
        tensor = self.plan.values[index].val
        if not isinstance(tensor, Tensor) or tensor.allocation_info is None:
            raise ValueError(f"value {index} is not a tensor with planned memory")
        tensor = copy.deepcopy(tensor)
        place = tensor.allocation_info
        arenas = self.plan.non_const_buffer_sizes
        offset = -(-arenas[place.memory_id] // _ALIGNMENT) * _ALIGNMENT
        arenas[place.memory_id] = offset + planned_bytes(tensor)
        place.memory_offset_high, place.memory_offset_low = divmod(offset, 1 << 32)
        self.plan.values.append(EValue(tensor))
        return len(self.plan.values) - 1


def _with_arguments(instruction: Instruction, new: dict[int, int]) -> Instruction:
    call = instruction.instr_args
    return Instruction(KernelCall(op_index=call.op_index, args=[new.get(index, index) for index in call.args]))
