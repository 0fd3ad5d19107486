"""Checks the texts that people read: alike in every language, each use has one, each is used, none is in a view."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ios_demo.tools.common import CheckError
from ios_demo.tools.openstep import parse
from ios_demo.tools.resources import swift_sources

SOURCE, *TRANSLATIONS = LANGUAGES = ("en", "de")
CATALOG = "MlpCore/Sources/MlpCore/Resources"
_PLACEHOLDER = re.compile(r"%(\d+)\$@")
_OTHER_PLACEHOLDER = re.compile(r"%(?!\d+\$@)(?:\d+\$)?(?:@|l*[dfu]\b)")
# A view with a sentence of its own. Literals without a letter ("", "%", an emoji) are no sentence.
_VIEWS = (
    "Text|Label|Button|Toggle|Picker|Section|TextField|SecureField|Stepper|Menu|Link|LabeledContent|DisclosureGroup"
)
_MODIFIERS = "navigationTitle|accessibilityLabel|accessibilityHint|accessibilityValue|alert|confirmationDialog|help"
_WRITTEN = re.compile(rf'(?:\b(?:{_VIEWS})|\.(?:{_MODIFIERS}))\(\s*"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Call:
    """A call of `text` in a source. `key` has `\\(...)` where the source computes a part of it."""

    where: str
    key: str
    values: int


def check_texts(demo: Path) -> list[str]:
    """What is wrong with the .strings files and their uses, a sentence each."""
    problems: list[str] = []
    tables: dict[Path, dict[str, str]] = {}
    for file in sorted(demo.rglob(f"{SOURCE}.lproj/*.strings")):
        if ".build" in file.parts:
            continue
        try:
            tables[file] = _read(file)
            for language in TRANSLATIONS:
                problems += _compare(tables[file], file, file.parents[1] / f"{language}.lproj" / file.name, demo)
        except CheckError as error:
            problems.append(error.message)
    for language in TRANSLATIONS:
        for file in sorted(demo.rglob(f"{language}.lproj/*.strings")):
            if ".build" not in file.parts and not (file.parents[1] / f"{SOURCE}.lproj" / file.name).is_file():
                problems.append(f"{file.relative_to(demo)} translates a file that is not there")
    main = tables.get(demo / CATALOG / f"{SOURCE}.lproj/Localizable.strings")
    if main is None:
        return [*problems, f"{CATALOG}/{SOURCE}.lproj has no Localizable.strings"]
    sources = {file: file.read_text(encoding="utf-8") for file in swift_sources(demo)}
    calls = [call for file, text in sources.items() for call in find_calls(text, file.relative_to(demo).as_posix())]
    problems += _uses(calls, main)
    problems += _unused(calls, main, "\n".join(sources.values()))
    for file, text in sources.items():
        for found in _WRITTEN.finditer(text):
            said = re.sub(r"\\\(.*?\)", "", found[1])
            if re.search(r"[^\W\d_]", said):
                line = text.count("\n", 0, found.start()) + 1
                where = f"{file.relative_to(demo).as_posix()}:{line}"
                problems.append(f"{where}: `{found[1]}` is written into the view, expected text(KEY)")
    return problems


def _read(file: Path) -> dict[str, str]:
    found = parse(file.read_text(encoding="utf-8"), f"{file.parent.name}/{file.name}")
    return {key: value for key, value in found.items() if isinstance(value, str)}


def _compare(table: dict[str, str], file: Path, other: Path, demo: Path) -> Iterator[str]:
    """What differs between a table and its translation."""
    name = other.relative_to(demo).as_posix()
    if not other.is_file():
        yield f"{name} is not there"
        return
    translated = _read(other)
    yield from (f"{name} lacks {key}" for key in table if key not in translated)
    yield from (
        f"{name} has {key}, {file.relative_to(demo).as_posix()} has not" for key in translated if key not in table
    )
    for key, value in [*table.items(), *translated.items()]:
        if not value.strip():
            yield f"{name}: {key} is empty in a language"
        if wrong := _OTHER_PLACEHOLDER.search(value):
            yield f"{name}: {key} has the placeholder {wrong[0]}, expected %1$@ and so on"
    for key, value in table.items():
        numbers = _numbers(value)
        if numbers != set(range(1, len(numbers) + 1)):
            yield f"{name}: the placeholders of {key} are not numbered from 1"
        if key in translated and _numbers(translated[key]) != numbers:
            yield f"{name}: {key} has other placeholders than in {SOURCE}"


def _numbers(value: str) -> set[int]:
    return {int(number) for number in _PLACEHOLDER.findall(value)}


def _uses(calls: list[Call], table: dict[str, str]) -> Iterator[str]:
    """Calls with a key that is not there, or with another number of values than the text has places."""
    for call in calls:
        keys = [key for key in table if _pattern(call.key).fullmatch(key)]
        if not keys:
            yield f"{call.where}: there is no text {call.key}"
        for key in keys:
            if len(_numbers(table[key])) != call.values:
                yield f"{call.where}: {key} takes {len(_numbers(table[key]))} values, {call.values} are given"


def _unused(calls: list[Call], table: dict[str, str], sources: str) -> Iterator[str]:
    """Texts that no call names, and that are no literal of a source: some keys are values before they are used."""
    computed = [_pattern(call.key) for call in calls if "\\(" in call.key]
    for key in table:
        if f'"{key}"' not in sources and not any(pattern.fullmatch(key) for pattern in computed):
            yield f"{SOURCE}: {key} is used nowhere"


def _pattern(key: str) -> re.Pattern[str]:
    parts = re.split(r"\\\([^()]*(?:\([^()]*\)[^()]*)*\)", key)
    return re.compile(".+".join(re.escape(part) for part in parts))


def find_calls(source: str, name: str) -> Iterator[Call]:
    """The calls of `text(KEY, values...)` whose key is a literal."""
    for found in re.finditer(r'(?<![\w.])text\(\s*"', source):
        end, key = _literal(source, found.end())
        line = source.count("\n", 0, found.start()) + 1
        if end:
            yield Call(f"{name}:{line}", key, _commas(source, end))


def _literal(source: str, start: int) -> tuple[int, str]:
    """Where the literal that begins at `start` (behind its quote) has ended, and what it says; (0, "") without an end.

    Quotes within an interpolation do not end it.
    """
    at, depth = start, 0
    while at < len(source):
        if source.startswith("\\(", at):
            depth, at = depth + 1, at + 2
            continue
        if source[at] == "\\":
            at += 2
            continue
        if depth and source[at] in "()":
            depth += 1 if source[at] == "(" else -1
        elif source[at] == '"' and not depth:
            return at + 1, source[start:at]
        at += 1
    return 0, ""


def _commas(source: str, start: int) -> int:
    """Commas between `start`, within a call, and the end of the call, those of inner calls and literals left out."""
    at, depth, commas = start, 0, 0
    while at < len(source):
        mark = source[at]
        if mark == '"':
            at, _ = _literal(source, at + 1)
            if not at:
                break
            continue
        if mark in "([{":
            depth += 1
        elif mark in ")]}":
            if not depth:
                break
            depth -= 1
        elif mark == "," and not depth:
            commas += 1
        at += 1
    return commas
