"""Signals that arrive where an exception is dropped."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A shell's background jobs ignore SIGINT and nohup's SIGHUP, and so would what they start.
DEFAULT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""

PROGRAM = """
import ctypes, signal, sys, time
from mlp_export.termination import Termination

def work():
    signal.raise_signal({signal})
    for _ in range(1000):
        pass

class Dropped:
    def __del__(self):
        work()

def in_del():
    Dropped()

def in_callback():
    ctypes.CFUNCTYPE(None)(work)()

def in_except():
    try:
        work()
    except BaseException:
        pass

def in_plain_code():
    work()

def in_a_library():
    try:
        work()
    except BaseException:
        pass
    raise ValueError("could not determine the shape")

def in_clean_up():
    try:
        work()
    finally:
        time.sleep(0.5)  # longer than the timer's interval, which must not disturb it
        print("cleaned", flush=True)

termination = Termination(check_seconds={seconds})
termination.install()
try:
    with Termination.kept():
        {place}()
    time.sleep(2)
    print("lost")
finally:
    termination.stop()
"""


def run(place: str, number: int, seconds: float = 0.05, prefix: str = "") -> tuple[int, str]:
    return run_program(prefix + PROGRAM.format(signal=int(number), seconds=seconds, place=place))


def run_program(program: str) -> tuple[int, str]:
    command = [sys.executable, "-c", DEFAULT + program]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGXCPU])
@pytest.mark.parametrize("place", ["in_plain_code", "in_del", "in_callback", "in_except", "in_a_library"])
def test_no_place_loses_a_signal(place: str, number: signal.Signals) -> None:
    assert run(place, number) == (128 + number, "")


@pytest.mark.parametrize("place", ["in_del", "in_callback", "in_except"])
def test_without_the_timer_these_places_lose_it(place: str) -> None:
    assert run(place, signal.SIGTERM, seconds=1000) == (0, "lost\n")


def test_an_error_without_a_signal_is_told() -> None:
    program = PROGRAM.format(signal=int(signal.SIGTERM), seconds=0.05, place="in_a_library")
    assert run_program(program.replace("signal.raise_signal(15)", "pass")) == (1, "")


@pytest.mark.parametrize("place", ["in_del", "in_callback"])
def test_an_exception_that_is_raised_again_is_not_shown(place: str) -> None:
    program = PROGRAM.format(signal=int(signal.SIGTERM), seconds=0.05, place=place)
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True).stderr
    assert shown == ""
    other = program.replace("signal.raise_signal(15)", "raise ValueError")  # the control
    assert other != program
    shown = subprocess.run([sys.executable, "-c", other], cwd=ROOT, stderr=subprocess.PIPE, text=True).stderr
    assert "ValueError" in shown


def test_clean_up_is_not_disturbed() -> None:
    assert run("in_clean_up", signal.SIGTERM) == (128 + signal.SIGTERM, "cleaned\n")


def test_a_second_signal_does_not_disturb_the_clean_up() -> None:
    again = PROGRAM.replace("time.sleep(0.5)", "signal.raise_signal({signal}); time.sleep(0.5)")
    assert again != PROGRAM
    program = again.format(signal=int(signal.SIGINT), seconds=0.05, place="in_clean_up")
    assert run_program(program) == (130, "cleaned\n")


def test_nohup_is_respected() -> None:
    ignored = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    assert run("in_plain_code", signal.SIGHUP, prefix=ignored) == (0, "lost\n")


# torch's `_autograd_init` takes 3 ms, but makes so many objects that Python may collect garbage in it. Here it does so
# after 200 of them, for some 100 ms of the process's own time, in which SIGTERM comes.
IN_TORCH = """
import gc, signal, sys, time
from mlp_export.termination import Termination

gc.disable()
young = [[] for _ in range(2_000_000)]

def profile(frame, event, function):
    if event == "c_call" and function.__name__ == "_autograd_init":
        sys.setprofile(None)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.001)
        gc.set_threshold(gc.get_count()[0] + 200)
        gc.enable()

signal.signal(signal.SIGVTALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
termination = Termination()
termination.install()
{more}
sys.setprofile(profile)
try:
    import torch
    time.sleep(2)
    print("lost")
finally:
    print("cleaned", flush=True)
    termination.stop()
"""


def test_a_signal_while_torch_is_imported_is_raised_afterwards() -> None:
    assert run_program(IN_TORCH.format(more="")) == (128 + signal.SIGTERM, "cleaned\n")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python collects garbage between its own instructions alone")
def test_raised_while_torch_is_imported_it_aborts() -> None:
    at_once = "import mlp_export.termination; mlp_export.termination._imports_torch = lambda frame: False"
    assert run_program(IN_TORCH.format(more=at_once)) == (-signal.SIGABRT, "")
