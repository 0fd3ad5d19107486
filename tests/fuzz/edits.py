"""Changes to a folder's files, as JSON: drawn at random, written to the corpus, and made again from it.

    {"file": "config.json", "set": ["rope_scaling", "factor"], "to": -1}    a value of a JSON file
    {"file": "config.json", "drop": ["eos_token_id"]}                       a key or entry removed
    {"file": "model.pte", "patch": [[64, 255]]}                             bytes overwritten: position, value
    {"file": "tokenizer.json", "cut": 100}                                  the first bytes alone
    {"file": "tokenizer.json", "insert": "\u0000", "at": 7}                 Latin-1 text put in
    {"file": "chat_template.jinja", "write": "..."}                         a whole file, text in UTF-8
    {"file": "LICENSE", "remove": true}

A position counts from the end where it is negative, and is taken modulo the file's size: a corpus outlives its files.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Edit = dict[str, Any]
Place = list[str | int]

# What readers of JSON have stumbled over, whatever stands there.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 0.5, -0.0, 1e-320, 1e308, float("inf"), float("nan")),
    *(2**31 - 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400),
    *("", " ", "0", "1", "null", "\0", "\ud800", "\u00e9", "e\u0301", "\U0001f469\u200d\U0001f4bb", "x" * 5000, "../x"),
    *([], {}, [[]], [None], [0, 0], [{}], {"": None}, {"content": "x"}, {"a": {"b": []}}),
)


def apply(folder: Path, edits: Sequence[Edit]) -> None:
    """Makes the edits in the files of `folder`. One that its file has no place for is left out."""
    for edit in edits:
        file = folder / edit["file"]
        if "write" in edit:
            file.write_bytes(edit["write"].encode("utf-8", "surrogatepass"))
        elif "remove" in edit:
            file.unlink(missing_ok=True)
        elif "set" in edit or "drop" in edit:
            _edit_json(file, edit)
        elif file.is_file():
            file.write_bytes(_edit_bytes(file.read_bytes(), edit))


def _edit_bytes(data: bytes, edit: Edit) -> bytes:
    changed = bytearray(data)
    if "cut" in edit:
        return bytes(changed[: edit["cut"] % (len(changed) + 1)])
    if "insert" in edit:
        at = edit["at"] % (len(changed) + 1)
        changed[at:at] = edit["insert"].encode("latin-1")
    for position, value in edit.get("patch", ()):
        if changed:
            changed[position % len(changed)] = value
    return bytes(changed)


def _edit_json(file: Path, edit: Edit) -> None:
    try:
        values = json.loads(file.read_bytes()) if file.is_file() else {}
    except (ValueError, RecursionError):  # damaged by an edit before this one
        return
    *way, last = edit.get("set") or edit.get("drop") or [None]
    node = values
    try:
        for step in way:
            node = node[step]
        if "drop" in edit:
            del node[last]
        else:
            node[last] = copy.deepcopy(edit["to"])
    except (LookupError, TypeError):
        return
    file.write_text(json.dumps(values), encoding="utf-8")


def random_edits(draw: random.Random, files: Mapping[str, bytes], extra: Mapping[str, Sequence[str]]) -> list[Edit]:
    """A few edits of `files`; `extra` are keys by file that readers may look for there, in or out of the file."""
    count = draw.choice((1, 1, 1, 1, 2, 2, 3, 5))
    return [_random_edit(draw, files, extra) for _ in range(count)]


def _random_edit(draw: random.Random, files: Mapping[str, bytes], extra: Mapping[str, Sequence[str]]) -> Edit:
    name = draw.choice(sorted({*files, *extra}))
    data = files.get(name, b"")
    if name.endswith(".json") and draw.random() < 0.9:
        return _random_json_edit(draw, name, json.loads(data) if data else {}, extra.get(name, ()))
    kind = draw.random()
    if kind < 0.15:
        return {"file": name, "cut": draw.randrange(len(data) + 1)}
    if kind < 0.25:
        text = draw.choice(("\0", "\xff", "\xef\xbb\xbf", "}", "[" * 100_000, "9" * 5000, '"\\ud800"', "NaN", "\n"))
        return {"file": name, "insert": text, "at": draw.choice((0, -1, draw.randrange(len(data) + 1)))}
    if kind < 0.3:
        return {"file": name, "remove": True}
    return {"file": name, "patch": random_patch(draw, len(data))}


def every_edit(files: Mapping[str, bytes], extra: Mapping[str, Sequence[str]]) -> Iterator[Edit]:
    """Each of VALUES at each place of JSON files, and each place left out; places and `extra` as `random_edits`."""
    for name, data in files.items():
        values = json.loads(data)
        places = list(_places(values))
        yield from ({"file": name, "drop": place} for place in places)
        absent: list[Place] = [[key] for key in dict.fromkeys(extra.get(name, ())) if key not in values]
        for place in places + absent:
            yield from ({"file": name, "set": place, "to": value} for value in VALUES)


def random_patch(draw: random.Random, size: int) -> list[list[int]]:
    """Bytes overwritten: single ones, and little-endian numbers at the edge of their range."""
    start = draw.randrange(size or 1)
    if draw.random() < 0.5:
        return [[start, draw.randrange(256)]]
    width = draw.choice((2, 4, 8))
    number = draw.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, size, draw.randrange(size or 1)))
    return [[start + i, value] for i, value in enumerate(number.to_bytes(8, "little")[:width])]


def _random_json_edit(draw: random.Random, name: str, values: Any, keys: Sequence[str]) -> Edit:
    places = list(_places(values))
    if keys and draw.random() < 0.4:
        return {"file": name, "set": [draw.choice(keys)], "to": random_value(draw, draw.choice(places or [[]]), values)}
    if not places:
        return {"file": name, "set": ["x"], "to": draw.choice(VALUES)}
    depth = draw.choice((1, 1, 2, 3, 9))  # not the thousands of entries of a vocabulary alone
    near = [place for place in places if len(place) <= depth]
    place = draw.choice(near)
    if draw.random() < 0.15:
        return {"file": name, "drop": place}
    return {"file": name, "set": place, "to": random_value(draw, place, values)}


def random_value(draw: random.Random, place: Place, values: Any) -> Any:
    """One for `place`: something else of the document, a neighbor of what is there, or a value that readers hate."""
    there = values
    for step in place:
        there = there[step]
    kind = draw.random()
    if kind < 0.15:
        other: Any = values
        for step in draw.choice(list(_places(values)) or [[]]):
            other = other[step]
        return copy.deepcopy(other)
    if kind < 0.6:
        return _neighbor(draw, there)
    return copy.deepcopy(draw.choice(VALUES))


def _neighbor(draw: random.Random, value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return draw.choice((not value, int(bool(value)), str(value).lower()))
    if isinstance(value, (int, float)):
        return draw.choice((value + 1, value - 1, value * 2, -value, value / 2, float(value), str(value), [value], 0))
    if isinstance(value, str):
        half = len(value) // 2
        spelled = (value[:half], value + value, value.upper(), value + " ", " " + value, value + "\n", "", value[::-1])
        return draw.choice(spelled)
    if isinstance(value, list):
        return draw.choice(([], value[:-1], value[1:], value + value, [value], value[::-1], value[:1]))
    return draw.choice(({}, [value], {**value, "x": 1}, dict(list(value.items())[:-1]), list(value)))


def _places(value: Any, limit: int = 40) -> Iterator[Place]:
    """Ways to all values inside `value`; of long objects and lists the first and last few."""
    if isinstance(value, dict):
        entries: list[tuple[str | int, Any]] = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value))
    else:
        return
    if len(entries) > limit:
        entries = entries[: limit // 2] + entries[-limit // 2 :]
    for key, entry in entries:
        yield [key]
        for inner in _places(entry, limit):
            yield [key, *inner]
