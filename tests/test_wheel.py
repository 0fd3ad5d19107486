"""What is installed: by a wheel, by a source distribution, and by `pip install --editable`, as the linked folder
`mlp_export/backends` could be lost on each way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("mlp_export", "backends", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "requirements.txt")
# Neither this process's paths nor its directory: only what is installed can be found.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def call(*command: str | Path, folder: Path) -> str:
    """Runs a command in `folder` and returns its output; fails the test with what it printed where it fails."""
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, text=True, capture_output=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def pip(*arguments: str | Path, folder: Path, python: Path = Path(sys.executable)) -> None:
    call(sys.executable, "-m", "pip", "--python", python, *arguments, "--quiet", "--disable-pip-version-check",
         "--no-deps", "--no-index", "--no-build-isolation", folder=folder)  # fmt: skip


def copy_sources(folder: Path) -> Path:
    """The repository's files that a build reads. setuptools writes beside them, and takes stale modules from there."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def environment(folder: Path) -> Path:
    """A fresh virtual environment that sees the packages of this one, without a download. Returns its Python.

    The lines of a .pth file are searched behind the environment's own packages. No .pth files are read in the folders
    that they name, so that an editable install of mlp_export beside this Python is not found.
    """
    call(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder.parent)
    python = folder / "bin" / "python"
    packages = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip())
    (packages / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source distribution, the wheel from the sources, and the wheel from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    sources = copy_sources(tmp_path_factory.mktemp("sources"))
    pip("wheel", "--wheel-dir", folder / "direct", ".", folder=sources)
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    call(sys.executable, "-c", build, folder, folder=sources)
    (archive,) = folder.glob("*.tar.gz")
    pip("wheel", "--wheel-dir", folder / "from-sdist", archive, folder=folder)
    wheels = {way: next((folder / way).glob("*.whl")) for way in ("direct", "from-sdist")}
    return {"sdist": archive, **wheels}


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def modules() -> set[str]:
    """Every module of the repository under the name it has when it is installed."""
    own = {str(path.relative_to(ROOT)) for path in (ROOT / "mlp_export").rglob("*.py")}
    return own | {str(Path("mlp_export", path.relative_to(ROOT))) for path in (ROOT / "backends").rglob("*.py")}


@pytest.mark.slow
def test_a_wheel_has_every_module_and_both_ways_of_building_it_agree(built: dict[str, Path]) -> None:
    assert "mlp_export/backends/base.py" in modules()
    assert modules() <= names(built["direct"])
    assert names(built["direct"]) == names(built["from-sdist"])
    strays = {name for name in names(built["direct"]) if not name.startswith(("mlp_export/", "mlp_export-"))}
    assert strays == set()


@pytest.mark.slow
def test_a_source_distribution_holds_no_link_that_leads_nowhere(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
    assert members["mlp_export/backends/base.py"].isfile()
    assert members["mlp_export/data/tested-versions.txt"].size == (ROOT / "requirements.txt").stat().st_size
    assert [name for name, member in members.items() if member.issym()] == []
    assert [name for name in members if name.startswith("tests/")] == []


@pytest.mark.slow
def test_an_installed_wheel_exports(built: dict[str, Path], tmp_path: Path) -> None:
    python = environment(tmp_path / "venv")
    pip("install", built["from-sdist"], folder=tmp_path, python=python)
    output = call(ROOT / ".ci" / "try_wheel", tmp_path / "venv", tmp_path / "work", folder=tmp_path)
    assert output.endswith("the wheel works\n")


@pytest.mark.slow
def test_a_wheel_without_the_backends_is_found_out(built: dict[str, Path], tmp_path: Path) -> None:
    python = environment(tmp_path / "venv")
    pip("install", built["direct"], folder=tmp_path, python=python)
    where = "import mlp_export.backends as b; print(b.__path__[0])"
    shutil.rmtree(call(python, "-c", where, folder=tmp_path).strip())
    command = [ROOT / ".ci" / "try_wheel", tmp_path / "venv", tmp_path / "work"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, text=True, capture_output=True)
    assert done.returncode != 0
    assert "cannot import name 'backends'" in done.stderr


@pytest.mark.slow
def test_an_editable_install_follows_the_link(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    copy_sources(sources)
    python = environment(tmp_path / "venv")
    pip("install", "--editable", sources, folder=tmp_path, python=python)
    where = "import mlp_export.backends.base as base; print(base.__file__)"
    found = Path(call(python, "-c", where, folder=tmp_path).strip())
    assert found == sources / "mlp_export" / "backends" / "base.py"
    assert found.samefile(sources / "backends" / "base.py")


def test_the_link_is_stored_as_one() -> None:
    """A checkout without symbolic links (Windows without developer mode) has a file of text there."""
    assert (ROOT / "mlp_export" / "backends").is_symlink()
    assert os.readlink(ROOT / "mlp_export" / "backends") == "../backends"
