"""What a person or a script reads: results on stdout as a table or as JSON, lines on stderr."""

from __future__ import annotations

import errno
import itertools
import json
import sys
from collections.abc import Mapping
from typing import Any

from mlp_export.errors import MissingError, MlpExportError, ResourceError
from mlp_export.progress import Progress
from mlp_export.streams import discard


def show(values: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        write_line(json.dumps(values, allow_nan=False))
    else:
        table((), [[key, text(value)] for key, value in values.items()])


def table(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    """Plain columns: a cell may have several lines, none is wrapped or cut."""
    lines = [list(columns)] if columns else []
    for row in rows:
        lines += [list(line) for line in itertools.zip_longest(*(cell.split("\n") for cell in row), fillvalue="")]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        write_line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def text(value: object) -> str:
    """A value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, (Mapping, list, tuple)) and not value:
        return "-"
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {text(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return "\n".join(text(entry).replace("\n", ", ") for entry in value)
    return str(value)


def stream(piece: str) -> None:
    write_line(piece, end="")


def silent(piece: str) -> None:
    pass


def tell(line: str) -> None:
    try:
        print(line, file=sys.stderr)
    except BrokenPipeError:
        raise
    except OSError:  # nobody can be told: the terminal is gone, or the disk of a log is full
        discard(sys.stderr)


def write_line(text: str, end: str = "\n") -> None:
    """Text on stdout, at once. Raises ResourceError or MissingError where it cannot be written."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard(sys.stdout)
        raise output_error(error) from error


def output_error(error: OSError) -> MlpExportError:
    kind = ResourceError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else MissingError
    return kind(f"cannot write the output: {error.strerror}", "send stdout somewhere else")


def progress_of(quiet: bool) -> Progress:
    """Stages on stderr, or none."""
    return Progress() if quiet else Progress.on_stderr()
