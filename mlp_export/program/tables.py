"""What the tables of an ExecuTorch program say, for whoever reads or rewrites them."""

from __future__ import annotations

import math

import torch
from executorch.exir.scalar_type import ScalarType
from executorch.exir.schema import ExecutionPlan, InstructionArguments, KernelCall, Tensor

# Operators that look up the embedding, with the bits of its codes. Their first arguments are codes and scales.
EMBEDDING_BITS = {"quantized_decomposed::embedding_4bit": 4, "quantized_decomposed::embedding_byte": 8}
# Operators that write a KV cache, with the index of the argument that is the cache.
CACHE_WRITERS = {"llama::update_cache": 1, "llama::update_cache_with_indices": 1}
_DTYPES = {
    ScalarType.BYTE: torch.uint8,
    ScalarType.CHAR: torch.int8,
    ScalarType.BOOL: torch.bool,
    ScalarType.SHORT: torch.int16,
    ScalarType.HALF: torch.float16,
    ScalarType.BFLOAT16: torch.bfloat16,
    ScalarType.INT: torch.int32,
    ScalarType.FLOAT: torch.float32,
    ScalarType.LONG: torch.int64,
    ScalarType.DOUBLE: torch.float64,
}


def instructions(plan: ExecutionPlan) -> list[InstructionArguments]:
    """What a method does, in order."""
    return [instruction.instr_args for chain in plan.chains for instruction in chain.instructions]


def kernel_calls(plan: ExecutionPlan) -> list[tuple[str, list[int]]]:
    """Operators in order of execution, each with its arguments' indices into the plan's values."""
    return [
        (plan.operators[call.op_index].name, call.args) for call in instructions(plan) if isinstance(call, KernelCall)
    ]


def dtype(tensor: Tensor) -> torch.dtype:
    """What a tensor holds. Raises KeyError for a dtype that no program of ours has."""
    return _DTYPES[tensor.scalar_type]


def planned_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor at its largest shape. Raises KeyError as `dtype` does."""
    return math.prod(tensor.sizes) * dtype(tensor).itemsize
