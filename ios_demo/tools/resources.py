"""Checks property lists, asset catalogs and the Swift sources' words, which no compiler on Linux looks at."""

from __future__ import annotations

import json
import plistlib
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.parsers.expat import ExpatError

from ios_demo.tools.project import GROUP

INFO = "Support/Info.plist"
# Keys of the app's Info.plist without which a model cannot be brought to the phone by Finder, Files or a cable.
NEEDED = {"UIFileSharingEnabled": True, "LSSupportsOpeningDocumentsInPlace": True}
_LISTS = (".plist", ".entitlements", ".xcprivacy")
_FORBIDDEN = re.compile(r"\b(fatalError|print|debugPrint|NSLog)\(|\b(TODO|FIXME)\b")
_PNG = b"\x89PNG\r\n\x1a\n"


def swift_sources(demo: Path) -> list[Path]:
    """Swift files of what a phone gets: no tests, no stand-ins."""
    folders = ("App", "Engine", "ShareExtension", "MlpCore/Sources/MlpCore")
    return sorted(file for folder in folders for file in (demo / folder).rglob("*.swift"))


def check_lists(demo: Path) -> list[str]:
    """What is wrong with the property lists, a sentence each."""
    problems = []
    for file in _files(demo, _LISTS):
        name = file.relative_to(demo).as_posix()
        try:
            found = plistlib.loads(file.read_bytes())
        except (plistlib.InvalidFileException, ValueError, ExpatError) as error:
            problems.append(f"{name} is no property list: {error or 'unknown format'}")
            continue
        if not isinstance(found, dict):
            problems.append(f"{name} holds a {type(found).__name__}, expected a dictionary")
            continue
        if name == INFO:
            problems += [
                f"{name}: {key} is {found.get(key)}, expected {value}"
                for key, value in NEEDED.items()
                if found.get(key) is not value
            ]
        if "NSExtension" in found:
            problems += [f"{name}: {problem}" for problem in _extension(found["NSExtension"], file.parent)]
    return problems


def _extension(about: dict[str, object], folder: Path) -> Iterator[str]:
    point = about.get("NSExtensionPointIdentifier")
    if point != "com.apple.share-services":
        yield f"NSExtensionPointIdentifier is {point}, expected com.apple.share-services"
    principal = str(about.get("NSExtensionPrincipalClass", ""))
    prefix, _, name = principal.rpartition(".")
    sources = "".join(file.read_text(encoding="utf-8") for file in folder.parent.rglob("ShareExtension/*.swift"))
    if prefix != "$(PRODUCT_MODULE_NAME)" or not re.search(rf"\bclass {re.escape(name)}\b", sources):
        yield f"NSExtensionPrincipalClass is {principal}, expected $(PRODUCT_MODULE_NAME).CLASS of ShareExtension"


def check_assets(demo: Path) -> list[str]:
    """What is wrong with the asset catalogs, a sentence each."""
    problems = []
    for catalog in (folder for folder in demo.rglob("*.xcassets") if ".build" not in folder.parts):
        for file in sorted(catalog.rglob("Contents.json")):
            name = file.relative_to(demo).as_posix()
            try:
                images = json.loads(file.read_text(encoding="utf-8")).get("images", [])
            except ValueError as error:
                problems.append(f"{name} is no JSON: {error}")
                continue
            listed = {image["filename"] for image in images if "filename" in image}
            there = {other.name for other in file.parent.iterdir() if other.is_file()} - {file.name}
            problems += [f"{name} names {missing}, which is not there" for missing in sorted(listed - there)]
            problems += [f"{name} does not name {unnamed}" for unnamed in sorted(there - listed)]
            if file.parent.suffix == ".appiconset":
                problems += [
                    f"{name}: {problem}" for image in sorted(listed & there) for problem in _icon(file.parent / image)
                ]
    return problems


def _icon(file: Path) -> Iterator[str]:
    """An app icon is one square without transparency; App Store Connect refuses others."""
    header = file.read_bytes()[:26]
    if len(header) < 26 or header[:8] != _PNG:
        yield f"{file.name} is no PNG"
        return
    width, height, _, color = struct.unpack(">IIBB", header[16:26])
    if (width, height) != (1024, 1024):
        yield f"{file.name} has {width} x {height} pixels, expected 1024 x 1024"
    if color in (4, 6):
        yield f"{file.name} has an alpha channel, expected none"


def check_sources(demo: Path) -> list[str]:
    """Words that no source of the app may hold, and an app group that is spelled otherwise."""
    problems = []
    for file in swift_sources(demo):
        text = file.read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            where = f"{file.relative_to(demo).as_posix()}:{number}"
            if found := _FORBIDDEN.search(line):
                problems.append(f"{where}: found {found[0].rstrip('(')}, which the app may not hold")
            problems += [
                f"{where}: the app group is {GROUP}, found {group}"
                for group in re.findall(r'"(group\.[\w.]+)"', line)
                if group != GROUP
            ]
    return problems


def _files(demo: Path, suffixes: Iterable[str]) -> list[Path]:
    found = (file for suffix in suffixes for file in demo.rglob(f"*{suffix}"))
    return sorted(file for file in found if not {".build", ".swiftpm", "DerivedData"} & set(file.parts))
