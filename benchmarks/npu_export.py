"""The export for an NPU at MobileLLM-Pro's exact shape: time and memory of each stage, the file, what was verified.

    python benchmarks/npu_export.py {qnn|coreml} CHECKPOINT OUT [--soc sm8750] [--context 2048] [--json FILE]

CHECKPOINT is one of checkpoint.py with --learned-scales. Verified, on Qualcomm's simulator or with the interpreter of
Core ML's programs: every code and scale, and the logits of a chunk and of a token behind it.
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
    parser = argparse.ArgumentParser(description="Exports a checkpoint of checkpoint.py for an NPU.")
    parser.add_argument("backend", choices=("qnn", "coreml"))
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path, help="folder for the bundle and its log")
    parser.add_argument("--soc", help="for qnn; its first if not given")
    parser.add_argument("--context", type=int, default=CONTEXT)
    parser.add_argument("--json", type=Path, help="file for the report, besides stdout")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlp_export", "--backend", arguments.backend, "--overwrite"]
    command += ["--soc", arguments.soc] if arguments.soc else []
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
