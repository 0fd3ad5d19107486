"""Folders, Gradle's properties, and running another program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mlp_export.errors import VerificationError

DEMO = Path(__file__).resolve().parents[1]
ROOT = DEMO.parent
CACHE = ROOT / ".cache/android"
_APT_SECONDS = 900.0


class BuildError(VerificationError):
    """A compiler, a test or a check of the app failed."""


def gradle_properties(demo: Path = DEMO) -> dict[str, str]:
    """The app's name, SDK levels and versions, which Gradle reads from the same file."""
    lines = (demo / "gradle.properties").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def run(step: str, command: Sequence[object]) -> str:
    """What the command printed. Raises BuildError with the end of it where the command fails."""
    start = time.monotonic()
    result = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    if result.returncode:
        shown = " ".join(str(part) for part in command)
        raise BuildError(
            f"{step} failed with exit code {result.returncode}:\n{result.stdout[-6000:].rstrip()}",
            f"the command was: {shown}" if len(shown) < 400 else "",
        )
    print(f"{time.monotonic() - start:6.1f} s  {step}", file=sys.stderr, flush=True)
    return result.stdout


def install_tools(packages: Mapping[str, str]) -> dict[str, str]:
    """Install the Debian package of each program or file that is not there, as root.

    Returns what is missing still, and why.
    """

    def is_absent(tool: str) -> bool:
        return shutil.which(tool) is None and not Path(tool).is_file()

    absent = [tool for tool in packages if is_absent(tool)]
    names = [packages[tool] for tool in absent]
    if absent and shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *names]):
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    ["apt-get", "-qq", *command],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=sys.stderr,
                    timeout=_APT_SECONDS,
                )
    install = f"sudo apt-get install {' '.join(names)}"
    return {tool: f"{tool} is not installed: {install}" for tool in absent if is_absent(tool)}


def java_tool(name: str) -> str:
    """`java`, `javac` or `keytool` of JAVA_HOME, or else the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin", name)) if home else name


def java_home() -> str:
    """The home of the JDK that `java_tool` is of."""
    settings = [java_tool("java"), "-XshowSettings:properties", "-version"]
    shown = subprocess.run(settings, check=True, capture_output=True, text=True).stderr
    found = re.search(r"java\.home = (.+)", shown)
    if not found:
        raise BuildError("java does not say where its home is", "set JAVA_HOME")
    return found.group(1).strip()


def joined(paths: Sequence[Path]) -> str:
    """A class path."""
    return os.pathsep.join(map(str, paths))
