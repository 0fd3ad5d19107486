"""Limits of containers, mount tables and temporary folders, from files as the kernel writes them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import mlp_export.resources as resources
from mlp_export.errors import MissingError, ResourceError
from mlp_export.resources import available_memory, is_mount_point, make_folder, mount_points, require

MB = 2**20
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")
UNLIMITED_V1 = "9223372036854771712"


def write_group(folder: Path, names: tuple[str, str, str], limit: str | int, used: int, cache: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cache}\n")


def system(root: Path, groups: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    return root


def test_a_limit_of_version_2(tmp_path: Path) -> None:
    root = system(tmp_path, "0::/\n")
    write_group(root / "sys/fs/cgroup", V2, 512 * MB, 100 * MB, cache=40 * MB)
    found = available_memory(root)
    assert found.bytes == 452 * MB and found.bound.endswith("memory.max")


def test_the_tightest_group_above_counts(tmp_path: Path) -> None:
    root = system(tmp_path, "0::/user.slice/job.scope\n")
    write_group(root / "sys/fs/cgroup/user.slice/job.scope", V2, "max", 10 * MB)
    write_group(root / "sys/fs/cgroup/user.slice", V2, 256 * MB, 56 * MB)
    assert available_memory(root).bytes == 200 * MB


@pytest.mark.parametrize("group", ["/docker/abc", "/"])
def test_a_limit_of_version_1(tmp_path: Path, group: str) -> None:
    """Inside a container the path of the group is that of the host, and only its own folder is mounted."""
    root = system(tmp_path, f"5:cpu,cpuacct:/x\n4:memory:{group}\n0::{group}\n")
    write_group(root / "sys/fs/cgroup/memory", V1, 512 * MB, 100 * MB, cache=30 * MB)
    assert available_memory(root).bytes == 442 * MB


@pytest.mark.parametrize(("names", "limit"), [(V2, "max"), (V1, UNLIMITED_V1)])
def test_no_limit_is_the_machine(tmp_path: Path, names: tuple[str, str, str], limit: str) -> None:
    root = system(tmp_path, "4:memory:/\n0::/\n")
    write_group(root / "sys/fs/cgroup" / ("memory" if names is V1 else ""), names, limit, 100)
    assert available_memory(root).bound == ""


def test_more_used_than_allowed_is_nothing_left(tmp_path: Path) -> None:
    root = system(tmp_path, "0::/\n")
    write_group(root / "sys/fs/cgroup", V2, 50 * MB, 90 * MB)
    assert available_memory(root).bytes == 0


@pytest.mark.parametrize("text", ["", "nonsense", "0::/../../x\n", "4:memory:/gone\n"])
def test_files_that_say_nothing(tmp_path: Path, text: str) -> None:
    assert available_memory(system(tmp_path, text)).bound == ""
    assert available_memory(tmp_path / "none").bound == ""


def test_ulimit() -> None:
    script = "from mlp_export.resources import available_memory as a; print(a().bound, 0 < a().bytes < 600 * 2**20)"
    limit = (600 * MB, 600 * MB)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent.parent,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "ulimit -v True\n", done.stderr


def test_the_limit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = resources.AvailableMemory(MB, "/sys/fs/cgroup/memory.max")
    monkeypatch.setattr(resources, "available_memory", lambda: memory)
    with pytest.raises(ResourceError, match=r"1 MB are available \(the limit in /sys/fs/cgroup/memory.max\)"):
        require(2 * MB, 0, tmp_path)


def test_temporary_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    require(0, 0, tmp_path)
    monkeypatch.setattr(resources, "_TEMPORARY_BYTES", 2**62)
    with pytest.raises(ResourceError) as caught:
        require(0, 0, Path("/"))
    assert f"free at {tmp_path}" in caught.value.message and "TMPDIR" in caught.value.hint


def test_no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    with pytest.raises(MissingError, match="no folder for temporary files") as caught:
        require(0, 0, Path("/"))
    assert "TMPDIR" in caught.value.hint


def test_folders_more_than_python_calls_itself_deep(tmp_path: Path) -> None:
    (tmp_path / "stays").touch()
    deep = Path(os.path.relpath(tmp_path), *"d" * 1_100)
    make_folder(deep)
    assert deep.is_dir()
    make_folder(deep)
    (deep / "file").touch()
    for path in (deep / "file", deep / "file" / "below"):
        with pytest.raises(OSError, match=r"File exists|Not a directory"):
            make_folder(path)
    with pytest.raises(OSError, match="File name too long"):  # before any folder is made
        make_folder(tmp_path / "e" / Path(*"e" * 3_000))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "stays"]
    (deep / "file").unlink()
    os.removedirs(deep)  # pytest's own removal calls itself for each


def test_mount_table(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(
        b"36 35 98:0 / / rw - ext4 /dev/root rw\n"
        b"37 36 98:0 /mnt1 /with\\040blank\\134\\012 rw,noatime master:1 - ext4 /dev/root rw\n"
        b"cut\n"
        b"38 36 98:0 /x /caf\xe9 rw - ext4 /dev/root rw\n"
    )
    assert mount_points(table) == {"/", "/with blank\\\n", os.fsdecode(b"/caf\xe9")}
    assert mount_points(tmp_path / "none") == frozenset()
    assert is_mount_point(Path("/")) and not is_mount_point(tmp_path)


def test_a_system_that_does_not_tell_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_proc() -> None:
        raise FileNotFoundError(2, "No such file or directory", "/proc/meminfo")

    monkeypatch.setattr(resources.psutil, "virtual_memory", without_proc)
    with pytest.raises(MissingError, match=r"cannot be told: No such file or directory \(/proc/meminfo\)"):
        available_memory()
