"""What libraries break on when they are imported is told before."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mlp_export.cli.environment import check_environment, forget_impossible_sizes
from mlp_export.errors import MissingError, ResourceError, UsageError
from mlp_export.terminal_progress import TerminalProgress


@pytest.mark.parametrize("name", ["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"])
def test_a_timeout_that_is_no_number(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for right in ("", "30", " 5 "):
        monkeypatch.setenv(name, right)
        check_environment()
    for wrong in ("abc", "1.5", "10s"):
        monkeypatch.setenv(name, wrong)
        with pytest.raises(UsageError, match=f"{name} is '{wrong}'"):
            check_environment()


@pytest.mark.parametrize("name", ["COLUMNS", "LINES"])
def test_a_terminal_of_no_size(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for right in ("1", "80", "9999"):
        monkeypatch.setenv(name, right)
        forget_impossible_sizes()
        assert os.environ[name] == right
    for wrong in ("", "0", "-1", "x", "10000", "\u00b2", "9" * 5000):
        monkeypatch.setenv(name, wrong)
        forget_impossible_sizes()
        assert name not in os.environ
        TerminalProgress()
    with monkeypatch.context() as patch:  # the control: what reads it breaks
        patch.setenv(name, "9" * 5000)
        with pytest.raises(ValueError, match="digits"):
            TerminalProgress()


def test_a_current_folder_that_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    check_environment()
    os.rmdir(tmp_path / "gone")
    with pytest.raises(MissingError, match="the current folder cannot be found"):
        check_environment()


def test_logs_that_torch_does_not_know() -> None:
    """In a process of its own, for torch reads the variable once."""
    code = "from mlp_export.cli.environment import check_environment as check; check()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TORCH_LOGS": "foo"}, capture_output=True, text=True
    )
    assert done.returncode == 1 and "UsageError: TORCH_LOGS is 'foo': Invalid log" in done.stderr, done.stderr


@pytest.mark.parametrize(("limit", "name"), [("RLIMIT_AS", "ulimit -v"), ("RLIMIT_DATA", "ulimit -d")])
def test_limits_that_libraries_do_not_load_within(limit: str, name: str) -> None:
    code = f"""
import resource
from mlp_export.cli.environment import check_environment as check
check()
resource.setrlimit(resource.{limit}, (400_000_000, resource.RLIM_INFINITY))
check()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = f"ResourceError: torch and ExecuTorch do not load within the limits of this process: 400 MB ({name})"
    assert done.returncode == 1 and said in done.stderr, done.stderr


def test_a_limit_that_is_high_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (7_000_000_000, resource.RLIM_INFINITY))
    check_environment()
    monkeypatch.setattr(sys, "executable", "/bin/false")  # the control
    with pytest.raises(ResourceError, match=r"7\.00 GB"):
        check_environment()


def test_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "none")])
    with pytest.raises(MissingError, match="no folder for temporary files"):
        check_environment()
