"""What the tests of phones' runtimes need beside the product's own runner."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mlp_export.runtime.native_runner import Runner

HERE = Path(__file__).parent


def build_poison(compiler: Sequence[str], folder: Path) -> Path:
    """`poison.c` as a library for the compiler's machine."""
    library = folder / "libpoison.so"
    flags = "-x c -O1 -fno-builtin -shared -fPIC".split()
    subprocess.run([*compiler, *flags, "-o", library, HERE / "poison.c"], check=True)
    return library


def poisoned(runner: Runner, poison: Path) -> Runner:
    """The runner with memory that it gave back unusable."""
    return replace(runner, environment={**runner.environment, "LD_PRELOAD": str(poison)})


ARM_COMPILER = ["aarch64-linux-gnu-g++"]
ARM_SYSTEM = "/usr/aarch64-linux-gnu"
# What decides which kernels XNNPACK takes for the linears: i8mm (recent phones), dotprod alone, neither.
ARM_CPUS = {"i8mm": "max,sve=off,sme=off", "dotprod": "cortex-a76", "neon": "cortex-a57"}


def emulated(runner: Runner, cpu: str) -> Runner:
    """A runner of Arm code on an emulated CPU. The emulator is linked statically: what is in the environment is for the
    program in it.
    """
    libraries = [runner.environment.get("LD_LIBRARY_PATH", ""), f"{ARM_SYSTEM}/lib"]
    return replace(
        runner,
        prefix=("qemu-aarch64-static", "-cpu", ARM_CPUS[cpu], "-L", ARM_SYSTEM),
        environment={**runner.environment, "LD_LIBRARY_PATH": ":".join(filter(None, libraries))},
    )


def same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    return len(found) == len(expected) and all(map(torch.equal, found, expected))


def near_x86(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    """Whether logits on Arm differ from x86's as roundings do.

    Kernels sum in another order, which differs by 1e-7 until an activation is rounded to the other int8 code: that
    moves the logits of models this small by 0.02 of their norm (see test_xnnpack.py, where these limits come from).
    Mistakes as small as a mask that is off by one move them by 0.25. It catches a broken machine, not small faults:
    those are what the comparison bit by bit is for.
    """
    away = torch.stack([(a - b).norm() / b.norm() for a, b in zip(found, expected, strict=True)])
    return float(away.pow(2).mean().sqrt()) <= 0.08 and float(away.max()) <= 0.15  # NaN is not
