"""Environments of the peers: their packages beside the project's, and never in its requirements."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path


def environment(folder: Path, packages: Sequence[str]) -> Path:
    """Makes an environment with `packages` unless it is there; returns its Python.

    What the project has installed can be imported there, too (torch, transformers): pip adds only what is missing.
    Raises CalledProcessError where pip fails.
    """
    python, stamp = folder / "bin" / "python", folder / "packages.txt"
    if stamp.is_file() and stamp.read_text().split() == list(packages):
        return python
    venv.create(folder, with_pip=True, clear=True)
    own = Path(sysconfig.get_path("purelib", "posix_prefix", {"base": str(folder)}))
    (own / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    subprocess.run(command, check=True, stdout=sys.stderr)
    stamp.write_text("\n".join(packages))
    return python
