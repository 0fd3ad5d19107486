"""Xcode's compiler of Core ML models, for exports that are not to be compiled on the phone."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

from mlp_export.backends.coreml.payload import COMPILED
from mlp_export.errors import MissingError, MlpExportError

_INSTEAD = "leave --compiled-model out: the phone compiles the model when it first loads it"


class CompileError(MlpExportError):
    """The package could not be compiled."""


def check_xcode() -> None:
    """Raises MissingError where there is no Xcode."""
    if platform.system() != "Darwin":
        raise MissingError("compiling a Core ML model needs macOS with Xcode", _INSTEAD)
    if shutil.which("xcrun") is None:
        raise MissingError("xcrun is not here: compiling a Core ML model needs Xcode", _INSTEAD)


def compile_package(package: Path, folder: Path) -> None:
    """Make `model.mlmodelc` of `package` in `folder`. Raises CompileError where the compiler fails."""
    command = ["xcrun", "coremlcompiler", "compile", str(package), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not (folder / COMPILED).is_dir():
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CompileError(f"coremlcompiler failed: {said[-1]}", _INSTEAD)
