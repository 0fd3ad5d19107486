"""Makes the 64-bit libraries of an Android app usable on glibc: by a C++ program, or by a desktop JVM. For tests only.

Android's loader and C library (bionic) differ from glibc's in a few places. In a copy of each library the versions of
imported symbols are dropped (LIBC there, GLIBC_2.x here), and imports of another ABI get the names that
`bionic_shim.c` defines. Of the system libraries that it needs one is left, as the shim, and the place of another's name
becomes the run path, so that a library finds the next one beside itself. What nobody defines becomes a function that
says its name and aborts.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

SHIM_SOURCE = Path(__file__).with_name("bionic_shim.c")
SHIM = "libB.so"  # no longer than libc.so, in whose place it is written
_SYSTEM = {"libc.so", "libm.so", "libdl.so", "liblog.so", "libandroid.so"}
_NEEDED, _STRINGS, _STRINGS_SIZE, _RUNPATH = 1, 5, 10, 29  # tags of the dynamic section
_VERSIONS = (0x6FFFFFF0, 0x6FFFFFFE, 0x6FFFFFFF)  # DT_VERSYM, DT_VERNEED, DT_VERNEEDNUM
_IGNORED = 0x6000F000  # a tag for operating systems, which glibc does not look at
_LOAD, _DYNAMIC = 1, 2  # types of program headers
# Imports that the shim defines with a B for their first letter.
RENAMED = [
    *(f"pthread_mutex_{name}" for name in "init destroy lock trylock unlock".split()),
    *(f"pthread_mutexattr_{name}" for name in "init destroy settype".split()),
    *(f"pthread_cond_{name}" for name in "init destroy wait timedwait signal broadcast".split()),
    *(f"pthread_rwlock_{name}" for name in "rdlock wrlock unlock".split()),
    *"pthread_create pthread_sigmask sigfillset strerror_r sysconf".split(),
    *"fprintf vfprintf fputs fputc fwrite fflush".split(),
]


def patch(library: Path, out: Path, present: Sequence[str] = ()) -> None:
    """Write `library` (ELF, 64-bit, little-endian) to `out`, as glibc's loader takes it. Raises ValueError.

    `present`: names of the needed libraries that will be there, patched as well; others are left out.
    """
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
    entries = [(at, *struct.unpack_from("<QQ", data, at)) for at in range(start, start + length, 16)]
    values = {tag: value for _, tag, value in entries}
    strings = in_file(values[_STRINGS])
    end = strings + values[_STRINGS_SIZE]

    def rename(at: int, new: bytes) -> None:
        """Overwrite a name of which no other name is the end."""
        if data[at - 1]:
            raise ValueError(f"{library}: the name at {at:#x} is the end of another")
        data[at : at + len(new)] = new

    shimmed = False
    for at, tag, value in entries:
        name_at = strings + value
        if tag in _VERSIONS:
            struct.pack_into("<Q", data, at, _IGNORED + (tag & 0xFF))
        elif tag == _NEEDED:
            name = data[name_at : data.index(0, name_at)].decode()
            if name == "libc.so":
                rename(name_at, SHIM.encode() + b"\0")
                shimmed = True
            elif name == "liblog.so":
                rename(name_at, b"$ORIGIN\0")
                struct.pack_into("<Q", data, at, _RUNPATH)
            elif name in _SYSTEM or name not in present:
                struct.pack_into("<Q", data, at, _IGNORED + tag)
    if not shimmed:
        raise ValueError(f"{library} does not need libc.so: no Android library")
    for symbol in RENAMED:
        at = data.find(b"\0" + symbol.encode() + b"\0", strings, end)
        if at >= 0:
            data[at + 1] = ord("B")
    out.write_bytes(data)
    out.chmod(0o755)


def prepare(libraries: Sequence[Path], compiler: Sequence[str], folder: Path) -> Path:
    """Patch `libraries` into `folder` and build the shim beside them; returns the shim. Raises ValueError.

    The shim is a JVM agent, too, which loads `folder`/libexecutorch.so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    patched = [folder / library.name for library in libraries]
    for library, out in zip(libraries, patched, strict=True):
        patch(library, out, [other.name for other in libraries])
    source, shim = folder / "shim.c", folder / SHIM
    source.write_text(SHIM_SOURCE.read_text() + _missing(patched, compiler))
    flags = f"-x c -w -O1 -shared -fPIC -Wl,-soname,{SHIM} -o".split()
    glibc = "-x none -ldl -lm -lpthread -Wl,--no-as-needed -lgcc_s".split()
    subprocess.run([*compiler, *flags, shim, source, *glibc], check=True)
    return shim


def _missing(libraries: Sequence[Path], compiler: Sequence[str]) -> str:
    """C source with a definition of each import that neither glibc nor the shim nor one of the libraries has."""
    nm = re.sub(r"\w\+\+$|gcc$", "nm", compiler[0].replace("g++", "gcc"))

    def names(path: Path | str, which: str) -> set[str]:
        lines = subprocess.run([nm, "-D", which, path], check=True, capture_output=True, text=True).stdout.splitlines()
        return {line.split()[-1].split("@")[0] for line in lines}

    has = set(re.findall(r"^(?:char|int|void|size_t|ssize_t|long)\W+(\w+)[(\[]", SHIM_SOURCE.read_text(), re.M))
    for name in ("libc.so.6", "libm.so.6", "libgcc_s.so.1"):
        found = subprocess.run([*compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True)
        has |= names(found.stdout.strip(), "--defined-only")
    imports = set().union(*(names(library, "--undefined-only") for library in libraries))
    if left := sorted(imports.intersection(RENAMED)):
        raise ValueError(f"{', '.join(left)}: imported under a name that is the end of another's")
    for library in libraries:
        has |= names(library, "--defined-only")
    code = []
    for name in sorted(imports - has):
        if re.match(r"_ZT[ISV]", name):  # type information: data
            code.append(f"long {name}[32];")
        else:
            code.append(f'void {name}(void) {{ fputs("{name} is not here\\n", stderr); abort(); }}')
    return "\n".join(code) + "\n"
