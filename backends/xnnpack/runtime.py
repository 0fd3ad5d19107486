"""XNNPACK's programs on this machine: ExecuTorch's own runtime runs them as a phone's does."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from mlp_export.models.config import ModelConfig
from mlp_export.program.layer_taps import TappedSession
from mlp_export.runtime.host_runtime import HostNotes, VerificationBudget
from mlp_export.runtime.session import Session


class XnnpackRuntime:
    """See HostRuntime."""

    notes = HostNotes(native_library="backend_xnnpack")

    def load(self) -> None:
        pass

    def open(self, path: Path) -> Session:
        from mlp_export.runtime.executorch_session import ExecutorchSession

        return ExecutorchSession(path)

    def open_tapped(
        self, path: Path, config: ModelConfig, scratch: Path | None
    ) -> AbstractContextManager[TappedSession]:
        from mlp_export.backends.xnnpack.tapped import open_tapped

        return open_tapped(path, config, scratch)

    def verification_budget(self, parameters: int) -> VerificationBudget:
        return VerificationBudget()
