"""What is installed beside what is supported and what was tested."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import mlp_export.versions as versions
from mlp_export.backends import base
from mlp_export.versions import Dependency, dependencies, installed_version, tested_versions

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("installed", "issue"),
    [
        ("2.13.0", ""),
        ("2.13.0+cpu", ""),
        ("2.13.1", "torch 2.13.1 was not tested, 2.13.0 was"),
        ("2.13.1.dev20261101", "torch 2.13.1.dev20261101 was not tested, 2.13.0 was"),
        ("2.14.0", "torch 2.14.0 is outside the supported versions >=2.13,<2.14"),
        ("2.9.1", "torch 2.9.1 is outside the supported versions >=2.13,<2.14"),
        ("", "torch is not installed, expected >=2.13,<2.14"),
    ],
)
def test_what_differs_from_the_tested_version(installed: str, issue: str) -> None:
    assert Dependency("torch", installed, ">=2.13,<2.14", "2.13.0").issue == issue


def test_dependencies_of_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["Torch<2.14,>=2.13", 'winonly>=1; sys_platform == "win32"', 'onnxruntime-qnn==2.5.0; extra == "qnn"']
    monkeypatch.setattr(versions, "requires", lambda package: lines)
    (torch,) = dependencies()
    assert (torch.name, torch.supported, torch.tested) == ("Torch", "<2.14,>=2.13", "2.13.0")
    assert torch.installed == installed_version("torch") != ""


def test_without_an_install_there_is_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(package: str) -> list[str]:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(versions, "requires", requires)
    assert dependencies() == []
    assert installed_version("no-such-package") == ""


def test_every_dependency_was_tested_in_a_version_that_is_supported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tested = tested_versions()
    for line in project["dependencies"]:
        entry = Requirement(line)
        assert entry.specifier.contains(tested[canonicalize_name(entry.name)]), line
    ranges = {entry.name: entry.specifier for entry in map(Requirement, project["dependencies"])}
    assert {name: SpecifierSet(text) for name, text in base._PACKAGES.items()}.items() <= ranges.items()
