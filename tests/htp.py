"""Any QNN graph on the HTP simulator: what a test gives it, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from executorch.exir import ExecutorchBackendConfig
from executorch.exir.lowered_backend_module import LoweredBackendModule
from executorch.runtime import Runtime

from mlp_export.backends.qnn.compiler import BACKEND_ID, compile_graph, compile_specs
from mlp_export.backends.qnn.graph import Graph
from mlp_export.program.text_program import delegate_stub, trace
from mlp_export.runtime.native_output import capture_native_output


def run_graph(graph: Graph, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The graph's outputs for `inputs`; `outputs` are examples of their shapes and dtypes, in the graph's order."""

    class DelegateSignature(torch.nn.Module):
        def forward(self, *_: torch.Tensor) -> Any:
            return tuple(torch.zeros(out.shape, dtype=out.dtype) for out in outputs)

    with torch.no_grad(), capture_native_output():
        signature = delegate_stub(DelegateSignature(), inputs)
        lowered = LoweredBackendModule(
            signature, BACKEND_ID, compile_graph(graph, "sm8750"), compile_specs("sm8750"), None
        )

        class Caller(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.lowered = lowered

            def forward(self, *arguments: torch.Tensor) -> Any:
                return tuple(self.lowered(*arguments))

        program = trace(Caller(), inputs).to_executorch(ExecutorchBackendConfig(extract_delegate_segments=True))
        method = Runtime.get().load_program(program.buffer).load_method("forward")
        return [out.clone() for out in method.execute(list(inputs))]
