"""What is measured of each runtime, so that the numbers of one stand beside those of another."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROMPT_TOKENS = 512
DEPTHS = (512, 1536)
NEW_TOKENS = 64
REPETITIONS = 3
THREADS = 2


@dataclass(frozen=True)
class Rate:
    """Tokens a second after `depth` tokens: the median of the repetitions, which follow."""

    depth: int
    tokens: int  # of one repetition
    tok_s: float
    runs_tok_s: list[float]

    @classmethod
    def of(cls, depth: int, tokens: int, runs_tok_s: list[float]) -> Rate:
        return cls(depth, tokens, statistics.median(runs_tok_s), runs_tok_s)


@dataclass(frozen=True)
class SpeedReport:
    """Speed and memory of one model file in one runtime."""

    runtime: str
    file_bytes: int
    threads: int
    prefill: Rate  # from an empty cache, after a warm-up
    decode: list[Rate]  # one token a call, after a warm-up
    load_s: float | None  # of `first_token_s`, what comes before the call
    first_token_s: float  # loading and one call with one token; the file is in the page cache
    peak_rss_bytes: int  # pages of a mapped file count
    others_share: float | None  # of the CPU time of the machine, taken by other processes: a disturbed measurement

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SpeedReport:
        decode = [Rate(**rate) for rate in values["decode"]]
        return cls(**{**values, "prefill": Rate(**values["prefill"]), "decode": decode})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def show(report: Mapping[str, Any], file: Path | None) -> None:
    """Prints a report as JSON and writes it to `file` where given."""
    text = json.dumps(report, indent=2)
    print(text)
    if file:
        file.write_text(text + "\n")
