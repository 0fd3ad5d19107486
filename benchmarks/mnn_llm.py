"""MNN as a peer: its own exporter and runtime from PyPI, on the same weights in int4 for groups of 32.

    python benchmarks/mnn_llm.py CHECKPOINT --models FOLDER [--json FILE]

`llmexport` converts the checkpoint, written as a Llama (see hf_llama.py), and `MNN` runs it, both in an environment of
their own below FOLDER. What is compared, and what is not the same:

* Weights are symmetric int4 with a scale for each 32 values in fp32 (5 bits a weight; ours 4.5), embedding and head
  shared. Activations are rounded to int8 at each call ("memory": "low", as its exporter sets it).
* Full attention in every layer, a cache of floats that grows with the context.
* The wheel's build: AVX2 with FMA, AVX-512 where the processor has it.
* Prefill is one call with all tokens, decoding one call a token, both until the logits are there: MNN's own `generate`
  gives no token for a model with random weights. Its caches hold what `forward` was given before.
* "first token" is the wall time of a whole process that imports MNN, loads, and runs one token.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from environments import environment
from hf_llama import write_llama
from measure import measure
from speed import DEPTHS, NEW_TOKENS, PROMPT_TOKENS, THREADS, Rate, SpeedReport, show

VERSION = "3.6.1"
PACKAGES = (
    *(f"MNN=={VERSION}", "llmexport==0.0.5", "onnx==1.23.2", "onnxruntime==1.32.0", "onnxslim==0.1.98"),
    "yaspin==3.5.1",
)
_PROCESS = Path(__file__).with_name("mnn_process.py")


def prepare(checkpoint: Path, models: Path) -> tuple[Path, Path]:
    """MNN's Python and the `config.json` of the exported model, made unless they are there."""
    python = environment(models / "mnn-environment", PACKAGES)
    folder = models / f"{checkpoint.name}-mnn"
    config = folder / "config.json"
    if config.is_file() and config.stat().st_mtime > (checkpoint / "config.json").stat().st_mtime:
        return python, config
    llama = write_llama(checkpoint, models / f"{checkpoint.name}-llama")
    # The package's modules import each other as if its folder were on the path.
    found = subprocess.run(
        [python, "-c", "import importlib.util; print(importlib.util.find_spec('llmexport').origin)"],
        check=True,
        capture_output=True,
        text=True,
    )
    package = Path(found.stdout.strip()).parent
    options = ["--export", "mnn", "--quant_bit", "4", "--quant_block", "32", "--sym"]
    command = [python, package / "llmexport.py", "--path", llama, "--dst_path", folder, *options]
    measure(command, environment={"PYTHONPATH": str(package)}, log=models / "mnn-export.log")
    return python, config


def measure_speed(python: Path, config: Path, threads: int = THREADS, repetitions: int = 1) -> SpeedReport:
    """Runs mnn_process.py for a first token, and for the prefill and the decoding at each depth."""

    def run(*arguments: object) -> tuple[dict[str, list[float]], float, int, float]:
        usage = measure([python, _PROCESS, config, str(threads), *map(str, arguments)])
        answer = json.loads(usage.stdout.splitlines()[-1])
        return answer, usage.wall_s, usage.peak_rss_bytes, usage.others_share

    first, first_token_s, _, others_first = run("first")
    speeds, _, peak, others = run("speed", PROMPT_TOKENS, NEW_TOKENS, repetitions, *DEPTHS)
    decode = [Rate.of(depth, NEW_TOKENS, speeds[f"decode {depth}"]) for depth in DEPTHS]
    files = (config.with_name(name) for name in ("llm.mnn", "llm.mnn.weight"))
    return SpeedReport(
        runtime=f"MNN {VERSION}",
        file_bytes=sum(file.stat().st_size for file in files),
        threads=threads,
        prefill=Rate.of(0, PROMPT_TOKENS, speeds["prefill"]),
        decode=decode,
        load_s=first["load_s"][0],
        first_token_s=first_token_s,
        peak_rss_bytes=peak,
        others_share=max(others_first, others),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures MNN on a checkpoint of checkpoint.py.")
    parser.add_argument("checkpoint", type=Path, help="folder that checkpoint.py wrote")
    parser.add_argument("--models", type=Path, required=True, help="folder of the environment and the model")
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--json", type=Path, help="file for the report, besides stdout")
    arguments = parser.parse_args()
    python, config = prepare(arguments.checkpoint, arguments.models)
    show(measure_speed(python, config, arguments.threads).to_json(), arguments.json)


if __name__ == "__main__":
    main()
