"""Makes an Android app's ExecuTorch library usable by a program on glibc, for tests only, and builds a runner over it.

Android's loader and C library (bionic) differ from glibc's in a few places. In a copy of the library: the versions of
imported symbols are dropped (LIBC there, GLIBC_2.x here), imports of another ABI get the names that `bionic_shim.c`
defines, and the needed libraries are left out, since the runner brings the shim and glibc. What nobody defines (Java's
side: fbjni) becomes a function that says its name and aborts.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mlp_export.native_runner import SOURCES, Sdk

HERE = Path(__file__).parent
_NEEDED, _STRINGS, _STRINGS_SIZE = 1, 5, 10  # tags of the dynamic section
_VERSIONS = (0x6FFFFFF0, 0x6FFFFFFE, 0x6FFFFFFF)  # DT_VERSYM, DT_VERNEED, DT_VERNEEDNUM
_IGNORED = 0x6000F000  # a tag for operating systems, which glibc does not look at
_LOAD, _DYNAMIC = 1, 2  # types of program headers
# Imports that the shim defines with a B for their first letter.
RENAMED = [
    *(f"pthread_mutex_{name}" for name in "init destroy lock trylock unlock".split()),
    *(f"pthread_mutexattr_{name}" for name in "init destroy settype".split()),
    *(f"pthread_cond_{name}" for name in "destroy wait timedwait signal broadcast".split()),
    *(f"pthread_rwlock_{name}" for name in "rdlock wrlock unlock".split()),
    *"pthread_create pthread_sigmask sigfillset strerror_r sysconf".split(),
]


def patch(library: Path, out: Path) -> None:
    """Write `library` (ELF, 64-bit, little-endian) to `out`, as glibc's loader takes it. Raises ValueError."""
    data = bytearray(library.read_bytes())
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{library} is no 64-bit ELF file")
    (headers,) = struct.unpack_from("<Q", data, 0x20)
    size, count = struct.unpack_from("<HH", data, 0x36)
    segments = [struct.unpack_from("<IIQQQQ", data, headers + n * size) for n in range(count)]

    def in_file(address: int) -> int:
        for kind, _, offset, start, _, length in segments:
            if kind == _LOAD and start <= address < start + length:
                return offset + address - start
        raise ValueError(f"{library}: no segment holds address {address:#x}")

    (start, length) = next((offset, length) for kind, _, offset, _, _, length in segments if kind == _DYNAMIC)
    values: dict[int, int] = {}
    for at in range(start, start + length, 16):
        tag, value = struct.unpack_from("<QQ", data, at)
        values.setdefault(tag, value)
        if tag in (_NEEDED, *_VERSIONS):
            struct.pack_into("<Q", data, at, _IGNORED + (tag & 0xFF))
    strings = in_file(values[_STRINGS])
    for name in RENAMED:
        at = data.find(b"\0" + name.encode() + b"\0", strings, strings + values[_STRINGS_SIZE])
        if at < 0:
            raise ValueError(f"{library} does not import {name}: the shim is for another library")
        data[at + 1] = ord("B")
    out.write_bytes(data)
    out.chmod(0o755)


def build(package: Path, abi: str, compiler: Sequence[str], folder: Path) -> Path:
    """Build the runner for the library of `abi` in an unpacked react-native-executorch; returns its path."""
    third_party = package / "third-party"
    sdk, library = Sdk(package, compiler), folder / "libexecutorch_jni.so"  # its name inside: what the runner asks for
    patch(third_party / "android/libs/executorch" / abi / "libexecutorch.so", library)
    run = [*compiler, "-w", "-O1", f"-I{SOURCES}"]
    shim, source = folder / "libbionic_shim.so", folder / "shim.c"
    source.write_text((HERE / "bionic_shim.c").read_text() + _missing(sdk, library))
    subprocess.run([*run, "-x", "c", "-shared", "-fPIC", "-o", shim, source], check=True)
    include = third_party / "include"
    runner = folder / "android_runner"
    flags = ["-std=c++17", "-DC10_USING_CUSTOM_GENERATED_MACROS", f"-I{include}"]
    flags += [f"-I{include / 'executorch/runtime/core/portable_type/c10'}"]
    linked = [library, shim, f"-Wl,-rpath,{folder}", "-Wl,--allow-shlib-undefined", "-lgcc_s", "-lm", "-lpthread"]
    subprocess.run([*run, *flags, HERE / "android_runner.cpp", "-o", runner, *linked], check=True)
    return runner


def _missing(sdk: Sdk, library: Path) -> str:
    """C source with a definition of each import that neither glibc nor the shim has."""
    nm = sdk.tool("nm")

    def names(path: Path | str, which: str) -> set[str]:
        lines = subprocess.run([nm, "-D", which, path], check=True, capture_output=True, text=True).stdout.splitlines()
        return {line.split()[-1].split("@")[0] for line in lines}

    has = set(re.findall(r"^(?:char|int|void|size_t|ssize_t)\W+(\w+)[(\[]", (HERE / "bionic_shim.c").read_text(), re.M))
    for name in ("libc.so.6", "libm.so.6", "libgcc_s.so.1"):
        found = subprocess.run([*sdk.compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True)
        has |= names(found.stdout.strip(), "--defined-only")
    code = []
    for name in sorted(names(library, "--undefined-only") - has):
        if re.match(r"_ZT[ISV]", name):  # type information: data
            code.append(f"long {name}[32];")
        elif not name.startswith("B"):
            code.append(f'void {name}(void) {{ fputs("{name} is not here\\n", stderr); abort(); }}')
    return "\n".join(code) + "\n"
