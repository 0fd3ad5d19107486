"""Builds the runner over an Android library of ExecuTorch, without its Java side."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from android_demo.tools.android_library import SHIM, prepare
from mlp_export.runtime.native_runner import SOURCES

HERE = Path(__file__).parent


def build(package: Path, abi: str, compiler: Sequence[str], folder: Path) -> Path:
    """Build the runner for the library of `abi` in an unpacked react-native-executorch; returns its path."""
    third_party = package / "third-party"
    prepare([third_party / "android/libs/executorch" / abi / "libexecutorch.so"], compiler, folder)
    library = folder / "libexecutorch_jni.so"  # its name inside: what the runner asks for
    library.symlink_to("libexecutorch.so")
    include = third_party / "include"
    runner = folder / "android_runner"
    flags = ["-w", "-O1", f"-I{SOURCES}", "-std=c++17", "-DC10_USING_CUSTOM_GENERATED_MACROS", f"-I{include}"]
    flags += [f"-I{include / 'executorch/runtime/core/portable_type/c10'}"]
    linked: list[str | Path] = [
        library,
        folder / SHIM,
        f"-Wl,-rpath,{folder}",
        "-Wl,--allow-shlib-undefined",
        "-lgcc_s",
        "-lm",
    ]
    subprocess.run([*compiler, *flags, HERE / "android_runner.cpp", "-o", runner, *linked, "-lpthread"], check=True)
    return runner
