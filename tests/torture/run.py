"""One run of a job in a process of its own, disturbed at one moment."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torture.box import Box, processes_of_group
from torture.jobs import Job, Material, enter, environment

from mlp_export.cli.app import main

SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "HUP": signal.SIGHUP, "INT": signal.SIGINT}
HANG_SECONDS = 180.0
ORPHAN_SECONDS = 20.0  # that a child of a killed run may live on
# What is counted: each change of a folder, each file that is opened to be written, each child and connection.
_EVENTS = frozenset(
    "os.mkdir os.rename os.remove os.rmdir os.link os.chmod os.truncate subprocess.Popen socket.connect".split()
)
_MS_RDONLY, _MS_REMOUNT = 1, 32


@dataclass(frozen=True)
class Fault:
    """What happens, and when: `at` from 0 to 1 is the part of an undisturbed run's events, or of its time."""

    kind: str  # a name of SIGNALS, "INT INT"; "full F", "read-only F", "vanished F" of a folder F; "file size"
    at: float
    by: str = "event"  # "time": a signal from outside, whatever the run is at
    fresh: bool = False  # in a new process: also while Python starts; by time
    room: int = 0  # bytes that a full disk still has, or that a file may have

    @property
    def folder(self) -> str:
        """The folder that it is about, "" where it is about none."""
        return self.kind.partition(" ")[2] if self.kind.startswith(("full", "read-only", "vanished")) else ""

    @property
    def signals(self) -> list[signal.Signals]:
        """What is sent, one after another."""
        return [SIGNALS[name] for name in self.kind.split()] if self.kind.split()[0] in SIGNALS else []

    def __str__(self) -> str:
        room = f", {self.room:,} bytes left" if self.kind.startswith(("full", "file")) else ""
        return f"{self.kind} at {self.at:.3f} by {self.by}{' in a new process' if self.fresh else ''}{room}"


@dataclass(frozen=True)
class Measure:
    """What an undisturbed run takes."""

    events: int
    seconds: float


@dataclass(frozen=True)
class Ended:
    """How a run ended. `code` as subprocess has it: below 0 for a signal."""

    code: int
    events: int
    seconds: float
    reached: bool  # whether it was disturbed before it ended
    seconds_after: float  # from then to its end
    output: str
    hung: bool
    orphans: list[int]


class _Shared:
    """Two numbers that a run's process and its parent both see: events so far, and the one it was disturbed at."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 16)

    def set(self, place: int, value: int) -> None:
        struct.pack_into("q", self._memory, 8 * place, value)

    def get(self, place: int) -> int:
        return int(struct.unpack_from("q", self._memory, 8 * place)[0])


def run(job: Job, box: Box, material: Material, index: str, fault: Fault | None, measure: Measure | None) -> Ended:
    """Run `job` to its end. `measure` is that of an undisturbed run, which a fault needs."""
    shared = _Shared()
    log = box.root / "log"
    log.write_text("")
    moment = 0
    if fault is not None and measure is not None and fault.by == "event":
        moment = 1 + int(fault.at * measure.events)
    begun = time.monotonic()
    if fault is not None and fault.fresh:
        pid = _start(job, box, index, log)
    else:
        pid = os.fork()
        if pid == 0:
            _become(job, box, material, index, log, fault, moment, shared)
        while os.getpgid(pid) != pid:  # until then a signal to its group would reach nobody
            time.sleep(0.001)
    delivered = 0.0
    if fault is not None and fault.by == "time" and measure is not None:
        # What comes while Python itself starts is not ours.
        time.sleep(max(fault.at * measure.seconds, 0.25 if fault.fresh else 0))
        delivered = time.monotonic()
        _signal(pid, fault)
    code, hung = _wait(pid)
    ended = time.monotonic()
    orphans = _orphans(pid)
    output = log.read_text(errors="replace")
    reached = shared.get(1) > 0 if not delivered else code != 0
    return Ended(
        code, shared.get(0), ended - begun, reached, ended - delivered if delivered else 0.0, output, hung, orphans
    )


def _start(job: Job, box: Box, index: str, log: Path) -> int:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlp_export", *job.arguments(box)],
            env={**os.environ, **environment(box, index), "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    process.returncode = 0  # it is waited for by its number
    return process.pid


def _signal(pid: int, fault: Fault) -> None:
    for n, number in enumerate(fault.signals):
        if n:
            time.sleep(0.02)
        # Ctrl-C, and a terminal that closes, reach the children, too. A process that has ended is not waited for yet,
        # so that it is there.
        if number in (signal.SIGINT, signal.SIGHUP):
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


def _wait(pid: int) -> tuple[int, bool]:
    """The exit code, and whether it had to be killed for it."""
    deadline, hung = time.monotonic() + HANG_SECONDS, False
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), hung
        if time.monotonic() > deadline and not hung:
            hung = True
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _orphans(group: int) -> list[int]:
    deadline = time.monotonic() + ORPHAN_SECONDS
    while (found := processes_of_group(group)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return found


def _become(
    job: Job, box: Box, material: Material, index: str, log: Path, fault: Fault | None, moment: int, shared: _Shared
) -> None:
    """The command line in this process, which is a copy of one that has imported everything. Does not return."""
    code = 70
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS.values())
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for number in SIGNALS.values():
            if number != signal.SIGKILL:
                signal.signal(number, signal.SIG_DFL)
        enter(material, box, index, pytest.MonkeyPatch())
        tempfile.tempdir = None
        sys.argv = ["mlp-export", *job.arguments(box)]
        _count_events(box.root, moment, shared, _disturbance(fault, box))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS.values())
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _count_events(root: Path, moment: int, shared: _Shared, disturb: Callable[[], bool]) -> None:
    """Count the events of this process from now on; at number `moment` and after it `disturb`, until it says done."""
    inside = done = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal inside, done
        if inside or not (event in _EVENTS or (event == "open" and _writes(root, arguments))):
            return
        count = shared.get(0) + 1
        shared.set(0, count)
        if not moment or count < moment or done:
            return
        inside = True
        shared.set(1, count)  # first: what a signal's handler raises comes out of here
        try:
            done = True
            done = disturb()
        finally:
            inside = False
        if not done:
            shared.set(1, 0)

    sys.addaudithook(hook)


def _writes(root: Path, arguments: tuple[Any, ...]) -> bool:
    path, _, flags = arguments
    return isinstance(path, str) and bool(flags & (os.O_WRONLY | os.O_RDWR)) and path.startswith(str(root))


def _disturbance(fault: Fault | None, box: Box) -> Callable[[], bool]:
    """What to do at the moment; whether it is done, or is to be tried at the next event again."""
    if fault is None:
        return lambda: True
    if fault.signals:

        def send() -> bool:
            _signal(os.getpid(), fault)
            return True

        return send
    if fault.kind == "file size":

        def limit() -> bool:
            resource.setrlimit(resource.RLIMIT_FSIZE, (fault.room, resource.RLIM_INFINITY))
            return True

        return limit
    folder = box.root / fault.folder
    if fault.kind.startswith("full"):
        return lambda: _fill(folder, fault.room)
    if fault.kind.startswith("read-only"):
        return lambda: _make_read_only(folder)

    def vanish() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return True

    return vanish


def _fill(folder: Path, room: int) -> bool:
    free = shutil.disk_usage(folder).free
    descriptor = os.open(folder / "ballast", os.O_WRONLY | os.O_CREAT)
    if free > room:
        os.posix_fallocate(descriptor, 0, free - room)
    os.close(descriptor)
    return True


def _make_read_only(folder: Path) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(None, os.fsencode(folder), None, _MS_REMOUNT | _MS_RDONLY, None) == 0:
        return True
    if ctypes.get_errno() != errno.EBUSY:  # a file is open to be written
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    return False
