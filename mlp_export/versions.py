"""Which versions of the packages below are installed, supported (pyproject.toml) and tested (requirements.txt)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

_TESTED = Path(__file__).parent / "data" / "tested-versions.txt"  # a link to requirements.txt in a checkout


@dataclass(frozen=True)
class Dependency:
    """A package that mlp-export needs."""

    name: str
    installed: str  # "" where it is not
    supported: str  # a version specifier, such as ">=2.13,<2.14"
    tested: str  # the version that the tests ran with

    @property
    def issue(self) -> str:
        """What is not as tested, as a sentence; "" where nothing is. Local versions ("2.13.0+cpu") are as tested."""
        if not self.installed:
            return f"{self.name} is not installed, expected {self.supported}"
        found = Version(self.installed)
        if not Requirement(self.name + self.supported).specifier.contains(found, prereleases=True):
            return f"{self.name} {self.installed} is outside the supported versions {self.supported}"
        if found.public != self.tested:
            return f"{self.name} {self.installed} was not tested, {self.tested} was"
        return ""


def dependencies() -> list[Dependency]:
    """What the installed mlp-export requires on this platform, without extras; nothing where it is not installed."""
    try:
        required = [Requirement(line) for line in requires("mlp-export") or ()]
    except PackageNotFoundError:
        return []
    tested = tested_versions()
    return [
        Dependency(entry.name, installed_version(entry.name), str(entry.specifier), tested.get(_canonical(entry), ""))
        for entry in required
        if entry.marker is None or entry.marker.evaluate({"extra": ""})
    ]


def tested_versions() -> dict[str, str]:
    """Canonical package name -> the version that the tests ran with, of all platforms."""
    lines = (line.split("#")[0].strip() for line in _TESTED.read_text(encoding="utf-8").splitlines())
    entries = [Requirement(line) for line in lines if line]
    return {_canonical(entry): str(entry.specifier).removeprefix("==") for entry in entries}


def _canonical(entry: Requirement) -> str:
    return canonicalize_name(entry.name)


def installed_version(package: str) -> str:
    """The version of an installed package, "" where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
