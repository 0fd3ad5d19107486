"""Which functions a `.pte` spends its time in on this machine, by `perf`: a prompt, or decoding at a depth, alone.

    python benchmarks/profile_pte.py FILE.pte {prefill|512|1536} [--top 12]

One thread. Needs Linux with perf and binutils. Samples are of the CPU clock, which every machine has. The wheel's
libraries have no symbols: a function without a name is shown by where it begins, which `.eh_frame` tells, and can be
told by its code (`objdump -d --start-address=...`).
"""

from __future__ import annotations

import argparse
import bisect
import os
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path

from speed import NEW_TOKENS, PROMPT_TOKENS

_STARTING_S = 1.5  # until perf has attached itself


def record(file: Path, phase: str, data: Path) -> float:
    """CPU seconds of the phase, which `data` has the samples of."""
    import torch
    from executorch.extension.pybindings import portable_lib
    from pte_speed import _Model

    portable_lib._unsafe_reset_threadpool(1)
    torch.set_num_threads(1)
    model = _Model(file)
    ids = torch.randint(model.vocab_size, (8192,), generator=torch.Generator().manual_seed(0))
    if phase == "prefill":
        start, tokens, chunk = 0, ids[:PROMPT_TOKENS], model.chunk
    else:
        start, chunk = int(phase), 1
        tokens = ids[start : start + NEW_TOKENS]
        before = max(0, start - model.chunk)
        model.timed(ids[before:start], before)
    model.timed(tokens[: 4 * chunk], start, chunk)
    command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "997", "-o", str(data), "-p", str(os.getpid())]
    perf = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    time.sleep(_STARTING_S)
    before_s = time.process_time()
    model.timed(tokens, start, chunk)
    seconds = time.process_time() - before_s
    perf.send_signal(signal.SIGINT)
    perf.wait()
    return seconds


def by_function(data: Path) -> Counter[str]:
    """Samples of each function."""
    fields = ["perf", "script", "-i", str(data), "-F", "ip,sym,dso", "--show-mmap-events"]
    output = subprocess.run(fields, check=True, capture_output=True, text=True).stdout
    mapped: list[tuple[int, int, int, str]] = []
    found: Counter[str] = Counter()
    for line in output.splitlines():
        mapping = re.search(r"MMAP2? \S+: \[0x([0-9a-f]+)\(0x([0-9a-f]+)\) @ (0x[0-9a-f]+|0) .*\]: \S+ (\S+)", line)
        if mapping:
            start = int(mapping[1], 16)
            mapped.append((start, start + int(mapping[2], 16), int(mapping[3], 16), mapping[4]))
            continue
        sample = re.match(r"\s*([0-9a-f]+)\s+(.*?)\s*\((.*)\)$", line)
        if not sample:
            continue
        address, symbol, library = int(sample[1], 16), sample[2], sample[3]
        name = Path(library).name
        if "unknown" in symbol and (
            span := next((m for m in mapped if m[0] <= address < m[1] and m[3] == library), None)
        ):
            starts = _starts(library)
            place = bisect.bisect(starts, address - span[0] + span[2]) - 1
            symbol = hex(starts[place]) if place >= 0 else symbol
        found[f"{name}: {symbol}"] += 1
    return found


@cache
def _starts(library: str) -> list[int]:
    """Where its functions begin. Offsets in the file are addresses in the wheel's libraries, as far as code goes."""
    command = ["readelf", "-W", "--debug-dump=frames", library]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return sorted({int(match[1], 16) for match in re.finditer(r"pc=([0-9a-f]+)\.\.", output)})


def main() -> None:
    parser = argparse.ArgumentParser(description="Profiles a .pte by function.")
    parser.add_argument("file", type=Path)
    parser.add_argument("phase", help="prefill, or the depth to decode at")
    parser.add_argument("--top", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch, "perf.data")
        seconds = record(arguments.file, arguments.phase, data)
        found = by_function(data)
    print(f"{seconds:.2f} s of CPU time, {found.total()} samples")
    for name, count in found.most_common(arguments.top):
        print(f"{count / found.total():7.2%}  {name[:100]}")


if __name__ == "__main__":
    main()
