"""Qualcomm's compiler behind ExecuTorch's binding. Everything here wants the libraries loaded (see `sdk.load`)."""

from __future__ import annotations

from pathlib import Path

import executorch.backends.qualcomm.python.PyQnnManagerAdaptor as PyQnn
from executorch.backends.qualcomm.serialization.qc_schema import QcomChipset
from executorch.backends.qualcomm.utils.utils import (
    generate_htp_compiler_spec,
    generate_qnn_executorch_compiler_spec,
)
from executorch.exir.backend.compile_spec_schema import CompileSpec

from mlp_export.backends.qnn.graph import Graph
from mlp_export.backends.qnn.targets import DEFAULT_SOC
from mlp_export.errors import MlpExportError

BACKEND_ID = "QnnBackend"
METHOD = "forward"


def compile_specs(soc: str) -> list[CompileSpec]:
    """What the program tells the runtime's delegate: the chip, 8- and 16-bit arithmetic, full clock."""
    options = generate_htp_compiler_spec(use_fp16=False)
    specs: list[CompileSpec] = generate_qnn_executorch_compiler_spec(
        soc_model=QcomChipset[soc.upper()], backend_options=options
    )
    return specs


def compile_graph(graph: Graph, soc: str) -> bytes:
    """The delegate's payload: a context binary for `soc` behind ExecuTorch's header.

    Raises CompileError where QNN does not start, or its compiler, which says why on stderr, gives nothing.
    """
    manager = PyQnn.QnnManager(compile_specs(soc)[0].value)
    if manager.InitBackend().value != 0 or manager.InitContext([METHOD]).value != 0:
        raise CompileError(f"QNN does not start for {soc}", "see `mlp-export doctor --backend qnn`")
    operators = [operator.GetOpWrapper() for operator in graph.operators]
    payload = bytes(manager.Compile([METHOD], [operators]))
    manager.DestroyContext()
    manager.Destroy()
    if not payload:
        raise CompileError(f"Qualcomm's compiler made nothing for {soc}", "its messages are above")
    return payload


def backend_starts() -> bool:
    """Whether ExecuTorch and the loaded libraries agree on their structures."""
    manager = PyQnn.QnnManager(compile_specs(DEFAULT_SOC)[0].value)
    started = manager.InitBackend().value == 0
    manager.Destroy()
    return bool(started)


def build_id(folder: Path) -> str:
    """The QAIRT build of the libraries, as they spell it: "v2.49.40.26..."."""
    return str(PyQnn.GetQnnSdkBuildId(str(folder / "libQnnHtp.so")))


class CompileError(MlpExportError):
    """The graph could not be compiled."""
