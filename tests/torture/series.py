"""A series: a job that is disturbed some times, and then runs undisturbed. What must hold after each run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from torture.box import Box, Contents, difference
from torture.jobs import Job, Material
from torture.run import Ended, Fault, Measure, run

_TRIES = 12  # for a fault that comes after the run's end
_DISK = "size=96m"  # more than an export asks for
# By what a person is told: no space, something is missing, another --out; a folder that vanishes takes inputs along.
# Where no file may have four bytes, no folder for temporary files is found.
_CODES = {"full": {5}, "file": {4, 5}, "read-only": {4, 5}, "vanished": {2, 3, 4}}


@dataclass(frozen=True)
class Series:
    """What is to be done, in this order. `seed` draws another moment where a fault came too late."""

    number: int
    job: str
    faults: tuple[Fault, ...]
    seed: int


@dataclass(frozen=True)
class Reference:
    """An undisturbed run of a job: what it takes, and what there is afterwards."""

    measure: Measure
    contents: Contents


@dataclass
class SeriesResult:
    """What was seen."""

    series: Series
    faults: list[tuple[Fault, Ended]] = field(default_factory=list)  # those that came before the run's end
    late: int = 0  # those that came after it
    runs: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def reference(job: Job, box: Box, material: Material, index: str) -> Reference:
    """Run `job` undisturbed. Raises RuntimeError where it does not succeed."""
    for _ in range(2):  # the first may make what later ones find
        _prepare(job, box)
        ended = run(job, box, material, index, None, None)
        if ended.code:
            raise RuntimeError(f"{job.name} ended with {ended.code}:\n{ended.output}")
    return Reference(Measure(ended.events, ended.seconds), box.contents())


def run_series(series: Series, job: Job, box: Box, material: Material, index: str, expected: Reference) -> SeriesResult:
    """Carry it out in `box`, which is emptied first. The box is kept where there is a problem."""
    begun, draw, result = time.monotonic(), Random(series.seed), SeriesResult(series)
    _prepare(job, box)
    with ExitStack() as mounts:
        for folder in {fault.folder for fault in series.faults if fault.kind.startswith(("full", "read-only"))}:
            mounts.enter_context(_Disk(box.root / folder))
        for fault in series.faults:
            for _ in range(_TRIES):
                if job.needs_free_target:
                    _remove(box.out)
                before = box.contents()
                ended = run(job, box, material, index, fault, expected.measure)
                result.runs += 1
                _repair(fault, box)
                if fault.kind.startswith("vanished") and not (box.root / job.result).exists():
                    job.prepare(box)  # an input may be gone with it
                found = judge(job, box, fault, ended, before, expected.contents)
                result.problems += [f"{fault}: {problem}" for problem in found]
                if ended.reached or found:
                    result.faults.append((fault, ended))
                    break
                result.late += 1
                fault = Fault(fault.kind, draw.random(), fault.by, fault.fresh, fault.room)
        if job.needs_free_target:
            _remove(box.out)
        ended = run(job, box, material, index, None, None)
        result.runs += 1
        if ended.code:
            result.problems.append(f"the undisturbed run ended with {ended.code}: {_last(ended.output)}")
        result.problems += [f"after it {line}" for line in difference(box.contents(), expected.contents)]
        result.problems += [f"after it {name} is locked" for name in box.held_locks()]
        result.problems += [f"after it a part of a record: {name}" for name in box.unfinished_records()]
        if result.problems:
            kept = box.root.with_name(f"kept-{series.number}")
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(box.root, kept, symlinks=True)
    result.seconds = time.monotonic() - begun
    return result


def judge(job: Job, box: Box, fault: Fault, ended: Ended, before: Contents, expected: Contents) -> list[str]:
    """What is wrong after a disturbed run. `before` is what the box held then, `expected` what an undisturbed run
    leaves.
    """
    problems = []
    allowed = {0} | ({128 + number for number in fault.signals} or _CODES[fault.kind.partition(" ")[0]])
    if fault.fresh or fault.by == "time":  # it may have come before the command line took its signals
        allowed |= {-number for number in fault.signals}
    allowed |= {-number for number in fault.signals if number == signal.SIGKILL}
    if ended.code not in allowed:
        problems.append(f"ended with {ended.code}, expected {sorted(allowed)}: {_last(ended.output)}")
    if fault.signals and ended.code == 0 and (ended.seconds_after > 2 or (fault.by == "event" and ended.reached)):
        problems.append("the signal was lost")
    for word in ("Traceback", "this is a bug", "Exception ignored"):
        if word in ended.output:
            problems.append(f"it says {word!r}: {_last(ended.output)}")
    if ended.hung:
        problems.append("it hung")
    problems += [f"process {pid} lived on" for pid in ended.orphans]
    problems += [f"{name} is locked" for name in box.held_locks()]

    now = box.contents()
    result = _below(now, job.result)
    vanished = fault.kind.startswith("vanished")
    if result not in (_below(before, job.result), _below(expected, job.result)) and not (vanished and not result):
        whole = difference(result, _below(expected, job.result))
        problems.append(f"{job.result} is neither what was there nor what is to be there: {'; '.join(whole)}")
    if "KILL" not in fault.kind and not fault.kind.startswith("read-only"):  # it could clean up
        problems += [f"left behind: {name}" for name in _leftovers(now) if name not in before]
    problems += [f"beside the result: {name}" for name in _visible(now, job)]
    return problems


def _below(contents: Contents, path: str) -> Contents:
    return {name: entry for name, entry in contents.items() if name == path or name.startswith(f"{path}/")}


def _leftovers(contents: Contents) -> list[str]:
    """Names of unfinished work, of which none may stay where the process could clean up."""
    return [name for name in contents if name.startswith("tmp/") or name.split("/")[:2][-1].startswith(".")]


def _visible(contents: Contents, job: Job) -> list[str]:
    """What lies beside the target and does not begin with a dot."""
    names = {"/".join(name.split("/")[:2]) for name in contents if name.startswith("out/")}
    return sorted(name for name in names if name != "out/b" and not name.startswith("out/."))


def _prepare(job: Job, box: Box) -> None:
    box.make()
    job.prepare(box)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _last(output: str) -> str:
    return " | ".join(output.strip().splitlines()[-3:])


class _Disk:
    """A file system of its own over a folder, with what the folder holds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        saved = self._folder.with_name(f"{self._folder.name}-saved")
        shutil.copytree(self._folder, saved, symlinks=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", _DISK, "tmpfs", str(self._folder)], check=True)
        shutil.copytree(saved, self._folder, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(saved)

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self._folder)], check=True)


def _repair(fault: Fault, box: Box) -> None:
    """Take away what a fault did to a folder, and leave what the run left there."""
    if not fault.folder:
        return
    folder = box.root / fault.folder
    if fault.kind.startswith("read-only"):
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ballast").unlink(missing_ok=True)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount file systems; `folder` is one to try it at."""
    if os.geteuid() != 0:
        return False
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True, check=False)
    if done.returncode == 0:
        subprocess.run(["umount", str(folder)], check=True)
    return done.returncode == 0


def faults_of(job: Job, draw: Random, kills: Sequence[str]) -> Fault:
    """A signal at a random moment, for `job`."""
    kind = draw.choice(kills)
    fresh = job.startable and draw.random() < 0.2
    by = "time" if fresh or " " in kind or draw.random() < 0.4 else "event"
    return Fault(kind, draw.random(), by, fresh)
