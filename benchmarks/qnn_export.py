"""The export for the NPU at MobileLLM-Pro's exact shape: time and memory of each stage, the file, what was verified.

    python benchmarks/qnn_export.py CHECKPOINT OUT [--soc sm8750] [--context 2048] [--json FILE]

CHECKPOINT is one of checkpoint.py with --learned-scales. Verified on the simulator: whole chunks and single tokens at
both ends of the context, the caches' slots, and a prompt through the stock runner.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from measure import measure
from speed import show

CONTEXT = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description="Exports a checkpoint of checkpoint.py for the NPU.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path, help="folder for the bundle and its log")
    parser.add_argument("--soc", default="sm8750")
    parser.add_argument("--context", type=int, default=CONTEXT)
    parser.add_argument("--json", type=Path, help="file for the report, besides stdout")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlp_export", "--backend", "qnn", "--soc", arguments.soc, "--overwrite"]
    command += ["--model", str(arguments.checkpoint), "--context", str(arguments.context)]
    command += ["--out", str(arguments.out)]
    usage = measure(command, log=arguments.out.with_suffix(".log"))
    manifest = json.loads((arguments.out / "manifest.json").read_text())
    checked = manifest["verification"]
    show(
        {
            **{key: value for key, value in asdict(usage).items() if key != "stdout"},
            "file_bytes": manifest["files"]["model.pte"]["bytes"],
            "verified": checked["passed"],
            "relative_error": checked["relative_error"],
            "noise_floor": checked["noise_floor"],
            "stages": arguments.out.with_suffix(".log").read_text().splitlines(),
        },
        arguments.json,
    )


if __name__ == "__main__":
    main()
