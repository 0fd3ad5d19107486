"""What C code prints is kept off stdout and stderr, and Python's own output is not lost on the way."""

from __future__ import annotations

import ctypes
import os
import sys

import pytest

from mlp_export.runtime.native_output import capture_native_output

C = ctypes.CDLL(None)


def test_output_of_c_is_captured(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    C.puts(b"C before")
    with capture_native_output() as native:
        assert native.last_line() == "it gave no reason"
        C.puts(b"one")  # still in C's buffer
        assert native.last_line() == "one"
        os.write(2, b"two\n")
        assert native.last_line() == "two"
        C.puts(b"three")
        with native.passthrough():
            print("answer")
            C.puts(b"C's answer")
        os.write(1, b"four \xff\n")
    C.puts(b"C after")
    print("after")
    assert native.last_line() == "four \ufffd"
    C.fflush(None)
    sys.stdout.flush()
    found = capfd.readouterr()
    assert sorted(found.out.splitlines()) == ["C after", "C before", "C's answer", "after", "answer", "before"]
    assert found.err == ""


def test_an_error_in_the_block(capfd: pytest.CaptureFixture[str]) -> None:
    open_before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with pytest.raises(RuntimeError), capture_native_output() as native:
        C.puts(b"the reason")
        raise RuntimeError
    assert native.last_line() == "the reason"
    print("after")
    assert capfd.readouterr().out == "after\n"
    del native
    if open_before is not None:
        assert len(os.listdir("/proc/self/fd")) == open_before
