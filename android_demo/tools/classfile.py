"""Reads compiled Java classes: what they are called, declare and refer to (JVM specification, chapter 4)."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ABSTRACT, INTERFACE = 0x0400, 0x0200
# Sizes of the constant pool's entries that are only skipped, by tag: numbers, method handles, modules ...
_SKIPPED = {3: 4, 4: 4, 5: 8, 6: 8, 8: 2, 15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}
_MEMBERS = (9, 10, 11)  # fields, methods, interface methods


@dataclass(frozen=True)
class Member:
    """A field or method: `owner` and `descriptor` as in class files, `org/pytorch/...` and `(I)V`."""

    owner: str
    name: str
    descriptor: str

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}{':' if self.descriptor[0] != '(' else ''}{self.descriptor}"


@dataclass(frozen=True)
class ClassFile:
    name: str
    flags: int
    parents: tuple[str, ...]  # superclass and interfaces
    declared: frozenset[Member]
    called: frozenset[Member]  # fields and methods that its code uses
    texts: frozenset[str] = field(repr=False)  # all of its UTF-8 constants: descriptors of annotations are among them


def parse(data: bytes) -> ClassFile:
    """The class of a `.class` file's bytes. Raises ValueError."""
    if data[:4] != b"\xca\xfe\xba\xbe":
        raise ValueError("not a class file")
    (count,) = struct.unpack_from(">H", data, 8)
    texts: dict[int, str] = {}
    names: dict[int, int] = {}  # class -> its name's index
    pairs: dict[int, tuple[int, int]] = {}  # name and type
    members: list[tuple[int, int]] = []  # class, name and type
    at, index = 10, 1
    while index < count:
        tag = data[at]
        at += 1
        if tag == 1:
            (length,) = struct.unpack_from(">H", data, at)
            texts[index] = data[at + 2 : at + 2 + length].decode("utf-8", "replace")
            at += 2 + length
        elif tag == 7:
            (names[index],) = struct.unpack_from(">H", data, at)
            at += 2
        elif tag == 12 or tag in _MEMBERS:
            first, second = struct.unpack_from(">HH", data, at)
            if tag == 12:
                pairs[index] = first, second
            else:
                members.append((first, second))
            at += 4
        elif tag in _SKIPPED:
            at += _SKIPPED[tag]
        else:
            raise ValueError(f"constant of unknown kind {tag}")
        index += 2 if tag in (5, 6) else 1  # long and double take two places
    flags, this, parent, interfaces = struct.unpack_from(">HHHH", data, at)
    at += 8
    parents = [parent, *struct.unpack_from(f">{interfaces}H", data, at)]
    at += 2 * interfaces
    name = texts[names[this]]
    declared = set()
    for _ in range(2):  # fields, then methods
        (entries,) = struct.unpack_from(">H", data, at)
        at += 2
        for _ in range(entries):
            _, member, descriptor, attributes = struct.unpack_from(">HHHH", data, at)
            at += 8
            declared.add(Member(name, texts[member], texts[descriptor]))
            for _ in range(attributes):
                (length,) = struct.unpack_from(">I", data, at + 2)
                at += 6 + length
    called = {Member(texts[names[owner]], *(texts[i] for i in pairs[pair])) for owner, pair in members}
    return ClassFile(
        name,
        flags,
        tuple(texts[names[i]] for i in parents if i),
        frozenset(declared),
        frozenset(called),
        frozenset(texts.values()),
    )


def read_classes(path: Path) -> Iterator[ClassFile]:
    """The classes of a folder or jar."""
    if path.is_dir():
        for file in sorted(path.rglob("*.class")):
            yield parse(file.read_bytes())
        return
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".class") and not name.startswith("META-INF/"):
                yield parse(archive.read(name))
