"""The HTP's programs on this machine: Qualcomm's simulator runs them."""

from __future__ import annotations

from pathlib import Path

from mlp_export.backends.qnn import sdk
from mlp_export.models.config import ModelConfig
from mlp_export.runtime.host_runtime import HostNotes, VerificationBudget
from mlp_export.runtime.native_output import capture_native_output
from mlp_export.runtime.session import Session

# A simulated call takes 0.3 s for a test's model, 12 s for SmolLM2-135M, two minutes for MobileLLM-Pro.
_QUICKLY_SIMULATED_PARAMETERS, _SIMULATED_PARAMETERS = 10_000_000, 400_000_000


class QnnRuntime:
    """See HostRuntime."""

    notes = HostNotes(
        "on this machine the program runs on Qualcomm's simulator of the NPU: seconds a call, minutes for a large model"
    )

    def load(self) -> None:
        with capture_native_output():
            # C++ code that is loaded behind Qualcomm's libraries crashes on its first use.
            import executorch.extension.llm.runner  # noqa: F401
            import pytorch_tokenizers  # noqa: F401
        sdk.load(sdk.find_sdk())

    def open(self, path: Path) -> Session:
        from mlp_export.backends.qnn.simulator import SimulatorSession

        self.load()
        return SimulatorSession(path)

    def open_tapped(self, path: Path, config: ModelConfig, scratch: Path | None) -> None:
        return None  # a context binary shows what it was compiled to show, and compiled anew it is another one

    def verification_budget(self, parameters: int) -> VerificationBudget:
        if parameters < _SIMULATED_PARAMETERS:
            small = parameters < _QUICKLY_SIMULATED_PARAMETERS
            steps, prompts = (4, 2) if small else (2, 1)
            return VerificationBudget(single_steps=steps, crosses_window=small, prompts=prompts, answer_tokens=2)
        return VerificationBudget(edges=False, prompts=0)
