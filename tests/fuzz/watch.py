"""Inputs in a child process that is watched: an abort or a hang ends the child, and is a fault like an exception."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
from fuzz.target import Target, WrongAcceptanceError

from mlp_export.errors import MlpExportError

_FORK = multiprocessing.get_context("fork")  # the child has torch and the bases already
_PACKAGE = ("/mlp_export/", "/backends/")


@dataclass(frozen=True)
class Result:
    """What came of an input. `fault` is "" where it was accepted or refused as it should be."""

    accepted: bool
    fault: str = ""
    kind: str = ""  # equal for inputs that fail alike
    told: str = ""  # the refusal
    compared: int = 0  # how often with another program


def try_input(target: Target, given: Any) -> Result:
    """Gives one input to its reader, in this process."""
    folder = Path(tempfile.mkdtemp(prefix="mlp-export-fuzz-"))
    try:
        compared = target.check(given, folder)
    except MlpExportError as error:
        said = str(error)
        if not said or "Traceback" in said:
            return Result(False, f"a refusal that says nothing: {said!r}", "empty refusal")
        return Result(False, told=said)
    except BaseException as error:  # the panic of a library in Rust is no Exception
        return Result(False, "".join(traceback.format_exception(error)), _kind(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Result(True, compared=compared)


def _kind(error: BaseException) -> str:
    """The exception's type and the innermost line of the package that it came through; of an acceptance what it is."""
    if isinstance(error, WrongAcceptanceError):
        return re.sub(r"[\d.]+|'.*?'", "_", str(error).splitlines()[0])[:80]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if any(part in frame.filename for part in _PACKAGE)] or list(frames)
    where = f"{Path(own[-1].filename).name}:{own[-1].name}" if own else "?"
    return f"{type(error).__name__} in {where}"


def _processor_seconds(process: psutil.Process) -> float:
    """Of a process and those that it started."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        for each in (process, *process.children(recursive=True)):
            times = each.cpu_times()
            total += times.user + times.system
    return total


class Watch:
    """A child that tries inputs, started anew where one killed it."""

    def __init__(self, targets: Mapping[str, Target], limit_s: float, memory_bytes: int = 12 * 2**30) -> None:
        """`limit_s` is processor time for one input, `memory_bytes` of address space for the child."""
        self._targets, self._limit, self._memory = targets, limit_s, memory_bytes
        self._start()

    def _start(self) -> None:
        self._here, there = _FORK.Pipe()
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the child
        arguments = (there, self._targets, self._memory, self._log.fileno())
        self._child = _FORK.Process(target=_serve, args=arguments, daemon=True)
        self._child.start()
        there.close()

    def try_input(self, name: str, given: Any) -> Result:
        """One input of target `name`."""
        self._here.send((name, given))
        if not self._answers():
            os.kill(self._child.pid or 0, signal.SIGABRT)  # faulthandler writes where it stood
            self._child.join(5)
            return Result(False, f"no answer in {self._limit:g} s of work\n{self._end()}", f"hang of {name}")
        try:
            result: Result = self._here.recv()
        except EOFError:
            self._child.join()
            code = self._child.exitcode or 0
            died = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return Result(False, f"the process ended by {died}\n{self._end()}", f"{died} of {name}")
        return result

    def _answers(self) -> bool:
        """Waits for an answer; False where the child has computed for longer than the limit, or waits for something.

        Processor time counts, for on a busy machine all takes its time.
        """
        child = psutil.Process(self._child.pid)
        started, before = time.monotonic(), _processor_seconds(child)
        while not self._here.poll(min(1.0, self._limit)):
            waited, computed = time.monotonic() - started, _processor_seconds(child) - before
            if (
                computed > self._limit
                or (waited > self._limit and computed < 0.02 * waited)
                or waited > 20 * self._limit
            ):
                return False
        return True

    def _end(self) -> str:
        """Starts another child, and returns the last that this one wrote."""
        if self._child.is_alive():
            self._child.kill()
        self._child.join()
        self._here.close()
        self._log.seek(0)
        last = self._log.read()[-3000:]
        self._log.close()
        self._start()
        return last

    def close(self) -> None:
        """Ends the child."""
        self._child.kill()
        self._child.join()


def _serve(questions: Connection, targets: Mapping[str, Target], memory_bytes: int, log: int) -> None:
    for number in (1, 2):  # libraries show progress and warn
        os.dup2(log, number)
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            name, given = questions.recv()
        except EOFError:
            return
        questions.send(try_input(targets[name], given))


def draw(target: Target, seed: str) -> Any:
    """The input that `seed` gives."""
    return target.draw(random.Random(f"{target.name} {seed}"))
