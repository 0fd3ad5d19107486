"""Core ML's programs on this machine: on a Mac Core ML runs them, elsewhere an interpreter of their package."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path

from mlp_export.errors import MissingError
from mlp_export.models.config import ModelConfig
from mlp_export.program.layer_taps import TappedSession
from mlp_export.runtime.host_runtime import HostNotes, VerificationBudget
from mlp_export.runtime.session import Session

# A call in the interpreter takes 0.3 s for SmolLM2-135M, whose weights it keeps; some seconds for MobileLLM-Pro.
_QUICKLY_INTERPRETED_PARAMETERS, _INTERPRETED_PARAMETERS = 10_000_000, 400_000_000


class CoremlRuntime:
    """See HostRuntime."""

    @property
    def notes(self) -> HostNotes:
        if sys.platform == "darwin":
            return HostNotes()
        note = "this machine has no Core ML: an interpreter of its programs runs in its place, slower than any phone"
        return HostNotes(note, computes_in_torch=True)

    def load(self) -> None:
        if sys.platform != "darwin":
            raise MissingError(
                "ExecuTorch has no Core ML on this machine",
                "use the interpreter, which `mlp-export run` does without --stock-runner, or a Mac",
            )

    def open(self, path: Path) -> Session:
        if sys.platform == "darwin":
            from mlp_export.runtime.executorch_session import ExecutorchSession

            return ExecutorchSession(path)
        from mlp_export.backends.coreml.session import InterpretedSession

        return InterpretedSession(path)

    def open_tapped(
        self, path: Path, config: ModelConfig, scratch: Path | None
    ) -> AbstractContextManager[TappedSession] | None:
        if sys.platform == "darwin":
            return None  # Core ML shows no results but the function's own
        from mlp_export.backends.coreml.tapped import open_tapped

        return open_tapped(path, config)

    def verification_budget(self, parameters: int) -> VerificationBudget:
        if sys.platform == "darwin":
            return VerificationBudget()
        # The stock runner takes no interpreter.
        if parameters < _QUICKLY_INTERPRETED_PARAMETERS:
            return VerificationBudget(prompts=0)
        if parameters < _INTERPRETED_PARAMETERS:
            return VerificationBudget(single_steps=8, prompts=0)
        return VerificationBudget(single_steps=2, crosses_window=False, prompts=0)
