"""The payload of ExecuTorch's XNNPACK delegate: how it is read back, and which of its constants a runtime may free.

A payload is a header (`XNNHeader`), a flatbuffer (executorch/backends/xnnpack/serialization/schema.fbs) and constants
of its own. Other constants are named data of the program. The runtime (XNNCompiler.cpp, XNNWeightsCache.cpp) frees both
once the graph is compiled: named data always before 1.4.1, and in every release up to 1.5.1 where its weights cache is
on, as it is in the official Android and Apple builds; a payload that is a segment of its own, always. XNNPACK copies
("packs") the weights and biases of linears and convolutions, but keeps pointers to every other constant and reads them
at each call. So those have to stand in a payload inside the program, which lives as long as the model does.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from executorch.backends.xnnpack.serialization import xnnpack_graph_serialize as serialization

from mlp_export.errors import InputError
from mlp_export.program.executorch_private import run_flatc
from mlp_export.resources import require_temporary
from mlp_export.scratch import check_writable, scratch_folder

BACKEND_ID = "XnnpackBackend"
NAMED_OFFSET = 2**64 - 1  # offset of constants that are found by name
_JSON_FACTOR = 8  # bytes of JSON for one of a flatbuffer, at most: measured 5.6

_FILTERS = ("XNNFullyConnected", "XNNConv2d", "XNNDepthwiseConv2d", "XNNConvTranspose2d")
_PACKED_OPERANDS = {**dict.fromkeys(_FILTERS, ("filter_id", "bias_id")), "XNNBatchMatrixMultiply": ("input2_id",)}


def weight_keys(name: str, codes: bytes, scales: bytes) -> tuple[str, str]:
    """Keys of a quantized weight's codes and scales among the program's named data: `NAME@CONTENT` and
    `NAME.scales@CONTENT`.

    A phone's weights cache is one for the whole process, or one file, and finds packed weights by the key of their
    codes alone. So the key is of the content, or a second model in the app would get the weights of the first.
    """
    content = hashlib.sha256(codes + scales).hexdigest()[:16]
    return f"{name}@{content}", f"{name}.scales@{content}"


@dataclass(frozen=True)
class Payload:
    """A payload taken apart."""

    graph: dict[str, Any]  # the flatbuffer as flatc's JSON has it: "xnodes", "xvalues", "constant_data", ...
    constants: bytes  # what `constant_data` entries without a key point into

    def kept_constants(self) -> list[dict[str, Any]]:
        """Entries of `constant_data` that XNNPACK reads at each call, because an operator that does not pack them has
        them as an operand. Raises InputError where the graph is damaged.
        """
        try:
            tensors = [value["xvalue_union"] for value in self.graph["xvalues"]]
            tensors = [tensor.get("tensor_value", tensor) for tensor in tensors]  # the quantized ones hold a tensor
            constants = {tensor["id_out"]: tensor["constant_buffer_idx"] for tensor in tensors}
            kept: set[int] = set()
            for node in self.graph["xnodes"]:
                packed = _PACKED_OPERANDS.get(node["xnode_union_type"], ())
                for field, operand in node["xnode_union"].items():
                    if field.endswith("_id") and not field.startswith("output") and field not in packed:
                        kept.add(constants.get(operand, 0))
            return [self.graph["constant_data"][index] for index in sorted(kept - {0})]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise _damaged(error) from error


def parse_payloads(payloads: Sequence[bytes]) -> list[Payload]:
    """Raises InputError where one is no payload of the XNNPACK delegate, ResourceError where TMPDIR is too small."""
    header_size = serialization.XNNHeader.EXPECTED_LENGTH
    parts = []
    for data in payloads:
        try:
            header = serialization.XNNHeader.from_bytes(data[:header_size])
        except ValueError:  # as ExecuTorch wrote it before there was a header: the flatbuffer alone
            parts.append((data, b""))
            continue
        start, constants = header.flatbuffer_offset, header.constant_data_offset
        flatbuffer = data[start : start + header.flatbuffer_size]
        parts.append((flatbuffer, data[constants : constants + header.constant_data_size]))
    # flatc fails on a full disk as it does on damage.
    needed = _JSON_FACTOR * sum(len(flatbuffer) for flatbuffer, _ in parts)
    require_temporary(needed)
    with scratch_folder() as folder:
        schema = folder / "schema.fbs"
        schema.write_bytes(serialization._get_schema_bytes())
        files = [folder / f"{n}.bin" for n in range(len(parts))]
        for file, (flatbuffer, _) in zip(files, parts, strict=True):
            file.write_bytes(flatbuffer)
        options = ["--json", "--defaults-json", "--strict-json", "--raw-binary", "-o", str(folder), str(schema), "--"]
        try:
            run_flatc([*options, *map(str, files)])
            graphs = [_json(file.with_suffix(".json").read_text(encoding="utf-8")) for file in files]
        except subprocess.CalledProcessError as error:
            if error.returncode == -signal.SIGXFSZ:  # ulimit -f
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(folder)) from error
            check_writable(folder)
            require_temporary(needed - sum(file.stat().st_size for file in folder.glob("*.json")))
            raise _damaged(error) from error
        except OSError:  # what it wrote is gone
            raise
        except Exception as error:  # flatc checks nothing: damage shows as any exception
            raise _damaged(error) from error
    return [Payload(graph, constants) for graph, (_, constants) in zip(graphs, parts, strict=True)]


def _damaged(error: Exception) -> InputError:
    return InputError(f"an XNNPACK payload is damaged: {type(error).__name__} in its tables", "export it again")


def _json(text: str) -> Any:
    """What flatc wrote, which spells the infinite bounds of a clamp otherwise than Python's reader."""
    return json.loads(re.sub(r": (-?)inf(inity)?\b", r": \1Infinity", text))
