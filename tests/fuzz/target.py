"""What is fuzzed: an input drawn from a seed, and what must hold of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

Outcome = Literal["accepted", "refused"]


class WrongAcceptanceError(AssertionError):
    """An input that was taken for another one: other ids, config or weights than its files have."""


class Target(Protocol):
    """A reader of inputs."""

    name: str
    compared_with: str  # the program that an accepted input is held against, "" where there is none

    def draw(self, draw: random.Random) -> Any:
        """An input, as JSON: a corpus keeps it."""
        ...

    def check(self, given: Any, folder: Path) -> int:
        """Gives the input to the reader, with files in the empty `folder`. Returns how often what came out was
        compared with what another program makes of it.

        Raises MlpExportError where it is refused, which is right, and WrongAcceptanceError where it is taken for
        another. Any other exception is a fault.
        """
        ...


@runtime_checkable
class TargetOfJson(Target, Protocol):
    """One whose inputs are edits of JSON files."""

    def every(self) -> Iterator[Any]:
        """Each input of one edit that `every_edit` knows."""
        ...


def expect(holds: bool, what: str) -> None:
    """Raises WrongAcceptanceError, saying `what`, unless it `holds`."""
    if not holds:
        raise WrongAcceptanceError(what)
