"""Load time and memory of a bundle in a bare C++ process: settings that a phone's app may have, cold and warm.

    python benchmarks/load_memory.py BUNDLE [--json FILE] [--markdown FILE] [--tokens 512]

For each setting a new process loads the program and prefills `--tokens` tokens. Memory is what the process has beyond
what it had before the load: anonymous pages (the heap: the system cannot drop them) and pages of files (the system
may). Cold: the files' pages are dropped from the page cache before, which `cold_cached_share` checks.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlp_export.bundle.bundle import Bundle
from mlp_export.runtime.native_runner import (
    MEMORY,
    Runner,
    RunnerOptions,
    build_runner,
    call,
    drop_from_page_cache,
    host_sdk,
    load,
)

THREADS = 2


@dataclass(frozen=True)
class Row:
    """One setting. Bytes are beyond those before the load; times of a load are the process's own clock."""

    setting: str
    state: str  # "cold", "warm", "first": packs and writes the file of packed weights
    cold_cached_share: float | None  # of the program's file, in the page cache before a cold load
    load_s: float
    loaded_anonymous_bytes: int
    loaded_file_bytes: int
    prefilled_anonymous_bytes: int
    prefilled_file_bytes: int
    prefill_s: float
    peak_bytes: int


def cached_share(path: Path) -> float:
    """The share of a file's pages that are in the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE) as data,
    ):
        pages = -(-len(data) // mmap.PAGESIZE)
        found = (ctypes.c_ubyte * pages)()
        start = ctypes.c_char.from_buffer(data)
        failed = libc.mincore(ctypes.byref(start), ctypes.c_size_t(len(data)), found)
        del start
        if failed:
            raise OSError(ctypes.get_errno(), f"mincore of {path}")
    return sum(page & 1 for page in found) / pages


def measure(
    runner: Runner, model: Path, chunk: int, tokens: int, setting: str, state: str, options: RunnerOptions
) -> Row:
    share = None
    if state == "cold":
        for path in filter(None, (model, options.packed_cache)):
            drop_from_page_cache(path)
        share = cached_share(model)
    ids = [(37 * n + 5) % 1900 for n in range(tokens + 1)]
    prefill = [call(ids[start : min(start + chunk, tokens)], start) for start in range(0, tokens, chunk)]
    run = runner.run([MEMORY, load(model), MEMORY, *prefill, MEMORY, call(ids[-1:], tokens)], options)
    before, loaded, prefilled = run.memory
    return Row(
        setting,
        state,
        share,
        run.load_s[0],
        loaded.anonymous_bytes - before.anonymous_bytes,
        loaded.file_bytes - before.file_bytes,
        prefilled.anonymous_bytes - before.anonymous_bytes,
        prefilled.file_bytes - before.file_bytes,
        sum(run.call_s[:-1]),
        prefilled.peak_bytes,
    )


def measure_all(bundle: Bundle, tokens: int) -> list[Row]:
    runner, model, chunk = build_runner(host_sdk("backend_xnnpack")), bundle.pte, bundle.manifest.prefill_chunk
    rows = []

    def add(setting: str, state: str, options: RunnerOptions) -> None:
        rows.append(measure(runner, model, chunk, tokens, setting, state, options))
        print(json.dumps(asdict(rows[-1])), flush=True)

    for mode in ("mmap", "file"):
        for cache in (False, True):
            setting = f"{mode}{', weights cache' if cache else ''}"
            for state in ("cold", "warm"):
                add(setting, state, RunnerOptions(mode, cache, threads=THREADS))
    with tempfile.TemporaryDirectory(dir=model.parent) as folder:
        for mode in ("mmap", "file"):
            options = RunnerOptions(mode, True, Path(folder, f"packed-{mode}"), threads=THREADS)
            for state in ("first", "cold", "warm"):
                add(f"{mode}, packed weights in a file", state, options)
        packed_bytes = Path(folder, "packed-mmap").stat().st_size
    print(f"file of packed weights: {packed_bytes:,} bytes")
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The table: MB are 10^6 bytes."""

    def mb(count: int) -> str:
        return f"{count / 1e6:,.0f}"

    lines = [
        "| loaded how | | load, s | anonymous, MB | files, MB | with a prefill: anonymous | files | peak |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [row.setting, row.state, f"{row.load_s:.2f}", mb(row.loaded_anonymous_bytes)]
        cells += [
            mb(row.loaded_file_bytes),
            mb(row.prefilled_anonymous_bytes),
            mb(row.prefilled_file_bytes),
            mb(row.peak_bytes),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Load time and memory in a bare C++ process.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--tokens", type=int, default=512, help="of the prefill (default: %(default)s)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    bundle = Bundle.open(arguments.bundle)
    rows = measure_all(bundle, arguments.tokens)
    report: dict[str, Any] = {
        "machine": f"{os.cpu_count()} x {platform.machine()}",
        "file_bytes": bundle.pte.stat().st_size,
        "prefill_tokens": arguments.tokens,
        "threads": THREADS,
        "rows": [asdict(row) for row in rows],
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print(markdown(rows))
    if arguments.markdown:
        arguments.markdown.write_text(markdown(rows))


if __name__ == "__main__":
    subprocess.run(["sync"], check=False)
    main()
