"""Compiling in a process of its own: native code that crashes takes nothing else with it, and its memory goes back.

python -m mlp_export.backends.qnn.compile_process < REQUEST.json
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from mlp_export.backends.qnn import sdk
from mlp_export.backends.qnn.encodings import read_encodings
from mlp_export.checkpoints.checkpoint import Kind, read_checkpoint
from mlp_export.errors import ResourceError, VerificationError
from mlp_export.quantization.store import QuantizedModel, WeightStore

_TOLD_LINES = 3


@dataclass(frozen=True)
class CompileRequest:
    """All that the other process has to know."""

    checkpoint: str
    kind: Kind
    weights: str  # the folder of a WeightStore
    encodings: str  # file
    context: int
    rows: int
    soc: str
    libraries: str  # folder
    payload: str  # file to write


def compile_in_subprocess(request: CompileRequest) -> None:
    """Write the delegate's payload to `request.payload`.

    Raises ResourceError where the process was killed for memory, VerificationError, which is a bug of ours or of the
    compiler, where it fails otherwise.
    """
    command = [sys.executable, "-m", __name__]
    done = subprocess.run(
        command, input=json.dumps(asdict(request)), capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode == 0 and Path(request.payload).is_file():
        return
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line or "Error" in line]
    reason = "; ".join(dict.fromkeys(said[:_TOLD_LINES])) or "it gave no reason"
    if done.returncode == -signal.SIGKILL:
        raise ResourceError(
            f"Qualcomm's compiler was killed while it compiled for {request.soc}",
            "mostly the system's answer to low memory: --dry-run says what it needs",
        )
    raise VerificationError(
        f"Qualcomm's compiler failed for {request.soc} (exit code {done.returncode}): {reason}",
        "nothing was written; please report it with the model's name",
    )


def compile_in_process(request: CompileRequest) -> None:
    """The other process's work."""
    sdk.load(sdk.Sdk(Path(request.libraries), "the given folder"))
    from mlp_export.backends.qnn.compiler import compile_graph
    from mlp_export.backends.qnn.decoder_graph import decoder_graph

    checkpoint = read_checkpoint(Path(request.checkpoint), request.kind)
    model = QuantizedModel(checkpoint, WeightStore.open(Path(request.weights)))
    encodings = read_encodings(Path(request.encodings), checkpoint.config)
    graph = decoder_graph(model, encodings, request.context, request.rows)
    Path(request.payload).write_bytes(compile_graph(graph, request.soc))


if __name__ == "__main__":
    compile_in_process(CompileRequest(**json.load(sys.stdin)))
