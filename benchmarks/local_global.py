"""What local layers save: the same model with all layers global, at 8,192 tokens.

    python benchmarks/local_global.py CHECKPOINT ALL_GLOBAL_CHECKPOINT FOLDER

CHECKPOINT is one of checkpoint.py, ALL_GLOBAL_CHECKPOINT one with its --all-global. Prints KV bytes, and the time of a
prefill of the whole context: chunks are timed at a few positions and the others taken to lie on the line between them,
since a chunk's time depends on nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import pairwise
from pathlib import Path

from compare import export_ours

from mlp_export.evaluation.inspect_artifact import inspect_artifact
from mlp_export.runtime.executorch_session import ExecutorchSession

CONTEXT = 8192
SAMPLES = 5


def prefill_seconds(file: Path) -> tuple[float, list[tuple[int, float]]]:
    """Seconds of a prefill of the whole context, and the chunks that were timed: (position, seconds)."""
    session = ExecutorchSession(file)
    chunk, last = session.prefill_chunk, CONTEXT - session.prefill_chunk
    ids = list(range(chunk))
    session.forward(ids, 0)
    timed = []
    for n in range(SAMPLES):
        position = last * n // (SAMPLES - 1)
        start = time.perf_counter()
        session.forward(ids, position)
        timed.append((position, time.perf_counter() - start))
    total = sum((b - a) / chunk * (before + after) / 2 for (a, before), (b, after) in pairwise(timed))
    return total + timed[-1][1], timed


def main() -> None:
    parser = argparse.ArgumentParser(description="Local and global layers against global ones alone.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("all_global", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    for name, checkpoint in (("local/global", arguments.checkpoint), ("all global", arguments.all_global)):
        out = arguments.folder / f"{checkpoint.name}-8k"
        export_ours(checkpoint, out, "int8", CONTEXT)
        seconds, timed = prefill_seconds(out / "model.pte")
        kv = inspect_artifact(out / "model.pte").kv_cache_bytes
        print(json.dumps({"model": name, "kv_cache_bytes": kv, "prefill_s": seconds, "chunks": timed}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
