"""`bench`: prefill and decode speed of a bundle on this machine."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mlp_export.bundle import Bundle
from mlp_export.errors import UsageError
from mlp_export.generate import prefill
from mlp_export.progress import Progress, peak_rss_bytes
from mlp_export.session import Session, open_session


@dataclass(frozen=True)
class BenchReport:
    """Medians over the repetitions, whose single rates follow: a machine that throttles shows in them as decay."""

    prefill_tokens: int
    prefill_tok_s: float
    decode_position: int  # of the first decoded token
    decode_tokens: int
    decode_tok_s: float
    load_s: float
    first_token_s: float  # load and first prefill
    peak_rss_bytes: int
    threads: int
    prefill_runs_tok_s: list[float]
    decode_runs_tok_s: list[float]
    decay: float  # last decode rate over the first

    def to_json(self) -> dict[str, Any]:
        """The object `bench --json` prints."""
        return asdict(self)


def bench(
    bundle: Bundle,
    progress: Progress,
    *,
    prompt_tokens: int = 512,
    new_tokens: int = 64,
    repetitions: int = 3,
    session: Session | None = None,
) -> BenchReport:
    """Time `repetitions` times a prompt of random tokens from position 0 and the tokens after it.

    Raises UsageError where the tokens do not fit the context or a count is below 1.
    """
    context = bundle.manifest.context
    if min(prompt_tokens, new_tokens, repetitions) < 1:
        raise UsageError("a bench of no tokens or no repetitions", "give counts of 1 or more")
    if prompt_tokens + new_tokens > context:
        raise UsageError(
            f"{prompt_tokens:,} and {new_tokens:,} tokens do not fit the context of {context:,}",
            "give smaller --prompt-tokens and --new-tokens",
        )
    start = time.perf_counter()
    with progress.stage("load"):
        session = session or open_session(bundle)
    load_s = time.perf_counter() - start
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(session.vocab_size, (prompt_tokens + new_tokens,), generator=random).tolist()
    prefill_rates: list[float] = []
    decode_rates: list[float] = []
    first_token_s = 0.0
    with progress.stage("measure", total=repetitions) as stage:
        for _ in range(repetitions):
            start = time.perf_counter()
            prefill(session, ids[:prompt_tokens])
            middle = time.perf_counter()
            for position in range(prompt_tokens, prompt_tokens + new_tokens):
                session.forward(ids[position : position + 1], position)
            end = time.perf_counter()
            first_token_s = first_token_s or load_s + middle - start
            prefill_rates.append(prompt_tokens / (middle - start))
            decode_rates.append(new_tokens / (end - middle))
            stage.advance()
    return BenchReport(
        prefill_tokens=prompt_tokens,
        prefill_tok_s=statistics.median(prefill_rates),
        decode_position=prompt_tokens,
        decode_tokens=new_tokens,
        decode_tok_s=statistics.median(decode_rates),
        load_s=load_s,
        first_token_s=first_token_s,
        peak_rss_bytes=peak_rss_bytes(),
        threads=runtime_threads(),
        prefill_runs_tok_s=prefill_rates,
        decode_runs_tok_s=decode_rates,
        decay=decode_rates[-1] / decode_rates[0],
    )


def runtime_threads() -> int:
    """Threads of the ExecuTorch runtime's pool in this process."""
    from executorch.extension.pybindings.portable_lib import _threadpool_get_thread_count

    return int(_threadpool_get_thread_count())
