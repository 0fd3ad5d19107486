"""Qualcomm's libraries on this machine: where they are, whether ExecuTorch can use them, and loading them.

ExecuTorch opens `libQnnHtp.so` and `libQnnSystem.so` by name, so a library of that name that is loaded already is the
one it gets: no SDK has to be laid out for it. On x86-64, `libQnnHtp.so` compiles for every HTP and simulates it. Both
come with Qualcomm's SDK (QAIRT), and in the onnxruntime-qnn wheel. They are under Qualcomm's licence: the person
installs them, and nothing of them goes into a bundle.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mlp_export.errors import MissingError
from mlp_export.native_output import Muted

# The wheel whose device structure is the one that ExecuTorch 1.5.1 was built with; its neighbours' are not.
WHEEL, WHEEL_VERSION, WHEEL_QAIRT = "onnxruntime-qnn", "2.5.0", "2.49.40"
INSTALL = f"pip install --no-deps {WHEEL}=={WHEEL_VERSION}"
_LIBRARIES = ("libQnnSystem.so", "libQnnHtp.so")  # in this order: the second needs the first
_HOST = "x86_64-linux-clang"
_LEAST_GLIBC = (2, 35)
_PROBE_SECONDS = 60


@dataclass(frozen=True)
class Sdk:
    """A folder with the libraries, and what it is for people."""

    folder: Path
    source: str  # "QNN_SDK_ROOT" or the wheel's name and version


def find_sdk() -> Sdk:
    """The person's own SDK where `QNN_SDK_ROOT` names one, else the wheel. Loads nothing.

    Raises MissingError where there is neither, or this machine cannot run them.
    """
    machine, system = platform.machine(), platform.system()
    if (system, machine) != ("Linux", "x86_64"):
        raise MissingError(
            f"the qnn backend runs on Linux x86-64, this is {system} {machine}",
            "Qualcomm's compiler and simulator come for that alone: export there, the bundle runs on the phone",
        )
    name, found = platform.libc_ver()
    if name == "glibc" and tuple(int(part) for part in found.split(".")[:2]) < _LEAST_GLIBC:
        least = ".".join(str(part) for part in _LEAST_GLIBC)
        raise MissingError(f"glibc {found}, Qualcomm's libraries need {least}", "use Debian 12, Ubuntu 22.04 or later")
    root = os.environ.get("QNN_SDK_ROOT")
    if root:
        folder = Path(root, "lib", _HOST)
        absent = [library for library in _LIBRARIES if not (folder / library).is_file()]
        if absent:
            raise MissingError(
                f"QNN_SDK_ROOT is {root}, but {folder} has no {absent[0]}",
                f"name the folder that holds lib/{_HOST}, or unset QNN_SDK_ROOT and `{INSTALL}`",
            )
        return Sdk(folder, f"QNN_SDK_ROOT={root}")
    package = importlib.util.find_spec("onnxruntime_qnn")
    if package is None or not package.submodule_search_locations:
        raise MissingError("Qualcomm's libraries are not installed", f"{INSTALL} (it is under Qualcomm's licence)")
    try:
        installed = version(WHEEL)
    except PackageNotFoundError:
        installed = "of unknown version"
    return Sdk(Path(next(iter(package.submodule_search_locations))), f"{WHEEL} {installed}")


@functools.cache
def probe(sdk: Sdk) -> str:
    """Whether ExecuTorch can use the libraries: the QAIRT build they say they are.

    Asked in a process of its own, since what does not fit may crash. Raises MissingError where they do not fit.
    """
    command = [sys.executable, "-m", "mlp_export.backends.qnn.sdk", str(sdk.folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
        answer = json.loads(done.stdout.splitlines()[-1]) if done.stdout and done.returncode == 0 else {}
    except (subprocess.TimeoutExpired, ValueError):
        answer = {}
    if answer.get("ok"):
        return str(answer["build"])
    build = answer.get("build") or "of a build it does not tell"
    raise MissingError(
        f"ExecuTorch cannot use the libraries of {sdk.source} (QAIRT {build})",
        f"it was built for QAIRT {WHEEL_QAIRT}: unset QNN_SDK_ROOT and `{INSTALL}`",
    )


def load(sdk: Sdk) -> None:
    """Load the libraries into this process, for ExecuTorch to find.

    Raises MissingError where one does not load.
    """
    import torch  # noqa: F401  first: libQnnHtp before torch ends in "Pure virtual function called!"

    for library in _LIBRARIES:
        try:
            with Muted():
                ctypes.CDLL(str(sdk.folder / library), mode=ctypes.RTLD_LOCAL)
        except OSError as error:
            raise MissingError(f"cannot load {library} of {sdk.source}: {error}", INSTALL) from error


def _probe_here(folder: Path) -> dict[str, object]:
    load(Sdk(folder, str(folder)))
    from mlp_export.backends.qnn.compiler import backend_starts, build_id

    return {"build": build_id(folder), "ok": backend_starts()}


if __name__ == "__main__":
    print(json.dumps(_probe_here(Path(sys.argv[1]))))
