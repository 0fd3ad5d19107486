"""Running a `.pte` for the HTP on this machine: libQnnHtp for x86-64 simulates the chip that it compiled for."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mlp_export.runtime.executorch_session import ExecutorchSession
from mlp_export.runtime.native_output import capture_native_output


class SimulatorSession(ExecutorchSession):
    """A loaded program (see mlp_export.runtime.session.Session). The libraries have to be loaded."""

    def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
        """See Session.forward. ExecuTorch's QNN code talks."""
        with capture_native_output():
            return super().forward(tokens, position)

    def __del__(self) -> None:
        with capture_native_output():
            self.unload()
