"""A forecast of what the Neural Engine takes of a Core ML program, by the limits that are public.

Apple documents none of it: Core ML decides when it loads a model, and only `MLComputePlan` on a device says what it
decided. The rules below are what developers have found and published; a program that breaks none may still run
elsewhere.

* Tensors are float16 or codes of at most 8 bits: float32, int32 and bool stay on the CPU (coremltools' guide, "Typed
  Execution").
* At most 5 dimensions, and 16,384 along any (github.com/hollance/neural-engine).
* No control flow, lists, random numbers or recurrent layers, and no indices that are computed: gathers, scatters,
  sorting, ranges (the same, "Unsupported layers").
* Weights have a scale a channel, not one a block: blocks are for GPUs (coremltools' guide, "Quantization Overview").
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mlp_export.backends.base import PlacementForecast
from mlp_export.backends.coreml.package_reader import CoremlPackage
from mlp_export.backends.coreml.targets import MOST_DIMENSION, MOST_RANK
from mlp_export.backends.coreml.tools import MIL_pb2

_TYPES = MIL_pb2.DataType
_TAKEN = {_TYPES.FLOAT16, _TYPES.INT8, _TYPES.UINT8, _TYPES.INT4, _TYPES.UINT4}
# Operators that the engine does not run, whatever their tensors.
_CONTROL = {"cond", "while_loop", "make_list", "list_gather", "list_length", "list_read", "list_scatter", "list_write"}
_RANDOM = {"random_bernoulli", "random_categorical", "random_normal", "random_uniform"}
_INDEXED = {
    *("argsort", "cumsum", "gather", "gather_along_axis", "gather_nd", "non_maximum_suppression", "non_zero"),
    *("one_hot", "range_1d", "scatter", "scatter_along_axis", "scatter_nd", "shape", "topk"),
}
_RECURRENT = {"gru", "lstm", "rnn"}
_FREE = {"const"}  # nothing to run


def forecast(packages: Sequence[CoremlPackage]) -> PlacementForecast | None:
    """What of the packages' functions the Neural Engine is expected to take; None where all are compiled models."""
    counts: Counter[str] = Counter()
    exceptions: list[str] = []
    kept = 0  # from the engine
    functions = [f for p in packages if p.specification is not None for f in p.functions.values()]
    for function in functions:
        types = {value.name: value.type for value in function.inputs}
        for operation in function.block_specializations[function.opset].operations:
            types.update((output.name, output.type) for output in operation.outputs)
            if operation.type in _FREE:
                continue
            constant = operation.type.startswith("constexpr_")
            reason = _blocked(operation) if constant else _reason(operation, types)
            if reason:
                name = operation.outputs[0].name if operation.outputs else "-"
                exceptions.append(f"{name} ({operation.type}): {reason}")
            if not constant:
                counts[operation.type] += 1
                kept += bool(reason)
    if not functions:
        return None
    total = sum(counts.values())
    share = (total - kept) / total if total else 0.0
    return PlacementForecast("Neural Engine", dict(counts.most_common()), share, exceptions)


def _reason(operation: Any, types: dict[str, Any]) -> str:
    """Why the engine will not take an operator; "" where no rule says so."""
    for group, why in (
        (_CONTROL, "control flow"),
        (_RANDOM, "random numbers"),
        (_RECURRENT, "a recurrent layer"),
        (_INDEXED, "indices that are computed"),
    ):
        if operation.type in group:
            return why
    names = [b.name for argument in operation.inputs.values() for b in argument.arguments if b.name]
    tensors = [types[name] for name in names if name in types and _is_activation(types[name])]
    for value in [*tensors, *(output.type for output in operation.outputs)]:
        kind = value.tensorType
        shape = [dimension.constant.size for dimension in kind.dimensions]
        if kind.dataType not in _TAKEN:
            return f"{_type_name(kind.dataType)} {shape}"
        if len(shape) > MOST_RANK:
            return f"{len(shape)} dimensions, at most {MOST_RANK}"
        if max(shape, default=0) > MOST_DIMENSION:
            return f"{max(shape):,} along one dimension, at most {MOST_DIMENSION:,}"
    return ""


def _type_name(kind: int) -> str:
    return _TYPES.Name(kind).lower() if kind in _TYPES.values() else f"type {kind}"


def _is_activation(value: Any) -> bool:
    """Not an attribute of the operator: axes, shapes, strings, numbers."""
    kind = value.tensorType
    size = math.prod(dimension.constant.size for dimension in kind.dimensions)
    return value.WhichOneof("type") == "tensorType" and len(kind.dimensions) > 1 and size > 1


def _blocked(operation: Any) -> str:
    """Whether scales stand for blocks of a row and not for whole channels."""
    if "scale" not in operation.inputs or "data" not in operation.inputs:
        return ""
    codes, scales = (
        [d.constant.size for d in operation.inputs[key].arguments[0].value.type.tensorType.dimensions]
        for key in ("data", "scale")
    )
    if any(count not in (1, size) for count, size in zip(scales, codes, strict=False)):
        return f"a scale a block: {scales} for {codes}"
    return ""
