"""Reads OpenStep property lists: Xcode's project files, and .strings files."""

from __future__ import annotations

import re
from typing import TypeAlias

from ios_demo.tools.common import CheckError

Value: TypeAlias = "str | list[Value] | dict[str, Value]"

_SPACE = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*", re.S)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S)
_BARE = re.compile(r"[A-Za-z0-9_./$:-]+")
_ESCAPE = re.compile(r"\\(U[0-9A-Fa-f]{4}|.)", re.S)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r"}


def parse(text: str, name: str) -> dict[str, Value]:
    """The dictionary of a property list, or of a .strings file, which has no braces around it.

    Raises CheckError with `name` and the line where the text is none, or names a key twice.
    """
    reader = _Reader(text, name)
    return reader.whole()


class _Reader:
    def __init__(self, text: str, name: str) -> None:
        self.text, self.name, self.at = text, name, 0

    def whole(self) -> dict[str, Value]:
        value = self.dictionary("}") if self.next("{") else self.dictionary("")
        self.skip()
        if self.at < len(self.text):
            raise self.error("the end")
        return value

    def dictionary(self, end: str) -> dict[str, Value]:
        found: dict[str, Value] = {}
        while not self.ends(end):
            at = self.at
            key = self.string()
            if key in found:
                self.at = at
                raise self.error(f"one `{key}`")
            self.need("=")
            found[key] = self.value()
            self.need(";")
        return found

    def value(self) -> Value:
        if self.next("{"):
            return self.dictionary("}")
        if not self.next("("):
            return self.string()
        found = []
        while not self.ends(")"):
            found.append(self.value())
            if not self.next(","):
                self.need(")")
                break
        return found

    def string(self) -> str:
        self.skip()
        if quoted := _QUOTED.match(self.text, self.at):
            self.at = quoted.end()
            return _ESCAPE.sub(_unescaped, quoted[1])
        if bare := _BARE.match(self.text, self.at):
            self.at = bare.end()
            return bare[0]
        raise self.error("a string")

    def ends(self, end: str) -> bool:
        """Whether the dictionary or array that `end` closes ends here; "" stands for the end of the text."""
        self.skip()
        return self.next(end) if end else self.at == len(self.text)

    def next(self, mark: str) -> bool:
        self.skip()
        found = self.text.startswith(mark, self.at)
        self.at += len(mark) if found else 0
        return found

    def need(self, mark: str) -> None:
        if not self.next(mark):
            raise self.error(f"`{mark}`")

    def skip(self) -> None:
        spaces = _SPACE.match(self.text, self.at)
        self.at = spaces.end() if spaces else self.at

    def error(self, expected: str) -> CheckError:
        line = self.text.count("\n", 0, self.at) + 1
        rest = self.text[self.at : self.at + 20].partition("\n")[0]
        return CheckError(f"{self.name}:{line}: found `{rest}`, expected {expected}")


def _unescaped(escape: re.Match[str]) -> str:
    said = escape[1]
    return chr(int(said[1:], 16)) if len(said) > 1 else _LETTERS.get(said, said)
