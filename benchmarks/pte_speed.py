"""Speed of a `.pte` in ExecuTorch's own Python runtime, ours and export_llm's alike.

    python benchmarks/pte_speed.py FILE.pte [--threads 2] [--torch-threads 2] [--json FILE]

Needs of the program what the stock text runner needs: `forward(tokens [1, S], position [1])` and the constant
`get_vocab_size`. The longest call is what the shape of the tokens allows: export_llm's programs take one token less
than their `get_max_seq_len` says. The prompts are random ids. Loading is timed from the point where Python and its
modules are there to the point where the method is loaded; the memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import executorch.extension.llm.custom_ops.custom_ops  # registers the llama:: kernels
import executorch.kernels.quantized  # noqa: F401  registers the embedding kernels
import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime
from measure import measure
from speed import DEPTHS, NEW_TOKENS, PROMPT_TOKENS, REPETITIONS, THREADS, Rate, SpeedReport, show

from mlp_export.progress import peak_rss_bytes


class _Model:
    """A loaded program."""

    def __init__(self, file: Path) -> None:
        self._program = Runtime.get().load_program(file)
        self._forward = self._program.load_method("forward")
        self.chunk = self._forward.metadata.input_tensor_meta(0).sizes()[1]
        self.vocab_size = int(self._program.load_method("get_vocab_size").execute([])[0])

    def timed(self, ids: torch.Tensor, position: int, chunk: int | None = None) -> float:
        """Seconds for the tokens `ids`, which stand from `position` on, in calls of `chunk` or as long as allowed."""
        start = time.perf_counter()
        chunk = chunk or self.chunk
        for first in range(0, len(ids), chunk):
            self._forward.execute([ids[None, first : first + chunk].contiguous(), torch.tensor([position + first])])
        return time.perf_counter() - start


def measure_here(
    file: Path, threads: int = THREADS, repetitions: int = REPETITIONS, torch_threads: int = THREADS
) -> SpeedReport:
    """Measures in this process; its peak memory is reported, whatever it did before, and `others_share` is unknown."""
    portable_lib._unsafe_reset_threadpool(threads)
    torch.set_num_threads(torch_threads)
    start = time.perf_counter()
    model = _Model(file)
    load_s = time.perf_counter() - start
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(model.vocab_size, (max(PROMPT_TOKENS, *DEPTHS) + NEW_TOKENS,), generator=random)
    first_s = model.timed(ids[:1], 0)
    prompt = ids[:PROMPT_TOKENS]
    model.timed(prompt, 0)
    prefill = [PROMPT_TOKENS / model.timed(prompt, 0) for _ in range(repetitions)]
    decode = []
    for depth in DEPTHS:
        # Slots that were never written take as long to attend to as others. A chunk just before the depth leaves
        # XNNPACK's workspace as large as a whole prompt would: it grows, and is cleared, by the byte otherwise.
        before = max(0, depth - model.chunk)
        model.timed(ids[before:depth], before)
        new = ids[depth : depth + NEW_TOKENS]
        model.timed(new[:1], depth)
        rates = [NEW_TOKENS / model.timed(new, depth, chunk=1) for _ in range(repetitions)]
        decode.append(Rate.of(depth, NEW_TOKENS, rates))
    return SpeedReport(
        runtime=f"executorch {version('executorch')}",
        file_bytes=file.stat().st_size,
        threads=portable_lib._threadpool_get_thread_count(),
        prefill=Rate.of(0, PROMPT_TOKENS, prefill),
        decode=decode,
        load_s=load_s,
        first_token_s=load_s + first_s,
        peak_rss_bytes=peak_rss_bytes(),
        others_share=None,
    )


def measure_pte(
    file: Path, threads: int = THREADS, repetitions: int = REPETITIONS, torch_threads: int = THREADS
) -> SpeedReport:
    """Measures in a process of its own. `torch_threads` are those of torch's OpenMP pool, in which custom_sdpa runs.

    That pool spins beside the runtime's own after each call: programs that hardly use it are faster with 1.
    """
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch, "report.json")
        options = ["--threads", str(threads), "--repetitions", str(repetitions), "--json", str(result), "--here"]
        options += ["--torch-threads", str(torch_threads)]
        usage = measure([sys.executable, __file__, str(file), *options])
        report = SpeedReport.from_json(json.loads(result.read_text()))
    return replace(report, peak_rss_bytes=usage.peak_rss_bytes, others_share=usage.others_share)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures a .pte in ExecuTorch's Python runtime.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--torch-threads", type=int, default=THREADS)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--json", type=Path, help="file for the report, besides stdout")
    parser.add_argument("--here", action="store_true", help="in this process, which has no view of what others did")
    arguments = parser.parse_args()
    run = measure_here if arguments.here else measure_pte
    show(
        run(arguments.file, arguments.threads, arguments.repetitions, arguments.torch_threads).to_json(), arguments.json
    )


if __name__ == "__main__":
    main()
