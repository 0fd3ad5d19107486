"""Runs a `.pte` in a bare C++ process, as a phone's app does: `native/runner.cpp`, over the ExecuTorch wheel's C++ SDK.

    runner = build_runner(host_sdk(backend.runtime.notes.native_library))
    run = runner.run([load(path), MEMORY, call([1, 2, 3], 0)], RunnerOptions(weights_cache=True))
    run.logits[0], run.memory[0].anonymous_bytes

The wheel is a whole SDK but for two things. The kernels that write KV caches (`llama::`) are in a library that also
wants PyTorch's libraries, for a second registration that a bare process has no use for. A stub of a few kilobytes
stands in for them: its functions do nothing while that registration runs, and abort if anything else calls them. And
there is no header for the thread pool.

The build is kept in the user's cache, under a key of the sources, the wheel and the compiler.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock

from mlp_export.errors import InputError, MissingError, UsageError
from mlp_export.paths import cache_folder
from mlp_export.resources import make_folder
from mlp_export.scratch import scratch_folder

LoadMode = Literal["file", "mmap", "mlock", "mlock-ignore-errors", "madvise"]

SOURCES = Path(__file__).with_name("native")
COMPILERS = ("g++", "c++", "clang++")
INSTALL_COMPILER = "sudo apt-get install g++"
# Whole archives of kernels, which register themselves as they are loaded, as a delegate's does.
_LIBRARIES = ("", "_kernels_optimized", "_kernels_quantized", "_threadpool", "_etdump")
_HEADERS = ("extension/module/module.h", "extension/tensor/tensor.h", "runtime/backend/backend_options_map.h")
_LLAMA_KERNELS = "extension/llm/custom_ops/libcustom_ops_aot_lib.so"
_DEFINES = ("C10_USING_CUSTOM_GENERATED_MACROS", "ET_EVENT_TRACER_ENABLED")
FUNCTION_SCHEMA_BYTES = 120  # sizeof(c10::FunctionSchema) in torch 2.13.0, 64-bit: functions return one by value

MEMORY = "memory"  # commands of a script; see native/harness.h
UNLOAD = "unload"


def load(path: Path) -> str:
    """The command that loads `path`. Raises UsageError for a path that a line cannot hold."""
    if "\n" in str(path):
        raise UsageError(f"{str(path)!r} has a line break in it", "rename the file")
    return f"load {path}"


def call(tokens: Sequence[int], position: int) -> str:
    """The command that calls `forward` with `tokens`, which stand at `position`, `position` + 1, ..."""
    return f"call {position} {' '.join(map(str, tokens))}"


def use(program: int) -> str:
    """The command that makes the `program`-th of the loaded ones (0 is the first) take the calls that follow."""
    return f"use {program}"


@dataclass(frozen=True)
class Memory:
    """The process's memory at one moment, in bytes. `resident_bytes` is the sum of the two behind it."""

    resident_bytes: int
    anonymous_bytes: int  # the heap and what else has no file behind it: the system cannot drop it
    file_bytes: int  # pages of mapped files, libraries included
    peak_bytes: int  # highest resident memory so far


@dataclass(frozen=True)
class RunnerOptions:
    """How programs are loaded: a phone's runtime has the weights cache on, and its classes map the file."""

    load_mode: LoadMode = "mmap"
    weights_cache: bool = False
    packed_cache: Path | None = None  # file for XNNPACK's packed weights; the first load writes it, later ones map it
    threads: int | None = None  # None: the runtime's choice
    load_options: bool = True  # False: load without any, as a class does that does not know them

    def arguments(self) -> list[str]:
        """The runner's options."""
        found = ["--mode", self.load_mode, *([] if self.load_options else ["--no-load-options"])]
        if self.weights_cache:
            found.append("--weights-cache")
        if self.packed_cache is not None:
            found += ["--packed-cache", str(self.packed_cache)]
        if self.threads is not None:
            found += ["--threads", str(self.threads)]
        return found


@dataclass(frozen=True)
class NativeRun:
    """What a script did. Logits are float32 [values of `forward`'s result], one tensor a call."""

    load_s: list[float]
    call_s: list[float]
    memory: list[Memory]
    logits: list[torch.Tensor]


class NativeRunError(InputError):
    """The runner did not reach the end of its script. `signal` names what killed it, "" where it ended by itself."""

    def __init__(self, message: str, hint: str, signal_name: str, done: int) -> None:
        super().__init__(message, hint)
        self.signal = signal_name
        self.done = done  # commands with an event that ended before


def drop_from_page_cache(path: Path) -> None:
    """Make the next load of `path` a cold one, as far as the system does it: pages that another process has mapped, or
    that are not on the disk yet, stay.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Sdk:
    """An unpacked ExecuTorch wheel (its `executorch` folder) and the compiler for its machine."""

    root: Path
    compiler: Sequence[str]
    delegate: str  # as its library is named: libexecutorch_DELEGATE.so

    @property
    def libraries(self) -> tuple[str, ...]:
        """What of ExecuTorch is linked: libexecutorchNAME.so each."""
        return (*_LIBRARIES, f"_{self.delegate}")

    def check(self) -> None:
        """Raises MissingError where headers or libraries are missing."""
        wanted = [f"include/executorch/{name}" for name in _HEADERS]
        wanted += [f"lib/libexecutorch{name}.so" for name in self.libraries] + [_LLAMA_KERNELS]
        missing = [name for name in wanted if not (self.root / name).is_file()]
        if missing:
            raise MissingError(
                f"the executorch package in {self.root} has no whole C++ SDK: "
                f"{len(missing)} of {len(wanted)} files are missing, {missing[0]} first",
                "install ExecuTorch's own wheel for Linux: pip install --force-reinstall --no-deps executorch==1.5.1",
            )

    def compile_flags(self) -> list[str]:
        """What code needs that includes the SDK's headers."""
        folders = (self.root / "include", self.root / "include/executorch/runtime/core/portable_type/c10")
        return ["-std=c++17", "-O2", "-w", *(f"-D{name}" for name in _DEFINES), *(f"-I{folder}" for folder in folders)]

    def tool(self, name: str) -> str:
        """The path of a tool of binutils for the compiler's machine. Raises MissingError."""
        found = _run([*self.compiler, f"-print-prog-name={name}"]).strip()
        path = shutil.which(found)
        if path is None:
            raise MissingError(f"{name} was not found beside {self.compiler[0]}", "sudo apt-get install binutils")
        return path


def find_compiler() -> str:
    """The command of this machine's C++ compiler ($CXX, else the first of COMPILERS that is there), "" without one."""
    named = os.environ.get("CXX", "")
    if named:
        words = shlex.split(named)
        return named if shutil.which(words[0]) else ""
    return next((name for name in COMPILERS if shutil.which(name)), "")


def host_sdk(delegate: str) -> Sdk:
    """The installed wheel, with the library of a delegate (see `HostNotes`), and this machine's compiler.

    Raises MissingError where one of them is missing.
    """
    if not sys.platform.startswith("linux"):
        raise MissingError("the native runner reads /proc: it is for Linux", "measure in Python, or on Linux")
    compiler = find_compiler()
    if not compiler:
        raise MissingError(f"no C++ compiler was found ($CXX, {', '.join(COMPILERS)})", INSTALL_COMPILER)
    spec = importlib.util.find_spec("executorch")
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise MissingError("the package executorch is not installed", "pip install executorch==1.5.1")
    sdk = Sdk(Path(places[0]), shlex.split(compiler), delegate)
    sdk.check()
    return sdk


@dataclass(frozen=True)
class Runner:
    """A built runner. `prefix` is what stands before it on the command line (an emulator)."""

    executable: Path
    arguments: Sequence[str] = ()
    prefix: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, script: Sequence[str], options: RunnerOptions | None = None, timeout_s: float = 600) -> NativeRun:
        """Run `script` in a new process.

        Raises NativeRunError where it crashes, says no or takes longer than `timeout_s`, with what it said last.
        """
        with scratch_folder() as scratch:
            results = scratch / "logits"
            command = [*self.prefix, str(self.executable), *self.arguments, "--logits", str(results)]
            command += (options or RunnerOptions()).arguments()
            try:
                ended = subprocess.run(
                    command,
                    input="\n".join(script) + "\n",
                    capture_output=True,
                    text=True,
                    errors="replace",
                    env={**os.environ, **self.environment},
                    timeout=timeout_s,
                )
            except subprocess.TimeoutExpired as error:
                raise NativeRunError(f"the runner took more than {timeout_s:.0f} s", "", "", 0) from error
            # The last line is cut where the process was killed in it.
            events = [json.loads(line) for line in ended.stdout.splitlines() if line.endswith("}")]
            if ended.returncode:
                raise _failure(ended, events)
            return _report(events, results.read_bytes())


def _failure(ended: subprocess.CompletedProcess[str], events: list[dict[str, Any]]) -> NativeRunError:
    code = -ended.returncode if ended.returncode < 0 else ended.returncode - 128  # a shell's way to say it, and qemu's
    name = signal.Signals(code).name if code in list(signal.Signals) else ""
    # ExecuTorch's log has a level first: what it says for information explains nothing.
    lines = [line for line in ended.stderr.splitlines() if line.strip() and not re.match(r"[DI] \d\d:", line)]
    last = lines[-1] if lines else "it gave no reason"
    after = f"after {events[-1]['event']} ({len(events)} events)" if events else "before the first event"
    what = f"was killed by {name}" if name else f"ended with exit code {ended.returncode}"
    return NativeRunError(f"the native runner {what} {after}: {last}", "export the program again", name, len(events))


def _report(events: list[dict[str, Any]], logits: bytes) -> NativeRun:
    of: dict[str, list[dict[str, Any]]] = {kind: [] for kind in ("load", "call", "memory", "unload")}
    for event in events:
        of[event.pop("event")].append(event)
    values = torch.frombuffer(bytearray(logits), dtype=torch.float32) if logits else torch.empty(0)
    return NativeRun(
        load_s=[event["seconds"] for event in of["load"]],
        call_s=[event["seconds"] for event in of["call"]],
        memory=[Memory(**event) for event in of["memory"]],
        logits=list(values.split([event["values"] for event in of["call"]])) if of["call"] else [],
    )


def build_runner(sdk: Sdk, cache: Path | None = None) -> Runner:
    """The runner for `sdk`, built where the cache does not hold it yet; it appears there whole or not at all.

    Raises MissingError where the SDK is not whole or the compiler fails.
    """
    sdk.check()
    sources = sorted(SOURCES.iterdir())
    compiler = _run([*sdk.compiler, "--version"])
    key = hashlib.sha256(str([sdk.root, *sdk.compiler, compiler, sdk.libraries, _DEFINES]).encode())
    for source in (*sources, Path(__file__), sdk.root / "version.py"):
        key.update(source.read_bytes() if source.is_file() else b"")
    place = (cache or cache_folder()) / "native"
    make_folder(place)
    folder = place / key.hexdigest()[:16]
    with FileLock(place / "build.lock"):
        if not folder.is_dir():
            with scratch_folder(place, ".build") as temporary:
                made = temporary / "made"
                made.mkdir()
                stubs = _build_stubs(sdk, made)
                _compile(sdk, SOURCES / "runner.cpp", made / "runner")
                (made / "stubs").mkdir()
                for name in _wanted_of_torch(sdk):
                    (made / "stubs" / name).symlink_to(Path("..", stubs.name))
                os.replace(made, folder)
    return Runner(
        folder / "runner",
        arguments=("--ops", str(sdk.root / _LLAMA_KERNELS)),
        environment={"LD_LIBRARY_PATH": str(folder / "stubs")},
    )


def _compile(sdk: Sdk, source: Path, out: Path) -> None:
    command = [*sdk.compiler, *sdk.compile_flags(), str(source), "-o", str(out), f"-L{sdk.root / 'lib'}"]
    command.append("-Wl,--no-as-needed")  # nothing refers to a library that only registers itself
    command += [f"-lexecutorch{name}" for name in sdk.libraries]
    command += [f"-Wl,-rpath,{sdk.root / 'lib'}", "-Wl,--allow-shlib-undefined", "-ldl", "-lpthread"]
    _run(command)


def _wanted_of_torch(sdk: Sdk) -> list[str]:
    """The names of PyTorch's libraries, as the library with the `llama::` kernels asks for them."""
    dynamic = _run([sdk.tool("readelf"), "-d", "-W", str(sdk.root / _LLAMA_KERNELS)])
    return re.findall(r"\(NEEDED\).*\[((?:libtorch|libc10|_C\.).*)\]", dynamic)


def _symbols(sdk: Sdk, path: Path, which: str) -> set[str]:
    """Names of a library's dynamic symbols, without versions and weak ones that may stay undefined."""
    lines = [line.split() for line in _run([sdk.tool("nm"), "-D", which, str(path)]).splitlines()]
    return {words[-1].split("@")[0] for words in lines if words and words[-2] != "w"}


def _build_stubs(sdk: Sdk, folder: Path) -> Path:
    """A library with what the `llama::` kernels' library wants of PyTorch."""
    has: set[str] = set()
    for library in sorted((sdk.root / "lib").glob("libexecutorch*.so")):
        has |= _symbols(sdk, library, "--defined-only")
    wanted = {
        name
        for name in _symbols(sdk, sdk.root / _LLAMA_KERNELS, "--undefined-only") - has
        if re.match(r"_ZN[KRO]*(2at|3c10|5torch|6caffe2)", name)
    }
    code = [
        "#include <stdio.h>",
        "#include <stdlib.h>",
        f"struct schema {{ long words[{FUNCTION_SCHEMA_BYTES // 8}]; }};",
    ]
    for name in sorted(wanted):
        if re.search(r"make_function_schema|parseSchema", name):
            code.append(f"struct schema {name}(void) {{ return (struct schema){{{{0}}}}; }}")
        elif re.search(r"5torch(7Library|11CppFunction)|4Type\w*3getE", name):
            code.append(f"void *{name}(void *self) {{ return self; }}")  # constructors and what returns *this
        elif "_singleton" in name:
            code.append(f"char {name}[4096];")
        else:
            code.append(f'void {name}(void) {{ fputs("PyTorch is not here: {name}\\n", stderr); abort(); }}')
    source, library = folder / "torch_stub.c", folder / "libtorch_stub.so"
    source.write_text("\n".join(code) + "\n")
    _run([*sdk.compiler, "-x", "c", "-std=c11", "-w", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)])
    return library


def _run(command: Sequence[str]) -> str:
    """stdout of a build tool. Raises MissingError, with what it said first, where it fails."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise MissingError(f"{command[0]} cannot be started: {error}", INSTALL_COMPILER) from error
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if "error" in line] or ended.stderr.splitlines() or ["-"]
        raise MissingError(
            f"{command[0]} failed with exit code {ended.returncode}: {lines[0]}",
            "use g++ 12 or later, or clang++ 14 or later ($CXX names one), with ExecuTorch's own wheel",
        )
    return ended.stdout
