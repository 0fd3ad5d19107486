"""Qualcomm's libraries on this machine: where they are, whether ExecuTorch can use them, and loading them.

ExecuTorch opens `libQnnHtp.so` and `libQnnSystem.so` by name, so a library of that name that is loaded already is the
one it gets: no SDK has to be laid out for it. On x86-64, `libQnnHtp.so` compiles for every HTP and simulates it. Both
come with Qualcomm's SDK (QAIRT), and in the onnxruntime-qnn wheel. They are under Qualcomm's license: the person
installs them, and nothing of them goes into a bundle.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mlp_export.errors import MissingError
from mlp_export.runtime.native_output import capture_native_output

# The wheel whose device structure is the one that ExecuTorch 1.5.1 was built with; its neighbours' are not.
WHEEL, WHEEL_VERSION, WHEEL_QAIRT = "onnxruntime-qnn", "2.5.0", "2.49.40"
INSTALL = f"pip install --no-deps {WHEEL}=={WHEEL_VERSION}"
_LIBRARIES = ("libQnnSystem.so", "libQnnHtp.so")  # in this order: the second needs the first
_HOST = "x86_64-linux-clang"
_LEAST_GLIBC = (2, 35)
# 10 s from memory on two busy cores. A first, cold start reads up to 1.6 GB of torch, ExecuTorch and the libraries from
# the disk, for which a minute was seen not to be enough.
_PROBE_SECONDS = 300


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
        raise MissingError("Qualcomm's libraries are not installed", f"{INSTALL} (it is under Qualcomm's license)")
    try:
        installed = version(WHEEL)
    except PackageNotFoundError:
        installed = "of unknown version"
    return Sdk(Path(next(iter(package.submodule_search_locations))), f"{WHEEL} {installed}")


@functools.cache
def probe(sdk: Sdk) -> str:
    """Whether ExecuTorch can use the libraries: the QAIRT build they say they are.

    Asked in a process of its own, since what does not fit may crash. Raises MissingError where they do not load or do
    not fit, and where the process crashes, is killed or does not answer in time: each is told as what it is.
    """
    try:
        done = subprocess.run(
            _probe_command(sdk), capture_output=True, text=True, errors="replace", timeout=_PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""  # bytes, whatever the process's own output is decoded as
        told = _told(output.decode(errors="replace") if isinstance(output, bytes) else output)
        doing = f"QAIRT {told['build']} was starting" if "build" in told else "they were being loaded"
        raise MissingError(
            f"no answer from the libraries of {sdk.source} within {_PROBE_SECONDS} s, while {doing}",
            "this machine may be busy or its disk slow: try again when it is idle. On an idle one, see that they are "
            f"those of QAIRT {WHEEL_QAIRT}",
        ) from None
    told = _told(done.stdout)
    if done.returncode == 0 and told.get("starts"):
        return str(told["build"])
    hint = f"ExecuTorch was built for QAIRT {WHEEL_QAIRT}: unset QNN_SDK_ROOT and `{INSTALL}`"
    named = f"the libraries of {sdk.source}" + (f" (QAIRT {told['build']})" if "build" in told else "")
    if "failure" in told:
        raise MissingError(str(told["failure"]), hint)
    if done.returncode == -signal.SIGKILL:
        raise MissingError(
            f"the process that tried {named} was killed", "mostly the system's answer to low memory: close programs"
        )
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise MissingError(f"the process that tried {named} crashed ({name})", hint)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it gave no reason"]
        raise MissingError(f"{named} could not be tried (exit code {done.returncode}): {said[-1]}", hint)
    raise MissingError(f"ExecuTorch cannot use {named}", hint)


def _probe_command(sdk: Sdk) -> list[str]:
    return [sys.executable, "-m", "mlp_export.backends.qnn.sdk", str(sdk.folder), sdk.source]


def _told(output: str) -> dict[str, object]:
    """What the probe's process has told so far: an object a line, among lines of the libraries."""
    told: dict[str, object] = {}
    for line in output.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            told |= found
    return told


def load(sdk: Sdk) -> None:
    """Load the libraries into this process, for ExecuTorch to find.

    Raises MissingError where one does not load.
    """
    import torch  # noqa: F401  first: libQnnHtp before torch ends in "Pure virtual function called!"

    for library in _LIBRARIES:
        try:
            with capture_native_output():
                ctypes.CDLL(str(sdk.folder / library), mode=ctypes.RTLD_LOCAL)
        except OSError as error:
            raise MissingError(f"cannot load {library} of {sdk.source}: {error}", INSTALL) from error


def _probe_here(sdk: Sdk) -> None:
    """Tell, a line each, the build once the libraries are loaded and whether they start, or why they do not load."""
    try:
        load(sdk)
    except MissingError as error:
        print(json.dumps({"failure": error.message}))
        return
    from mlp_export.backends.qnn.compiler import backend_starts, build_id

    print(json.dumps({"build": build_id(sdk.folder)}), flush=True)
    print(json.dumps({"starts": backend_starts()}))


if __name__ == "__main__":
    _probe_here(Sdk(Path(sys.argv[1]), sys.argv[2]))
