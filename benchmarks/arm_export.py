"""Exports a checkpoint with whatever mlp_export PYTHONPATH names: `arm_instructions.py` compares releases with it.

PYTHONPATH=CHECKOUT python benchmarks/arm_export.py CHECKPOINT OUT.pte CONTEXT CHUNK KV_CACHE
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from mlp_export.backends.xnnpack.options import XnnpackOptions
from mlp_export.pipeline import ExportOptions, export
from mlp_export.progress import Progress

if __name__ == "__main__":
    checkpoint, out, context, chunk, kv_cache = sys.argv[1:]
    bundle = Path(out).with_suffix(".bundle")
    options = ExportOptions(
        "xnnpack",
        checkpoint,
        bundle,
        context=int(context),
        prefill_chunk=int(chunk),
        backend_options=XnnpackOptions(kv_cache),  # type: ignore[arg-type]
        verify=False,
        overwrite=True,
    )
    export(options, Progress()).bundle.pte.replace(out)
    shutil.rmtree(bundle)
