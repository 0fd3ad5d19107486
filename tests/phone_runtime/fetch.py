"""Fetches what the tests of phones' runtimes need: compilers, an emulator, two builds of ExecuTorch for Arm.

    python tests/phone_runtime/fetch.py FOLDER

Debian packages are installed where this runs as root; else the command is said. What could not be had is written to
FOLDER/missing.json, a sentence each: the tests that need it are skipped with it, or fail with it where CI is set.
Nothing that is fetched is committed or given away.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

# Command -> Debian package
TOOLS = {
    "g++": "g++",
    "qemu-aarch64-static": "qemu-user-static",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "npm": "npm",
}
WHEEL = ("executorch==1.5.1", "8ee02348a3ea80ddf770822911ebf78da616b73afce0fbaaa79f23311c88c66a")
PACKAGE = ("react-native-executorch@0.9.3", "70a20a865b82f47ac46c82711d93c2038cf99eccbb9b287494219063f2217622")
ARM_SDK, ANDROID = "executorch-aarch64", "react-native-executorch"  # folders


def fetch(folder: Path) -> dict[str, str]:
    """What is missing afterwards: the name of a tool or folder -> why, and what to do."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = _install_tools()
    for name, get in ((ARM_SDK, _get_wheel), (ANDROID, _get_package)):
        if not (folder / name).is_dir():
            try:
                _whole(folder / name, get)
            except (OSError, subprocess.CalledProcessError, ValueError) as error:
                said = getattr(error, "stderr", "") or str(error)
                missing[name] = (
                    f"{name} could not be fetched: {said.strip().splitlines()[-1] if said.strip() else error}"
                )
    return missing


def _install_tools() -> dict[str, str]:
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    packages = [TOOLS[tool] for tool in absent]
    if absent and shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", "-qq", *command], env=environment, stdout=sys.stderr)
    install = f"sudo apt-get install {' '.join(packages)}"
    return {tool: f"{tool} is not installed: {install}" for tool in absent if shutil.which(tool) is None}


def _whole(target: Path, get: Callable[[Path], None]) -> None:
    """`get` fills a folder, which becomes `target` once it is whole."""
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        made = Path(temporary, "made")
        made.mkdir()
        get(made)
        made.rename(target)


def _get_wheel(folder: Path) -> None:
    requirement, sha256 = WHEEL
    with tempfile.TemporaryDirectory() as temporary:
        platform = "--platform manylinux_2_28_aarch64 --python-version 3.11 --implementation cp --abi cp311".split()
        pip = [sys.executable, *"-m pip download --quiet --disable-pip-version-check --no-deps".split()]
        _run([*pip, "--only-binary=:all:", *platform, "--dest", temporary, requirement])
        with zipfile.ZipFile(_only(Path(temporary), "*.whl", sha256)) as archive:
            archive.extractall(folder)


def _get_package(folder: Path) -> None:
    requirement, sha256 = PACKAGE
    with tempfile.TemporaryDirectory() as temporary:
        _run(["npm", "pack", "--silent", "--pack-destination", temporary, requirement])
        with tarfile.open(_only(Path(temporary), "*.tgz", sha256)) as archive:
            wanted = ("package/third-party/include/", "package/third-party/android/libs/executorch/")
            members = [member for member in archive if member.name.startswith(wanted)]
            # Debian 12's Python has no filters yet; the file's hash is known either way.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(folder, members)


def _only(folder: Path, pattern: str, sha256: str) -> Path:
    (file,) = folder.glob(pattern)
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(f"{file.name} has sha256 {found}, expected {sha256}")
    return file


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def main() -> None:
    folder = Path(sys.argv[1])
    missing = fetch(folder)
    (folder / "missing.json").write_text(json.dumps(missing, indent=2) + "\n")
    for why in missing.values():
        print(f"missing: {why}", file=sys.stderr)


if __name__ == "__main__":
    main()
