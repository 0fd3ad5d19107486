"""llama.cpp as a peer: built natively from the sources in a Python package, on the same weights in Q4_0.

    python benchmarks/llama_cpp.py CHECKPOINT --models FOLDER [--cache-type q8_0] [--json FILE]

`llama-cpp-python` carries llama.cpp's sources, so pip is all the network this needs; its Python code is not used.
Sources and binaries are kept in `benchmarks/.work/`, the model files in FOLDER.

What is compared, and what is not the same:

* The GGUF holds the checkpoint's bf16 bits. `llama-quantize --pure` makes all of it Q4_0, the embedding too, which is
  also the head: int4 with an fp16 scale for each 32 values, 4.5 bits a weight like our bf16 scales for groups of 32.
  It has no vocabulary, as a `.pte` has none: llama-bench needs none.
* The architecture `llama` has full attention in every layer: its KV cache grows with the context in all 30 layers,
  where the published model keeps 512 tokens in 21 of them. A checkpoint of `checkpoint.py --all-global` is like for
  like; the GGUF of either is the same.
* Q4_0's matrix products take activations in int8 for blocks of 32; ours take one range a token.
* The KV cache is f16, llama.cpp's default, unless `--cache-type` says otherwise. Ours is int8: `q8_0` is the nearest.
* llama-bench times `llama_decode` on random ids, without sampling. Each test runs in a process of its own, after the
  warm-up that is llama-bench's default, `REPETITIONS` times; rates are medians.
* "first token" is the wall time of a whole llama-bench process that loads the model and runs one token without a
  warm-up: start of the process, mapping and repacking of the weights, a context for one token, one `llama_decode`,
  exit. The file is read once before, so that it is in the page cache.

llama.cpp's threads wait for each other in busy loops: with as many threads as cores, one other busy process halves the
prefill and makes decoding several times slower. The report's `others_share` says whether there was one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import torch
from measure import Usage, measure
from speed import DEPTHS, NEW_TOKENS, PROMPT_TOKENS, REPETITIONS, THREADS, Rate, SpeedReport, show

from mlp_export.checkpoints.checkpoint import Checkpoint, read_checkpoint
from mlp_export.models.tensors import parameters
from mlp_export.quantization.gguf import add_shape, gguf_name

VERSION = "0.3.36"  # of llama-cpp-python
LLAMA_CPP_COMMIT = "0c1e57098"  # that version's llama.cpp, by its change log
# pip prepares a package's metadata even for a plain download, which for this one means running its build backend.
BUILD_TOOLS = ("cmake==4.0.3", "ninja==1.11.1.4", "scikit-build-core==1.1.2")
CMAKE_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
)
PROGRAMS = ("llama-bench", "llama-quantize", "llama-imatrix")
WORK = Path(__file__).resolve().parent / ".work"

CacheType = Literal["f16", "q8_0"]


@dataclass(frozen=True)
class Tools:
    """The binaries of a native build."""

    bench: Path
    quantize: Path
    imatrix: Path


def build(work: Path = WORK) -> Tools:
    """Fetches and builds llama.cpp below `work`, unless this version is there already.

    Needs a C++ compiler, and pip's index. Raises CalledProcessError where a step fails.
    """
    source, built, programs = work / "src", work / "build", work / "venv" / "bin"
    tools = Tools(*(built / "bin" / name for name in PROGRAMS))
    stamp, recipe = built / "recipe.txt", "\n".join([VERSION, *CMAKE_OPTIONS, *PROGRAMS])
    if stamp.is_file() and stamp.read_text() == recipe:
        return tools
    for folder in (source, built):
        shutil.rmtree(folder, ignore_errors=True)
    venv.create(work / "venv", with_pip=True)
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def step(*command: str | Path) -> None:
        subprocess.run(command, check=True, env=environment, stdout=sys.stderr)

    step(programs / "pip", "install", "--quiet", *BUILD_TOOLS)
    package = f"llama-cpp-python=={VERSION}"
    options = ("--no-deps", "--no-binary=:all:", "--no-build-isolation")
    step(programs / "pip", "download", "--quiet", *options, "--dest", work / "sdist", package)
    with tarfile.open(work / "sdist" / f"llama_cpp_python-{VERSION}.tar.gz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12's Python has none yet
        archive.extractall(source)
    llama_cpp = source / f"llama_cpp_python-{VERSION}" / "vendor" / "llama.cpp"
    step(programs / "cmake", "-G", "Ninja", "-S", llama_cpp, "-B", built, *CMAKE_OPTIONS)
    step(programs / "cmake", "--build", built, "--target", *PROGRAMS)
    stamp.write_text(recipe)
    return tools


def write_gguf(checkpoint: Checkpoint, file: Path) -> None:
    """Writes the weights of a checkpoint as a GGUF without a vocabulary: linears and embedding bf16, norms fp32.

    The architecture `llama` turns pairs of consecutive values, as MobileLLM-Pro does, so q and k stay as they are. It
    has neither a norm of q and k nor local layers.
    """
    config = checkpoint.config
    if config.qk_norm or config.rope_scaling or not config.tied_embeddings or checkpoint.dtype != torch.bfloat16:
        raise ValueError(f"{checkpoint.path}: expected a checkpoint of checkpoint.py, tied, bf16 and without QK norm")
    writer = gguf.GGUFWriter(file, "llama")
    add_shape(writer, config)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_tokenizer_model("none")
    shapes = {name: parameter.shape for name, parameter in parameters(config).items()}
    for name, shape in shapes.items():
        _, dtype, kind = _STORED[len(shape)]
        size = math.prod(shape) * np.dtype(dtype).itemsize
        writer.add_tensor_info(gguf_name(name), shape, np.dtype(dtype), size, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, shape in shapes.items():
        stored, dtype, _ = _STORED[len(shape)]
        writer.write_tensor_data(checkpoint.tensor(name).to(stored).view(torch.uint8).numpy().view(dtype))
    writer.close()


# Dimensions of a tensor -> as torch has it, as numpy takes its bytes (which has no bf16), as GGUF calls it.
_STORED: dict[int, tuple[torch.dtype, Any, gguf.GGMLQuantizationType]] = {
    1: (torch.float32, np.float32, gguf.GGMLQuantizationType.F32),
    2: (torch.bfloat16, np.int16, gguf.GGMLQuantizationType.BF16),
}


def quantize(tools: Tools, source: Path, file: Path, threads: int = THREADS) -> None:
    """Writes the GGUF `source` with all of its matrices in Q4_0."""
    command = [tools.quantize, "--pure", source, file, "Q4_0", str(threads)]
    measure(command, log=file.with_suffix(".log"))


def prepare(tools: Tools, checkpoint: Path, models: Path) -> Path:
    """The Q4_0 file of a checkpoint folder in the folder `models`, made unless it is there and newer."""
    file = models / f"{checkpoint.name}-q4_0.gguf"
    if file.is_file() and file.stat().st_mtime > (checkpoint / "config.json").stat().st_mtime:
        return file
    models.mkdir(parents=True, exist_ok=True)
    unquantized, partial = models / f"{checkpoint.name}-bf16.gguf", file.with_suffix(".partial")
    write_gguf(read_checkpoint(checkpoint), unquantized)
    quantize(tools, unquantized, partial)
    unquantized.unlink()
    return partial.rename(file)


def measure_speed(
    tools: Tools,
    model: Path,
    threads: int = THREADS,
    cache_type: CacheType = "f16",
    repetitions: int = REPETITIONS,
) -> SpeedReport:
    """Runs llama-bench for the prefill, for the first token and for the decoding at each depth."""
    options = ["-m", model, "-o", "json", "-t", str(threads), "-ctk", cache_type, "-ctv", cache_type]

    usages: list[Usage] = []

    def run(*test: str | int) -> list[float]:
        usages.append(measure([tools.bench, *options, *map(str, test)]))
        (result,) = json.loads(usages[-1].stdout)
        return result["samples_ts"]

    prefill = run("-p", PROMPT_TOKENS, "-n", 0, "-r", repetitions)
    (first_rate,) = run("-p", 1, "-n", 0, "-r", 1, "--no-warmup")
    first_token_s = usages[-1].wall_s
    decode = {depth: run("-p", 0, "-n", NEW_TOKENS, "-d", depth, "-r", repetitions) for depth in DEPTHS}
    return SpeedReport(
        runtime=f"llama.cpp {LLAMA_CPP_COMMIT} (llama-cpp-python {VERSION}), {cache_type} cache",
        file_bytes=model.stat().st_size,
        threads=threads,
        prefill=Rate.of(0, PROMPT_TOKENS, prefill),
        decode=[Rate.of(depth, NEW_TOKENS, rates) for depth, rates in decode.items()],
        load_s=first_token_s - 1 / first_rate,
        first_token_s=first_token_s,
        peak_rss_bytes=max(usage.peak_rss_bytes for usage in usages),
        others_share=max(usage.others_share for usage in usages),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures llama.cpp on a checkpoint of checkpoint.py.")
    parser.add_argument("checkpoint", type=Path, help="folder that checkpoint.py wrote")
    parser.add_argument(
        "--models", type=Path, default=WORK / "models", help="folder of the GGUF (default: .work/models)"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="folder for sources and binaries (default: .work)")
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--cache-type", choices=("f16", "q8_0"), default="f16")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--json", type=Path, help="file for the report, besides stdout")
    arguments = parser.parse_args()
    tools = build(arguments.work)
    model = prepare(tools, arguments.checkpoint, arguments.models)
    report = measure_speed(tools, model, arguments.threads, arguments.cache_type, arguments.repetitions)
    show(report.to_json(), arguments.json)


if __name__ == "__main__":
    main()
