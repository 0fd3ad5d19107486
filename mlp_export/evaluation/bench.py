"""`bench`: prefill and decode speed of a bundle on this machine."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from mlp_export.backends.base import get_backend, open_session
from mlp_export.bundle.bundle import Bundle
from mlp_export.errors import MissingError, UsageError
from mlp_export.program.executorch_private import threadpool_threads
from mlp_export.progress import Progress, peak_rss_bytes
from mlp_export.runtime.generate import prefill
from mlp_export.runtime.native_runner import (
    MEMORY,
    RunnerOptions,
    build_runner,
    call,
    drop_from_page_cache,
    host_sdk,
    load,
)
from mlp_export.runtime.session import Session

# As phones load a program: mapped, and with XNNPACK's weights cache.
_AS_ON_A_PHONE = RunnerOptions("mmap", weights_cache=True)


@dataclass(frozen=True)
class LoadReport:
    """What loading a program and a prefill take. Natively, all of it is that of a bare C++ process; in Python, memory
    is that of the interpreter and its packages as well.
    """

    measured_in: Literal["native", "python"]
    load_s: float  # the file in the page cache
    cold_load_s: float | None  # the file dropped from the page cache before; None where that was not measured
    first_token_s: float  # load and first prefill
    resident_bytes: int | None  # that the program adds to the process, after the prefill
    anonymous_bytes: int | None  # of these, the part without a file behind it: the system cannot drop it
    peak_rss_bytes: int  # of the whole process


@dataclass(frozen=True)
class BenchReport:
    """Medians over the repetitions, whose single rates follow: a machine that throttles shows in them as decay.

    Rates are measured in Python, load and memory as `measured_in` says (see LoadReport).
    """

    prefill_tokens: int
    prefill_tok_s: float
    decode_position: int  # of the first decoded token
    decode_tokens: int
    decode_tok_s: float
    measured_in: Literal["native", "python"]
    load_s: float  # warm_load_s, under the name that it had first
    cold_load_s: float | None
    warm_load_s: float
    first_token_s: float  # load and first prefill
    resident_bytes: int | None
    anonymous_bytes: int | None
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
    given, start = session, time.perf_counter()
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
    in_python = LoadReport("python", load_s, None, first_token_s, None, None, peak_rss_bytes())
    loaded = in_python if given else _load_natively(bundle, ids[:prompt_tokens], progress) or in_python
    return BenchReport(
        prefill_tokens=prompt_tokens,
        prefill_tok_s=statistics.median(prefill_rates),
        decode_position=prompt_tokens,
        decode_tokens=new_tokens,
        decode_tok_s=statistics.median(decode_rates),
        measured_in=loaded.measured_in,
        load_s=loaded.load_s,
        cold_load_s=loaded.cold_load_s,
        warm_load_s=loaded.load_s,
        first_token_s=loaded.first_token_s,
        resident_bytes=loaded.resident_bytes,
        anonymous_bytes=loaded.anonymous_bytes,
        peak_rss_bytes=loaded.peak_rss_bytes,
        threads=threadpool_threads(),
        prefill_runs_tok_s=prefill_rates,
        decode_runs_tok_s=decode_rates,
        decay=decode_rates[-1] / decode_rates[0],
    )


def _load_natively(bundle: Bundle, prompt: list[int], progress: Progress) -> LoadReport | None:
    """Load and prefill in the native runner, cold and then warm; None, with a note why, where it cannot be had."""
    library = get_backend(bundle.manifest.backend.name).runtime.notes.native_library
    if not library:
        return None
    chunk = bundle.manifest.prefill_chunk
    script = [MEMORY, load(bundle.pte), MEMORY]
    script += [call(prompt[at : at + chunk], at) for at in range(0, len(prompt), chunk)]
    options = replace(_AS_ON_A_PHONE, threads=threadpool_threads())
    try:
        with progress.stage("load in a bare process"):
            runner = build_runner(host_sdk(library))
            drop_from_page_cache(bundle.pte)
            cold = runner.run(script[:2], options)
            warm = runner.run([*script, MEMORY], options)
    except MissingError as error:
        progress.note(f"load and memory are measured in Python: {error.message} ({error.hint})")
        return None
    before, after = warm.memory[0], warm.memory[-1]
    return LoadReport(
        "native",
        warm.load_s[0],
        cold.load_s[0],
        warm.load_s[0] + sum(warm.call_s),
        after.resident_bytes - before.resident_bytes,
        after.anonymous_bytes - before.anonymous_bytes,
        after.peak_bytes,
    )
