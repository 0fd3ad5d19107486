"""What the tests of phones' runtimes need beside the product's own runner."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mlp_export.native_runner import Runner

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
