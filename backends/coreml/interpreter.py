"""An interpreter of MIL, Core ML's program format, for machines that have no Core ML.

It runs the function of a package as it stands in the file (see `package_reader`), with float32 arithmetic inside an
operator and each operator's result rounded to the type that the program gives it. So it shows what float16 cannot hold
and what a wrong graph computes. It does not model the Neural Engine, whose sums are its own.

It has the operators that `decoder_graph` writes. Any other is an error, and so is a result whose shape is not the one
that the program declares. tests/backends/test_mil_interpreter.py holds each operator against coremltools' own value
inference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mlp_export.backends.coreml.package_reader import CoremlPackage
from mlp_export.backends.coreml.targets import KEPT_WEIGHT_BYTES
from mlp_export.backends.coreml.tools import MIL_pb2
from mlp_export.errors import InputError

_Arguments = Mapping[str, Any]
_Operator = Callable[[_Arguments], torch.Tensor]
_TYPES = MIL_pb2.DataType


@dataclass(frozen=True)
class _Step:
    """One operator of the program."""

    name: str  # of its result
    type: str
    compute: _Operator
    constants: dict[str, Any]  # arguments that are the same in each call
    arguments: dict[str, list[str]]  # and those that are results of other steps, by their names
    shape: list[int]
    half: bool
    last_uses: list[str]  # results that no later step asks for


class MilInterpreter:
    """One package's function. Tensors that hold floats are float32 here, whatever the program calls them."""

    def __init__(self, package: CoremlPackage) -> None:
        """Raises InputError where the package holds no program, several functions or an operator that is not known."""
        if package.specification is None:
            raise InputError(f"{package.name} holds a compiled Core ML model", "only a Mac can run it")
        if len(package.functions) != 1:
            raise InputError(f"{package.name} has {len(package.functions)} Core ML functions", "one is expected")
        block = package.function
        unknown = sorted({operation.type for operation in block.operations} - {*OPERATORS, "const"})
        if unknown:
            raise InputError(
                f"{package.name} has Core ML operators that are not known here: {', '.join(unknown)}",
                "the interpreter has those that mlp-export writes",
            )
        halves = {output.name: _is_half(output) for operation in block.operations for output in operation.outputs}
        self._outputs = {name: halves[name] for name in block.outputs}
        weights = [operation for operation in block.operations if operation.type == _CONSTANT_WEIGHT]
        self._keeps_weights = sum(4 * math.prod(_shape(o.outputs[0])) for o in weights) <= KEPT_WEIGHT_BYTES
        self._weights: dict[str, torch.Tensor] = {}
        self._package = package
        constants = {o.outputs[0].name: self._value(o.attributes["val"]) for o in block.operations if o.type == "const"}
        self._steps = self._read_steps(block, constants)
        self._arguments = {step.name: step.arguments for step in self._steps}
        used = {name for step in self._steps for names in step.arguments.values() for name in names}
        self._constants = {name: constants[name] for name in used & set(constants)}  # in lists, beside results

    def run(
        self,
        inputs: Mapping[str, torch.Tensor],
        observe: Callable[[str, torch.Tensor], object] = lambda name, value: None,
    ) -> dict[str, torch.Tensor]:
        """Outputs by their names, in the dtypes that the program declares. `inputs`: all of the function's.
        `observe` is shown each operator's result, by its name.
        """
        values = {**self._constants, **{name: tensor.float() for name, tensor in inputs.items()}}
        for step in self._steps:
            values[step.name] = self._result(step, values)
            observe(step.name, values[step.name])
            for name in step.last_uses:
                del values[name]
        return {name: values[name].to(torch.float16 if half else torch.float32) for name, half in self._outputs.items()}

    def taken_by(self, result: str, argument: str) -> str:
        """Name of what the operator of that result takes as `argument`. Raises InputError where there is none."""
        found = self._arguments.get(result, {}).get(argument, [])
        if len(found) != 1:
            raise InputError(
                f"{self._package.name}: no result {result!r} with {argument!r}", "give a .pte of mlp-export"
            )
        return found[0]

    def results_of(self, operator: str) -> list[str]:
        """Names of what the operators of one type give, in the order of execution."""
        return [step.name for step in self._steps if step.type == operator]

    def _result(self, step: _Step, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if step.name in self._weights:
            return self._weights[step.name]
        arguments = dict(step.constants)
        for key, names in step.arguments.items():
            arguments[key] = [values[name] for name in names] if len(names) > 1 else values[names[0]]
        if step.type == _CONSTANT_WEIGHT:  # read from the file when they are needed
            arguments = {key: self._value(value) for key, value in arguments.items()}
        result = step.compute(arguments)
        if list(result.shape) != step.shape:
            raise InputError(f"{step.type} {step.name!r} gives {list(result.shape)}, declared {step.shape}")
        if step.half:
            result = result.to(torch.float16).float()
        if step.type == _CONSTANT_WEIGHT and self._keeps_weights:
            self._weights[step.name] = result
        return result

    def _read_steps(self, block: Any, constants: Mapping[str, Any]) -> list[_Step]:
        steps = []
        for operation in block.operations:
            if operation.type == "const":
                continue
            known: dict[str, Any] = {}
            results: dict[str, list[str]] = {}
            for key, argument in operation.inputs.items():
                bindings = list(argument.arguments)
                names = [binding.name for binding in bindings if binding.WhichOneof("binding") == "name"]
                if not names:
                    value = bindings[0].value
                    known[key] = value if operation.type == _CONSTANT_WEIGHT else self._value(value)
                elif names[0] in constants and len(names) == 1:
                    known[key] = constants[names[0]]
                else:
                    results[key] = names
            output = operation.outputs[0]
            compute = OPERATORS[operation.type]
            steps.append(
                _Step(output.name, operation.type, compute, known, results, _shape(output), _is_half(output), [])
            )
        seen = set(self._outputs)
        for step in reversed(steps):
            for name in dict.fromkeys(name for names in step.arguments.values() for name in names):
                if name not in seen:
                    seen.add(name)
                    step.last_uses.append(name)
        return steps

    def _value(self, value: Any) -> Any:
        """A constant: floats as tensors, whole numbers as lists or numbers, codes as int8 tensors."""
        constant = self._package.value(value)
        if isinstance(constant, str):
            return constant
        if constant.dtype.kind == "f":
            return torch.from_numpy(constant.astype(np.float32))
        return torch.from_numpy(constant.copy()) if constant.dtype == np.int8 else constant.tolist()


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
    """1 x 1, stride 1: [1, in, 1, n] by weights [out, in, 1, 1], and a bias [out] where there is one."""
    x, weight = arguments["x"], arguments["weight"]
    if list(weight.shape[2:]) != [1, 1] or list(x.shape[:1]) != [1] or x.shape[2] != 1:
        raise InputError(f"a convolution of {list(x.shape)} by {list(weight.shape)}", "mlp-export writes 1 x 1 ones")
    result = weight[:, :, 0, 0] @ x[0, :, 0]
    if "bias" in arguments:
        result = result + arguments["bias"].unsqueeze(1)
    return result.view(1, weight.shape[0], 1, x.shape[3])


def _gelu(arguments: _Arguments) -> torch.Tensor:
    if arguments["mode"] != "TANH_APPROXIMATION":
        raise InputError(f"a GELU in its form {arguments['mode']}", "mlp-export writes TANH_APPROXIMATION")
    # 0.5 (1 + tanh(y)) is sigmoid(2 y), and loses nothing where tanh is near -1.
    x = arguments["x"]
    return x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x.pow(3)))


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
    _CONSTANT_WEIGHT: blockwise_shift_scale,
    "abs": lambda a: a["x"].abs(),
    "add": _both(torch.add),
    "concat": lambda a: torch.cat(list(_values(a)), a["axis"]),
    "conv": _convolution,
    "gelu": _gelu,
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
