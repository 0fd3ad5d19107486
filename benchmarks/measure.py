"""Runs a command and says what it took: wall time, CPU time and the peak of its own resident memory.

On Linux a new process starts with the peak of the process that started it, and `exec` keeps that number: measured from
a parent that has mapped a large model, every child seems to need as much. So `measure` starts this file, a process of
some megabytes, which starts the command and reads `os.wait4`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """What a command took, its threads and finished child processes included, and what it printed to stdout."""

    wall_s: float
    user_s: float
    system_s: float
    peak_rss_bytes: int
    others_share: float  # of the machine's CPU time meanwhile, taken by everything else: a disturbed measurement
    stdout: str


def measure(
    command: Sequence[str | Path],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Usage:
    """Runs `command` in `folder`, with `environment` added to this process's own; stderr goes to `log` where given.

    Raises RuntimeError, with the end of the log, where it does not exit with 0.
    """
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch, "usage.json")
        err = log or Path(scratch, "stderr")
        busy, total = _machine_times()
        with err.open("wb") as stderr:
            run = subprocess.run(
                [sys.executable, "-I", "-S", __file__, result, *command],
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        if run.returncode:
            end = err.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(map(str, command))} exited with {run.returncode}:\n{end}")
        busy, total = (now - before for now, before in zip(_machine_times(), (busy, total), strict=True))
        numbers = json.loads(result.read_text())
    others = busy - numbers["user_s"] - numbers["system_s"]
    return Usage(**numbers, others_share=max(0.0, others / total) if total else 0.0, stdout=run.stdout)


def _machine_times() -> tuple[float, float]:
    """CPU seconds of the whole machine so far: those in use, taken by a hypervisor's other guests or not, and all."""
    import psutil  # the process in between has no packages

    times = psutil.cpu_times()._asdict()
    counted = {key: value for key, value in times.items() if not key.startswith("guest")}  # guests are in `user`
    total = sum(counted.values())
    return total - counted["idle"] - counted.get("iowait", 0.0), total


def _wait(result: Path, command: Sequence[str]) -> int:
    start = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    wall_s = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    numbers = {
        "wall_s": wall_s,
        "user_s": usage.ru_utime,
        "system_s": usage.ru_stime,
        "peak_rss_bytes": usage.ru_maxrss * unit,
    }
    result.write_text(json.dumps(numbers))
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_wait(Path(sys.argv[1]), sys.argv[2:]))
