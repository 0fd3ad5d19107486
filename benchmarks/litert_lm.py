"""LiteRT-LM as a peer: Google's converter and runtime from PyPI, on the same weights in int4.

    python benchmarks/litert_lm.py CHECKPOINT --models FOLDER [--json FILE]

`litert-torch export_hf` converts the checkpoint, written as a Llama (see hf_llama.py), and `litert-lm benchmark` runs
it on the CPU, both in an environment of their own below FOLDER. The converter imports TensorFlow without asking for it:
the environment has it, 1 GB. What is compared, and what is not the same:

* Weights are int4 with one scale an output channel, the recipe `dynamic_wi4_afp32` of its quantizer: 4 bits a weight
  (ours 4.5), less work and less exact. Activations are rounded to int8 at each call. Its kernels are XNNPACK's, too.
* Full attention in every layer, a float cache of 2048 slots; prompts go through a graph of 128 rows, as ours do.
* Speeds are what its benchmark says, on ids of its own, after its warm-up. Decoding is measured behind a prompt of
  each depth.
* "first token" is the wall time of its whole command for one token, a Python program, without a warm-up. Packed weights
  come from the file that its first run keeps beside the model (its default), as ours cannot with the stock classes.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from environments import environment
from hf_llama import write_llama
from measure import Usage, measure
from speed import DEPTHS, NEW_TOKENS, PROMPT_TOKENS, THREADS, Rate, SpeedReport, show

VERSION = "0.18.1"
PACKAGES = ("litert-torch==0.10.0", f"litert-lm=={VERSION}", "tensorflow-cpu==2.21.0")
CONTEXT, ROWS, RECIPE = 2048, 128, "dynamic_wi4_afp32"


def prepare(checkpoint: Path, models: Path) -> tuple[Path, Path]:
    """The `litert-lm` command and the converted model, made unless they are there."""
    programs = environment(models / "litert-environment", PACKAGES).parent
    folder = models / f"{checkpoint.name}-litert"
    file = folder / "model.litertlm"
    if file.is_file() and file.stat().st_mtime > (checkpoint / "config.json").stat().st_mtime:
        return programs / "litert-lm", file
    llama = write_llama(checkpoint, models / f"{checkpoint.name}-llama")
    options = [f"--prefill_lengths=[{ROWS}]", f"--cache_length={CONTEXT}", "--externalize_embedder=False"]
    command = [programs / "litert-torch", "export_hf", llama, folder, *options, f"--quantization_recipe={RECIPE}"]
    measure(command, log=models / "litert-export.log")
    return programs / "litert-lm", file


def measure_speed(program: Path, file: Path, threads: int = THREADS, repetitions: int = 1) -> SpeedReport:
    """Runs its benchmark for a first token, and for prefill and decoding at each depth."""
    usages: list[Usage] = []

    def run(prompt: int, new: int, *more: str) -> dict[str, float]:
        options = ["--backend", "cpu", "--cpu-thread-count", str(threads), "-p", str(prompt), "-d", str(new), *more]
        usages.append(measure([program, "benchmark", file, *options]))
        return parse(usages[-1].stdout)

    run(1, 1, "--skip-warmup")  # packs the weights, once
    first = run(1, 1, "--skip-warmup")
    first_token_s = usages[-1].wall_s
    found = {depth: [run(depth, NEW_TOKENS) for _ in range(repetitions)] for depth in DEPTHS}
    return SpeedReport(
        runtime=f"LiteRT-LM {VERSION}",
        file_bytes=file.stat().st_size,
        threads=threads,
        prefill=Rate.of(0, PROMPT_TOKENS, [answer["prefill"] for answer in found[PROMPT_TOKENS]]),
        decode=[Rate.of(d, NEW_TOKENS, [answer["decode"] for answer in answers]) for d, answers in found.items()],
        load_s=first["init"],
        first_token_s=first_token_s,
        peak_rss_bytes=max(usage.peak_rss_bytes for usage in usages[1:]),
        others_share=max(usage.others_share for usage in usages[1:]),
    )


def parse(output: str) -> dict[str, float]:
    """The numbers of `litert-lm benchmark`: tokens a second, seconds. Raises ValueError where one is not there."""
    found = {}
    for key, name in {"prefill": "Prefill speed", "decode": "Decode speed", "init": "Init time"}.items():
        match = re.search(rf"^{name}:\s+([\d.]+) ", output, re.MULTILINE)
        if match is None:
            raise ValueError(f"litert-lm benchmark printed no {name!r}:\n{output[-2000:]}")
        found[key] = float(match[1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures LiteRT-LM on a checkpoint of checkpoint.py.")
    parser.add_argument("checkpoint", type=Path, help="folder that checkpoint.py wrote")
    parser.add_argument("--models", type=Path, required=True, help="folder of the environment and the model")
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--json", type=Path, help="file for the report, besides stdout")
    arguments = parser.parse_args()
    program, file = prepare(arguments.checkpoint, arguments.models)
    show(measure_speed(program, file, arguments.threads).to_json(), arguments.json)


if __name__ == "__main__":
    main()
