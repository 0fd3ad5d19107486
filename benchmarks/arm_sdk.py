"""Arm code of the desktop wheel on this machine: the wheel for aarch64, programs over its C++ libraries, qemu.

Debian packages: qemu-user (the static build loads no plugins), g++-aarch64-linux-gnu, gcc. From PyPI: the wheel of
executorch for aarch64 in the release that is installed here. Nothing of torch is needed: the library of the `llama::`
operators registers them with torch, too, and is satisfied with functions that do nothing.

XNNPACK chooses its kernels by the chip that it finds in /proc/cpuinfo and /sys. qemu looks for absolute paths in the
folder that `-L` names first, so that folder has the files of a phone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

SOURCES = Path(__file__).parent / "arm"
_SYSROOT = Path("/usr/aarch64-linux-gnu")
_PREFIX = "aarch64-linux-gnu-"
_FEATURES = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 "
    "sm4 asimddp sha512 asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg dcpodp flagm2 frint i8mm bf16 bti"
)
# What torch's part of the registration calls, of the functions that the kernels' library does not find; others trap.
_SCHEMAS = re.compile(r"make_function_schema|parseSchema")
_HARMLESS = re.compile(r"7Library(4_def|5_impl)|7LibraryC|CppFunctionD|refEv$|3getEv$")
_TORCH = re.compile(r"_ZN[KRO]*(2at|3c10|5torch|6caffe2)|_ZN[KRO]*St7__cxx1112basic_string.*_M_replace_cold")
_SCHEMA_BYTES = 120  # sizeof(c10::FunctionSchema) of torch 2.13


@dataclass(frozen=True)
class Chip:
    """What a phone says of its processor: the implementer's code, and for each core its part number and clock."""

    name: str
    implementer: int
    cores: tuple[tuple[int, int], ...]  # part number, kHz
    qemu_cpu: str  # the instructions that qemu knows


SNAPDRAGON_8_ELITE = Chip(
    "Snapdragon 8 Elite (Galaxy S25)",
    0x51,
    ((0x001, 3_532_800),) * 6 + ((0x001, 4_473_600),) * 2,
    "max,sve=off,sme=off",
)


class MissingToolError(Exception):
    """A program that has to be installed first."""


@dataclass(frozen=True)
class Sdk:
    """What `prepare` built."""

    work: Path
    executorch: Path  # the unpacked wheel
    calls: Path  # arm/calls.cpp
    plugin: Path  # arm/count.c

    @property
    def kernels(self) -> Path:
        """The library of the `llama::` operators."""
        return self.executorch / "extension/llm/custom_ops/libcustom_ops_aot_lib.so"


def prepare(work: Path) -> Sdk:
    """Fetches the wheel and builds the programs in `work`, as far as they are not there. Raises MissingToolError."""
    for tool, package in (
        ("qemu-aarch64", "qemu-user"),
        (f"{_PREFIX}g++", "g++-aarch64-linux-gnu"),
        ("gcc", "gcc"),
    ):
        if shutil.which(tool) is None:
            raise MissingToolError(f"{tool} was not found. hint: apt-get install {package}")
    work.mkdir(parents=True, exist_ok=True)
    sdk = Sdk(work, work / "wheel" / "executorch", work / "calls", work / "count.so")
    if not sdk.executorch.is_dir():
        _fetch_wheel(work)
    _build(sdk.plugin, SOURCES / "count.c", ["gcc", "-O2", "-shared", "-fPIC"])
    libraries = ["", "_kernels_optimized", "_kernels_quantized", "_backend_xnnpack", "_threadpool", "_etdump"]
    include, lib = sdk.executorch / "include", sdk.executorch / "lib"
    _build(
        sdk.calls,
        SOURCES / "calls.cpp",
        [
            *(f"{_PREFIX}g++", "-std=c++17", "-O2", "-w"),
            *("-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_EVENT_TRACER_ENABLED"),
            *(f"-I{include}", f"-I{include / 'executorch/runtime/core/portable_type/c10'}"),
        ],
        [
            *(f"-L{lib}", "-Wl,--no-as-needed", *(f"-lexecutorch{name}" for name in libraries)),
            *(f"-Wl,-rpath-link,{lib}", "-Wl,--allow-shlib-undefined", "-ldl"),
        ],
    )
    if not (work / "torch").is_dir():
        _build_torch_stubs(sdk)
    return sdk


def run(sdk: Sdk, chip: Chip, model: Path, calls: Sequence[str], counts: Path) -> str:
    """What calls.cpp prints for `calls` of `model` on `chip`; count.c writes to `counts`.LABEL.

    Raises RuntimeError, with the end of stderr, where the program does not exit with 0.
    """
    root = _phone(sdk.work, chip)
    libraries = [sdk.work / "torch", sdk.executorch / "lib", _SYSROOT / "lib"]
    command = [
        *("qemu-aarch64", "-cpu", chip.qemu_cpu, "-L", root, "-plugin", f"{sdk.plugin},out={counts}"),
        *("-E", f"LD_LIBRARY_PATH={':'.join(map(str, libraries))}", sdk.calls, model, sdk.kernels, *calls),
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{model}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def tool(name: str, *arguments: str | Path) -> str:
    """What a program of the cross binutils prints."""
    command = [_PREFIX + name, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _build(out: Path, source: Path, compiler: Sequence[str], end: Sequence[str] = ()) -> None:
    if not out.exists() or out.stat().st_mtime < source.stat().st_mtime:
        subprocess.run([*compiler, "-o", str(out), str(source), *end], check=True)


def _fetch_wheel(work: Path) -> None:
    python = f"{sys.version_info.major}{sys.version_info.minor}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--platform", "manylinux_2_28_aarch64", "--implementation", "cp", "--python-version", python]
    command += ["--abi", f"cp{python}", "--dest", str(work), f"executorch=={version('executorch')}"]
    subprocess.run(command, check=True)
    (wheel,) = work.glob("executorch-*aarch64.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work / "wheel")
    wheel.unlink()


def _symbols(library: Path, which: str) -> set[str]:
    rows = (line.split() for line in tool("nm", "-D", which, library).splitlines())
    return {row[-1].partition("@")[0] for row in rows if row[-2] not in "wv" or which == "--defined-only"}


def _build_torch_stubs(sdk: Sdk) -> None:
    """Libraries under torch's names with what the kernels' library does not find elsewhere.

    A registration returns its object, which is the first argument (x0 in, x0 out); one that returns a schema fills the
    memory that x8 names (AAPCS64, 6.9) with zeros; anything else would be a mistake and stops the program.
    """
    defined = set().union(*(_symbols(path, "--defined-only") for path in (sdk.executorch / "lib").glob("*.so")))
    missing = {name for name in _symbols(sdk.kernels, "--undefined-only") - defined if _TORCH.match(name)}
    bodies = {"returns_itself": ["ret"], "returns_schema": [], "stops": ["brk #1"]}
    bodies["returns_schema"] = [f"stp xzr, xzr, [x8, #{n}]" for n in range(0, _SCHEMA_BYTES - 8, 16)]
    bodies["returns_schema"] += [f"str xzr, [x8, #{_SCHEMA_BYTES - 8}]", "ret"]
    lines = []
    for body, instructions in bodies.items():
        lines.append(".text")
        for name in sorted(missing):
            kind = "returns_schema" if _SCHEMAS.search(name) else "stops"
            if _HARMLESS.search(name) and kind == "stops":
                kind = "returns_itself"
            if kind == body and "_singleton" not in name:
                lines += [f".globl {name}", f".type {name}, %function", f"{name}:"]
        lines += instructions
    lines.append(".bss")
    for name in sorted(name for name in missing if "_singleton" in name):
        lines += [f".globl {name}", f".type {name}, %object", ".balign 64", f"{name}:", ".zero 4096"]
    folder = sdk.work / "torch"
    folder.mkdir()
    source = folder / "stubs.s"
    source.write_text("\n".join(lines) + "\n")
    library = folder / "libstubs.so"
    subprocess.run([f"{_PREFIX}gcc", "-shared", "-nostdlib", "-o", str(library), str(source)], check=True)
    needed = re.findall(r"NEEDED.*\[(.*)\]", tool("readelf", "-d", sdk.kernels))
    for name in needed:
        if re.match(r"libtorch|libc10|_C\.", name):
            (folder / name).symlink_to(library.name)


def _phone(work: Path, chip: Chip) -> Path:
    """A root folder with the libraries of the cross compiler and the files by which `chip` is told."""
    root = work / "root"
    root.mkdir(exist_ok=True)
    if not (root / "lib").exists():
        (root / "lib").symlink_to(_SYSROOT / "lib")
    last = len(chip.cores) - 1
    files: dict[str, str] = {
        "proc/cpuinfo": "\n".join(_cpuinfo(chip, core) for core in range(len(chip.cores))),
        "sys/devices/system/cpu/kernel_max": f"{last}\n",
    }
    files |= {f"sys/devices/system/cpu/{name}": f"0-{last}\n" for name in ("possible", "present", "online")}
    for core, (part, clock) in enumerate(chip.cores):
        folder = f"sys/devices/system/cpu/cpu{core}"
        register = chip.implementer << 24 | 1 << 20 | 0xF << 16 | part << 4 | 1  # MIDR_EL1
        files[f"{folder}/regs/identification/midr_el1"] = f"0x{register:016x}\n"
        files[f"{folder}/cpufreq/cpuinfo_max_freq"] = f"{clock}\n"
        files[f"{folder}/cpufreq/cpuinfo_min_freq"] = "384000\n"
    _write(root, files)
    return root


def _cpuinfo(chip: Chip, core: int) -> str:
    lines = {
        "processor": str(core),
        "BogoMIPS": "38.40",
        "Features": _FEATURES,
        "CPU implementer": f"0x{chip.implementer:02x}",
        "CPU architecture": "8",
        "CPU variant": "0x1",
        "CPU part": f"0x{chip.cores[core][0]:03x}",
        "CPU revision": "1",
    }
    return "".join(f"{key}\t: {value}\n" for key, value in lines.items())


def _write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
