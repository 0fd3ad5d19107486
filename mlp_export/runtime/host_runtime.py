"""What runs a delegate's programs on this machine, and how much of them verification runs there."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mlp_export.models.config import ModelConfig
    from mlp_export.program.layer_taps import TappedSession
    from mlp_export.runtime.session import Session


@dataclass(frozen=True)
class HostNotes:
    """What differs between a program that runs here and one on a phone."""

    note: str = ""  # for the person; "" where it runs as it should
    computes_in_torch: bool = False  # whether programs run on torch's kernels here, and want its threads
    native_library: str = ""  # ExecuTorch's, with which the native runner (native_runner.py) runs them; "": it does not


@dataclass(frozen=True)
class VerificationBudget:
    """How much of an artifact verification runs. On a simulator a call may take minutes: then what is asked is a chunk
    and a token behind it (`edges` is off), and nothing else.
    """

    single_steps: int = 32  # decoded one by one behind the window's edge; half as many at the end of the context
    edges: bool = True  # cut chunks, the window's edge, the end of the context, cache visibility
    crosses_window: bool = True  # whether a prompt is fed until the first keys leave the window
    prompts: int = 4  # through the stock runner
    answer_tokens: int = 16  # of each


class HostRuntime(Protocol):
    """A delegate's programs on this machine."""

    @property
    def notes(self) -> HostNotes:
        """What a person, and whoever measures, should know of programs that run here."""
        ...

    def load(self) -> None:
        """Load what ExecuTorch needs to run the programs here. Raises MissingError where it is missing."""
        ...

    def open(self, path: Path) -> Session:
        """Load a `.pte`. Raises InputError where it is no program of this delegate."""
        ...

    def open_tapped(
        self, path: Path, config: ModelConfig, scratch: Path | None
    ) -> AbstractContextManager[TappedSession] | None:
        """The `.pte` loaded so that it shows what its layers compute; None where this runtime cannot show it.

        `scratch` is the folder for a copy as large as the program, TMPDIR if None. Raises InputError where this
        program does not show it.
        """
        ...

    def verification_budget(self, parameters: int) -> VerificationBudget:
        """How much to run of an artifact with that many parameters."""
        ...
