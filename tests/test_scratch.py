"""Scratch folders: gone at the end, and those of killed processes gone with the next one."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mlp_export.scratch as scratch_module
from mlp_export.errors import MissingError, ResourceError
from mlp_export.folder_writer import write_file
from mlp_export.scratch import abandoned, library_temporaries, scratch_folder

ROOT = Path(__file__).parent.parent
HELD = """
import sys
from pathlib import Path
from mlp_export.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1]), *sys.argv[2:]) as folder:
    (folder / "codes").write_text("x")
    print(folder.name, flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(parent: Path, *stem: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process in a scratch folder of its own."""
    command = [sys.executable, "-c", HELD, str(parent), *stem]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, parent / process.stdout.readline().strip()
        finally:
            process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """And nothing else: neither what a running process holds, nor what only looks alike."""
    (tmp_path / "mlp-export.tmp-1").mkdir()
    (tmp_path / "mlp-export.tmp-1-0123abcd").write_text("a file")
    (tmp_path / "other.tmp-1-0123abcd").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mlp-export.tmp-2-0123abcd").symlink_to(tmp_path / "elsewhere")
    kept = names(tmp_path)
    with held(tmp_path) as (running, theirs), held(tmp_path) as (killed, left):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert {theirs.name, left.name} <= set(names(tmp_path))
        with scratch_folder(tmp_path) as own:
            assert names(tmp_path) == sorted([*kept, own.name, theirs.name])
            assert own.stat().st_mode & 0o077 == 0
        assert names(tmp_path) == sorted([*kept, theirs.name])
        running.communicate("")  # it ends by itself
        assert names(tmp_path) == kept


def test_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlp-export.tmp-1-0123abcd").mkdir()
    user = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: user + 1)
        assert not list(abandoned(tmp_path, "mlp-export"))
    ((lock, folder, kind),) = abandoned(tmp_path, "mlp-export")  # the control
    os.close(lock)
    assert (folder.name, kind) == ("mlp-export.tmp-1-0123abcd", "tmp")


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.ENOSPC, ResourceError, "no space left for temporary files at"),
        (errno.EROFS, MissingError, "temporary files cannot be written at"),
        (errno.ENOENT, MissingError, "temporary files cannot be written at"),
        (errno.EIO, MissingError, "temporary files cannot be written at"),
        (errno.EADDRINUSE, OSError, "in use"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_disk_that_fails(number: int, kind: type[Exception], said: str, named: bool, tmp_path: Path) -> None:
    with pytest.raises(kind, match=said), scratch_folder(tmp_path) as folder:
        raise OSError(number, os.strerror(number), *([str(folder / "x")] if named else []))
    with pytest.raises(OSError, match="elsewhere"), scratch_folder(tmp_path):  # of another file: not ours to tell
        raise OSError(number, os.strerror(number), "/elsewhere/x")
    assert not names(tmp_path)


def test_no_folder_for_it(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="temporary files cannot be written"), scratch_folder(tmp_path / "gone"):
        pass


def test_an_exception_on_the_way(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path) as folder:
        (folder / "codes").write_text("x")
        raise KeyboardInterrupt
    assert not names(tmp_path)


def test_a_second_interrupt_while_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right, calls = scratch_module.shutil.rmtree, []

    def interrupted(path: Path, ignore_errors: bool = False) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        right(path, ignore_errors)

    monkeypatch.setattr(scratch_module.shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path):
        pass
    assert not names(tmp_path)


def test_temporary_files_of_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with library_temporaries(), tempfile.TemporaryDirectory() as folder:
        assert Path(folder).parent.parent == tmp_path
        assert Path(folder).parent.name.startswith("mlp-export.tmp-")
    assert tempfile.tempdir == str(tmp_path) and not names(tmp_path)


def test_a_killed_process_that_wrote_a_file(tmp_path: Path) -> None:
    """Such as a gguf file: what it left is gone with the next that is written there."""
    with held(tmp_path, ".model.gguf") as (process, left):
        process.send_signal(signal.SIGKILL)
    assert names(tmp_path) == [left.name]
    with write_file(tmp_path / "other.gguf", "file") as unfinished:
        unfinished.write_text("x")
    assert names(tmp_path) == sorted([left.name, "other.gguf"])  # another's
    with write_file(tmp_path / "model.gguf", "file") as unfinished:
        unfinished.write_text("x")
    assert names(tmp_path) == ["model.gguf", "other.gguf"]
