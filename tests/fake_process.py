"""A stand-in for one program that a module starts; other programs are started as they are."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

Answer = Callable[[list[str]], "subprocess.CompletedProcess[Any]"]


def replace_program(patch: pytest.MonkeyPatch, program: str, answer: Answer) -> None:
    """`answer` in place of `subprocess.run` for commands with a word that contains `program`.

    The patch is of the whole process, in which an export starts ExecuTorch's tokenizer as well.
    """
    others = subprocess.run

    def run(command: list[str], **settings: Any) -> subprocess.CompletedProcess[Any]:
        if any(program in str(word) for word in command):
            return answer(command)
        return others(command, **settings)

    patch.setattr(subprocess, "run", run)
