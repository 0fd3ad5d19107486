"""Any MIL program through the interpreter: what a test gives it, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from mlp_export.backends.coreml.interpreter import MilInterpreter
from mlp_export.backends.coreml.package import write_payload
from mlp_export.backends.coreml.package_reader import CoremlPackage, read_payload
from mlp_export.backends.coreml.tools import Builder, Function, Program, Var, coremltools, types
from mlp_export.program.pte import map_file
from mlp_export.runtime.native_output import capture_native_output


def program_of(shapes: Mapping[str, Sequence[int]], build: Callable[[dict[str, Var]], Var | list[Var]]) -> Program:
    """The program of one function with float16 inputs of `shapes`, whose outputs `build` makes of them."""
    program = Program()
    inputs = {name: Builder.placeholder(tuple(shape), dtype=types.fp16) for name, shape in shapes.items()}
    with Function(inputs, opset_version=coremltools.target.iOS18) as function:
        outputs = build(function.inputs)
        function.set_outputs(outputs if isinstance(outputs, list) else [outputs])
        program.add_function("main", function)
    return program


def package_of(program: Program, folder: Path) -> CoremlPackage:
    """The package of `program`, read back as it is read out of a `.pte`."""
    path = folder / "payload"
    with capture_native_output():
        path.write_bytes(write_payload(program, folder, compiled=False))
    return read_payload(map_file(path), 0, path.stat().st_size, str(path))


def interpret(program: Program, folder: Path, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The one output of `program` for `inputs`, as float32."""
    (result,) = MilInterpreter(package_of(program, folder)).run(inputs).values()
    return result.float()
