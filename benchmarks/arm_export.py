"""Exports a checkpoint with whatever mlp_export PYTHONPATH names: `arm_instructions.py` compares releases with it.

PYTHONPATH=CHECKOUT python benchmarks/arm_export.py CHECKPOINT OUT.pte CONTEXT CHUNK KV_CACHE
"""

from __future__ import annotations

import sys
from pathlib import Path

from mlp_export.backends.base import BuildOptions, get_backend
from mlp_export.checkpoint import read_checkpoint
from mlp_export.progress import Progress
from mlp_export.quantization import QuantizedModel

if __name__ == "__main__":
    checkpoint, out, context, chunk, kv_cache = sys.argv[1:]
    opened, backend = read_checkpoint(Path(checkpoint), "int4-cpu"), get_backend("xnnpack")
    scheme = backend.scheme(opened.kind, opened.config, None)
    options = BuildOptions(int(context), int(chunk), kv_cache, "1.5")  # type: ignore[arg-type]
    backend.lower(QuantizedModel(opened, scheme), options, Path(out), Progress(quiet=True))
