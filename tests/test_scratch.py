"""Scratch folders: gone at the end, and those of killed processes gone with the next one."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest

import mlp_export.scratch as scratch_module
from mlp_export.errors import MissingError, ResourceError, UsageError
from mlp_export.folder_writer import FolderWriter, OutputKind, check_file_target, write_file
from mlp_export.quantization.gguf import GGUF as KIND
from mlp_export.scratch import abandoned, library_temporaries, scratch_folder

ROOT = Path(__file__).parent.parent
FOLDER = OutputKind("folder", lambda path: True)
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
def test_a_disk_that_fails(number: int, kind: type[Exception], said: str, tmp_path: Path) -> None:
    def fail(*files: str) -> None:
        raise OSError(number, os.strerror(number), *files)

    with pytest.raises(kind, match=said), scratch_folder(tmp_path) as folder:
        fail(str(folder / "x"))
    with pytest.raises(kind, match=said), scratch_folder(tmp_path) as folder:
        raise OSError(number, os.strerror(number), "/elsewhere/x", None, str(folder / "x"))  # copied from there
    # Of another file, in the same folder or not, and without a name: not ours to tell.
    for other in ("/elsewhere/x", str(tmp_path / "bundle/model.pte")):
        with pytest.raises(OSError, match=other), scratch_folder(tmp_path):
            fail(other)
    unnamed = kind if kind is ResourceError else OSError  # but a write on a full disk never names its file
    with pytest.raises(unnamed, match=os.strerror(number)), scratch_folder(tmp_path):
        fail()
    assert not names(tmp_path)


def test_no_folder_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TMPDIR is named where setting it would help."""
    with pytest.raises(MissingError, match="temporary files cannot be written") as chosen:
        scratch_folder(tmp_path / "gone").__enter__()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(MissingError, match="temporary files cannot be written") as usual:
        scratch_folder().__enter__()
    assert "TMPDIR" in usual.value.hint and "TMPDIR" not in chosen.value.hint


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are made there and removed, and those of others left alone: nobody knows whether they are in use."""

    def fail(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    other = tmp_path / "mlp-export.tmp-1-0123abcd"
    other.mkdir()
    descriptors = len(os.listdir("/dev/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", fail)
        with scratch_folder(tmp_path) as own:
            assert names(tmp_path) == sorted([other.name, own.name])
        assert names(tmp_path) == [other.name]
    assert len(os.listdir("/dev/fd")) == descriptors
    with scratch_folder(tmp_path) as own:  # the control
        assert names(tmp_path) == [own.name]


def test_a_leftover_that_another_process_removes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leftover, real = tmp_path / "mlp-export.tmp-1-0123abcd", scratch_module._open
    leftover.mkdir()

    def late(folder: Path) -> int:
        if folder == leftover:
            leftover.rmdir()
        return real(folder)

    def vanished(parent: Path, pattern: str) -> list[Path]:
        return [parent / "mlp-export.tmp-2-0123abcd", leftover]

    monkeypatch.setattr(scratch_module, "_open", late)
    monkeypatch.setattr(Path, "glob", vanished)
    with scratch_folder(tmp_path) as own:
        assert names(tmp_path) == [own.name]


def test_a_bundle_that_a_killed_export_moved_away_is_kept(tmp_path: Path) -> None:
    """A file that is written under that name does not remove it; the next bundle is the one to put it back."""
    old, unfinished = tmp_path / ".out.old-1-0123abcd", tmp_path / ".out.tmp-1-0123abcd"
    for folder in (old, unfinished):
        folder.mkdir()
        (folder / "manifest.json").write_text("{}")
    with write_file(tmp_path / "out", KIND) as file:
        file.write_text("x")
    assert names(tmp_path) == [old.name, "out"]
    assert names(old) == ["manifest.json"]


def test_only_files_of_the_kind_are_replaced(tmp_path: Path) -> None:
    """Not another file, a device, a pipe or a link to nothing."""
    target = tmp_path / "model.gguf"
    for content in (b"", b"GGUF and more"):
        target.write_bytes(content)
        with write_file(target, KIND, overwrite=True) as file:
            file.write_bytes(b"GGUF")
        assert target.read_bytes() == b"GGUF"
    with pytest.raises(UsageError, match="exists already"):
        check_file_target(target, KIND, overwrite=False)
    (tmp_path / "text").write_text("my thesis")
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for other in (*(tmp_path / name for name in ("text", "link", "pipe")), Path("/dev/null")):
        with pytest.raises(UsageError, match="is something else, not a gguf file"):
            check_file_target(other, KIND, overwrite=True)


def test_an_exception_on_the_way(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path) as folder:
        (folder / "codes").write_text("x")
        raise KeyboardInterrupt
    assert not names(tmp_path)


def use_scratch(parent: Path) -> None:
    with scratch_folder(parent) as folder:
        (folder / "codes").write_text("x")


def write_a_file(parent: Path) -> None:
    with write_file(parent / "out", KIND) as file:
        file.write_text("x")


def write_a_folder(parent: Path) -> None:
    with FolderWriter(parent / "out", FOLDER) as writer:
        (writer.folder / "codes").write_text("x")
        writer.move_into_place()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # `Termination` raises those again
@pytest.mark.parametrize("work", [use_scratch, write_a_file, write_a_folder])
def test_an_interrupt_at_any_moment(work: Callable[[Path], None], tmp_path: Path) -> None:
    """Nothing stays, or the whole. Signals raise where a function begins, or one in C has returned."""
    remaining, ends = 0, set()

    def interrupt(_: FrameType, event: str, __: object) -> None:
        nonlocal remaining
        if event in ("call", "c_return"):
            remaining -= 1
            if remaining == 0:
                raise KeyboardInterrupt

    for moment in itertools.count(1):
        folder = tmp_path / str(moment)
        folder.mkdir()
        remaining = moment
        try:
            sys.setprofile(interrupt)
            work(folder)
        except (KeyboardInterrupt, OSError):  # shutil turns one into the other where a file was just closed
            pass
        finally:
            sys.setprofile(None)
        assert names(folder) in ([], ["out"]), moment
        ends.add(tuple(names(folder)))
        if remaining > 0:  # the work was done before
            break
    assert moment > 50 and len(ends) == (1 if work is use_scratch else 2)


def test_temporary_files_of_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with library_temporaries(), tempfile.TemporaryDirectory() as folder:
        assert Path(folder).parent.parent == tmp_path
        assert Path(folder).parent.name.startswith("mlp-export.tmp-")
    assert tempfile.tempdir == str(tmp_path) and not names(tmp_path)


@pytest.mark.parametrize(("free", "kind"), [(1000, ResourceError), (32_000_000, subprocess.CalledProcessError)])
def test_a_library_whose_program_fails(
    free: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails alike for a full disk and for a fault of its own: what an export asks for tells them apart."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    said = f"needs 32 MB for temporary files, .* are free at {tmp_path}$" if kind is ResourceError else "flatc"
    with pytest.raises(kind, match=said), library_temporaries():
        raise subprocess.CalledProcessError(1, "flatc")
    assert tempfile.tempdir == str(tmp_path) and not names(tmp_path)


def test_a_killed_process_that_wrote_a_file(tmp_path: Path) -> None:
    """Such as a gguf file: what it left is gone with the next that is written there."""
    with held(tmp_path, ".model.gguf") as (process, left):
        process.send_signal(signal.SIGKILL)
    assert names(tmp_path) == [left.name]
    with write_file(tmp_path / "other.gguf", KIND) as unfinished:
        unfinished.write_text("x")
    assert names(tmp_path) == sorted([left.name, "other.gguf"])  # another's
    with write_file(tmp_path / "model.gguf", KIND) as unfinished:
        unfinished.write_text("x")
    assert names(tmp_path) == ["model.gguf", "other.gguf"]
