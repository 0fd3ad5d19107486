"""An interpreter of MIL, Core ML's program format, for machines that have no Core ML.

It runs the function of a package as it stands in the file (see `package_reader`), with float32 arithmetic inside an
operator and each operator's result rounded to the type that the program gives it. So it shows what float16 cannot hold
and what a wrong graph computes. It does not model the Neural Engine, whose sums are its own.

It has the operators that `decoder_graph` writes. Any other is an error, and so is a result whose shape is not the one
that the program declares. tests/test_mil_interpreter.py holds each operator against coremltools' own value inference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mlp_export.backends.coreml.package_reader import CoremlPackage
from mlp_export.backends.coreml.tools import MIL_pb2
from mlp_export.errors import InputError

# Weights that stay in memory as floats, in bytes; of a larger model each is made anew in each call.
_DENSE_BYTES = 1_500_000_000

_Arguments = Mapping[str, Any]
_Operator = Callable[[_Arguments], torch.Tensor]
_TYPES = MIL_pb2.DataType


class MilInterpreter:
    """One package's function. Tensors that hold floats are float32 here, whatever the program calls them."""

    def __init__(self, package: CoremlPackage) -> None:
        """Raises InputError where the package holds no program, several functions or an operator that is not known."""
        if package.specification is None:
            raise InputError(f"{package.name} holds a compiled Core ML model", "only a Mac can run it")
        functions = package.specification.mlProgram.functions
        if len(functions) != 1:
            raise InputError(f"{package.name} has {len(functions)} Core ML functions", "one is expected")
        self.package, self.block = package, package.function
        unknown = sorted({o.type for o in self.block.operations} - {*OPERATORS, "const", _CONSTANT_WEIGHT})
        if unknown:
            raise InputError(
                f"{package.name} has Core ML operators that are not known here: {', '.join(unknown)}",
                "the interpreter has those that mlp-export writes",
            )
        self.constants: dict[str, Any] = {}
        weights = [operation for operation in self.block.operations if operation.type == _CONSTANT_WEIGHT]
        dense_bytes = sum(4 * int(np.prod(_shape(operation.outputs[0]))) for operation in weights)
        self.keeps_weights = dense_bytes <= _DENSE_BYTES
        for operation in self.block.operations:
            if operation.type == "const":
                self.constants[operation.outputs[0].name] = self._value(operation.attributes["val"])

    def run(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Outputs by their names, in the dtypes that the program declares. `inputs`: all of the function's."""
        values: dict[str, Any] = {name: tensor.float() for name, tensor in inputs.items()}
        uses = self._uses()
        for operation in self.block.operations:
            if operation.type == "const":
                continue
            result = self._result(operation, values)
            for name in _names(operation):  # what nobody asks for any more is let go of
                uses[name] -= 1
                if not uses[name]:
                    values.pop(name, None)
            values[operation.outputs[0].name] = result
        declared = {output.name: output for operation in self.block.operations for output in operation.outputs}
        return {
            name: values[name].to(torch.float16 if _is_half(declared[name]) else torch.float32)
            for name in self.block.outputs
        }

    def _uses(self) -> dict[str, int]:
        """How often each value is asked for; outputs once more."""
        uses = dict.fromkeys(self.block.outputs, 1)
        for operation in self.block.operations:
            for name in _names(operation):
                uses[name] = uses.get(name, 0) + 1
        return uses

    def _result(self, operation: Any, values: Mapping[str, Any]) -> torch.Tensor:
        output = operation.outputs[0]
        name = output.name
        if name in self.constants:
            kept: torch.Tensor = self.constants[name]
            return kept
        arguments = {key: self._argument(argument, values) for key, argument in operation.inputs.items()}
        if operation.type == _CONSTANT_WEIGHT:
            result = blockwise_shift_scale(arguments)
        else:
            result = OPERATORS[operation.type](arguments)
        if list(result.shape) != _shape(output):
            raise InputError(f"{operation.type} {name!r} gives {list(result.shape)}, declared {_shape(output)}")
        if _is_half(output):
            result = result.to(torch.float16).float()
        if operation.type == _CONSTANT_WEIGHT and self.keeps_weights:
            self.constants[name] = result
        return result

    def _argument(self, argument: Any, values: Mapping[str, Any]) -> Any:
        found = []
        for binding in argument.arguments:
            if binding.WhichOneof("binding") == "value":
                found.append(self._value(binding.value))
            else:
                found.append(values[binding.name] if binding.name in values else self.constants[binding.name])
        return found if len(found) > 1 else found[0]

    def _value(self, value: Any) -> Any:
        """A constant: floats as tensors, whole numbers as lists or numbers, codes as int8 tensors."""
        constant = self.package.value(value)
        if isinstance(constant, str):
            return constant
        if constant.dtype.kind == "f":
            return torch.from_numpy(constant.astype(np.float32))
        return torch.from_numpy(constant.copy()) if constant.dtype == np.int8 else constant.tolist()


def _names(operation: Any) -> list[str]:
    return [b.name for a in operation.inputs.values() for b in a.arguments if b.WhichOneof("binding") == "name"]


def _shape(output: Any) -> list[int]:
    return [int(dimension.constant.size) for dimension in output.type.tensorType.dimensions]


def _is_half(output: Any) -> bool:
    return bool(output.type.tensorType.dataType == _TYPES.FLOAT16)


_CONSTANT_WEIGHT = "constexpr_blockwise_shift_scale"


def blockwise_shift_scale(arguments: _Arguments) -> torch.Tensor:
    """Codes times scales; a scale stands for a block of codes along each axis."""
    codes, scales = arguments["data"], arguments["scale"]
    if "offset" in arguments:
        raise InputError("a weight with an offset", "mlp-export writes none")
    for axis, (size, count) in enumerate(zip(codes.shape, scales.shape, strict=True)):
        if count not in (1, size):
            scales = scales.repeat_interleave(size // count, axis)
    return codes.float() * scales


def _convolution(arguments: _Arguments) -> torch.Tensor:
    """1 x 1, stride 1: [1, in, 1, n] by weights [out, in, 1, 1]."""
    x, weight = arguments["x"], arguments["weight"]
    if "bias" in arguments or list(weight.shape[2:]) != [1, 1] or list(x.shape[:1]) != [1] or x.shape[2] != 1:
        raise InputError(f"a convolution of {list(x.shape)} by {list(weight.shape)}", "mlp-export writes 1 x 1 ones")
    return (weight[:, :, 0, 0] @ x[0, :, 0]).view(1, weight.shape[0], 1, x.shape[3])


def _matmul(arguments: _Arguments) -> torch.Tensor:
    x, y = arguments["x"], arguments["y"]
    x = x.transpose(-1, -2) if arguments.get("transpose_x") else x
    return x @ (y.transpose(-1, -2) if arguments.get("transpose_y") else y)


def _slice_by_size(arguments: _Arguments) -> torch.Tensor:
    spans = zip(arguments["begin"], arguments["size"], strict=True)
    part: torch.Tensor = arguments["x"][tuple(slice(first, first + size) for first, size in spans)]
    return part


def _reduced(reduce: Callable[..., torch.Tensor]) -> _Operator:
    def operator(arguments: _Arguments) -> torch.Tensor:
        return reduce(arguments["x"], dim=tuple(arguments["axes"]), keepdim=bool(arguments["keep_dims"]))

    return operator


def _both(compute: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> _Operator:
    return lambda arguments: compute(arguments["x"], arguments["y"])


def _values(arguments: _Arguments) -> Sequence[torch.Tensor]:
    values = arguments["values"]
    return values if isinstance(values, list) else [values]


OPERATORS: Mapping[str, _Operator] = {
    "abs": lambda a: a["x"].abs(),
    "add": _both(torch.add),
    "concat": lambda a: torch.cat(list(_values(a)), a["axis"]),
    "conv": _convolution,
    "matmul": _matmul,
    "maximum": _both(torch.maximum),
    "mul": _both(torch.mul),
    "real_div": _both(torch.div),
    "reduce_max": _reduced(torch.amax),
    "reduce_mean": _reduced(torch.mean),
    "reduce_sum": _reduced(torch.sum),
    "reshape": lambda a: a["x"].reshape(a["shape"]),
    "rsqrt": lambda a: torch.rsqrt(a["x"] + a["epsilon"]),
    "silu": lambda a: torch.nn.functional.silu(a["x"]),
    "slice_by_size": _slice_by_size,
    "softmax": lambda a: torch.softmax(a["x"], a["axis"]),
    "tile": lambda a: a["x"].repeat(a["reps"]),
    "transpose": lambda a: a["x"].permute(a["perm"]),
}
