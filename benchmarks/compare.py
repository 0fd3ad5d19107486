"""Ours and the peers on one checkpoint of checkpoint.py, in one run, alternating, as a table of ratios.

    python benchmarks/compare.py CHECKPOINT FOLDER [--rounds 2] [--export-llm FILE.json] [--markdown FILE]

Exports the checkpoint at context 2048 with an int8 and with an fp32 KV cache, makes llama.cpp's Q4_0 of it, and
measures the three in turn. `--export-llm` is the report of executorch_export_llm.py, whose export takes half an hour
and is not repeated here. The machine has to be idle: the row of others' CPU time says whether it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
from measure import Usage, measure
from pte_speed import measure_pte
from speed import SpeedReport, show

CONTEXT = 2048


@dataclass(frozen=True)
class Measured:
    """One runtime's reports, a round each."""

    name: str
    reports: list[SpeedReport]

    def median(self, of: Callable[[SpeedReport], float]) -> float:
        return statistics.median(of(report) for report in self.reports)


def export_ours(checkpoint: Path, out: Path, kv_cache: str, context: int = CONTEXT) -> Usage:
    """Exports without verifying, as export_llm does: the two are compared."""
    command = [sys.executable, "-m", "mlp_export", "--backend", "xnnpack", "--model", str(checkpoint)]
    options = ["--context", str(context), "--kv-cache", kv_cache, "--out", str(out), "--no-verify", "--overwrite"]
    return measure([*command, *options, "--quiet"])


def compare(checkpoint: Path, folder: Path, rounds: int) -> tuple[dict[str, Usage], list[Measured]]:
    """Exports, then `rounds` times each runtime in turn."""
    exports = {kv: export_ours(checkpoint, folder / f"ours-{kv}", kv) for kv in ("int8", "fp32")}
    tools = llama_cpp.build()
    q4_0 = llama_cpp.prepare(tools, checkpoint, folder)

    def ours(kv: str) -> Callable[[], SpeedReport]:
        return lambda: measure_pte(folder / f"ours-{kv}" / "model.pte", repetitions=1, torch_threads=1)

    runs: dict[str, Callable[[], SpeedReport]] = {
        "ours, int8 cache": ours("int8"),
        "llama.cpp Q4_0": lambda: llama_cpp.measure_speed(tools, q4_0, repetitions=1),
        "ours, fp32 cache": ours("fp32"),
    }
    reports: dict[str, list[SpeedReport]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            reports[name].append(run())
            print(f"{name}: {reports[name][-1].to_json()}", file=sys.stderr, flush=True)
    return exports, [Measured(name, found) for name, found in reports.items()]


def table(exports: dict[str, Usage], measured: list[Measured], export_llm: dict[str, float] | None) -> str:
    """Markdown: a row a measure, a column a runtime; ratios are to llama.cpp's, and to export_llm's for the export."""
    by_name = {entry.name: entry for entry in measured}
    reference = by_name["llama.cpp Q4_0"]
    lines = [f"| measure | {' | '.join(by_name)} |", "|---" * (len(by_name) + 1) + "|"]

    def row(title: str, of: Callable[[SpeedReport], float], shown: str, ratio: bool = True) -> None:
        cells = []
        for entry in measured:
            value = entry.median(of)
            cell = format(value, shown)
            if ratio and entry is not reference:
                cell += f" ({value / reference.median(of):.2f}x)"
            cells.append(cell)
        lines.append(f"| {title} | {' | '.join(cells)} |")

    row("prefill of 512, tok/s", lambda r: r.prefill.tok_s, ".1f")
    row("decode at 512, tok/s", lambda r: r.decode[0].tok_s, ".2f")
    row("decode at 1536, tok/s", lambda r: r.decode[1].tok_s, ".2f")
    row("load to first token, s", lambda r: r.first_token_s, ".2f")
    row("file, bytes", lambda r: r.file_bytes, ",.0f", ratio=False)
    row("peak memory, MB", lambda r: r.peak_rss_bytes / 1e6, ",.0f", ratio=False)
    row("CPU time of others, share", lambda r: r.others_share or 0.0, ".3f", ratio=False)
    for kv, usage in exports.items():
        line = f"export ({kv} cache, not verified): {usage.user_s:.0f} s of user CPU time, {usage.wall_s:.0f} s, "
        line += f"peak memory {usage.peak_rss_bytes / 1e9:.2f} GB"
        if export_llm:
            line += f"; {usage.user_s / export_llm['user_s']:.3f} times export_llm's {export_llm['user_s']:.0f} s"
        lines.append(f"\n{line}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Ours and the peers, side by side.")
    parser.add_argument(
        "checkpoint", type=Path, help="folder that checkpoint.py wrote; its name should end in int4-cpu"
    )
    parser.add_argument("folder", type=Path, help="folder for the files that are made")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--export-llm", type=Path, help="report of executorch_export_llm.py")
    parser.add_argument("--markdown", type=Path, help="file for the table, besides stdout")
    parser.add_argument("--json", type=Path, help="file for the reports")
    arguments = parser.parse_args()
    exports, measured = compare(arguments.checkpoint, arguments.folder, arguments.rounds)
    export_llm = json.loads(arguments.export_llm.read_text()) if arguments.export_llm else None
    text = table(exports, measured, export_llm)
    if arguments.json:
        reports = {entry.name: [report.to_json() for report in entry.reports] for entry in measured}
        show({"exports": {kv: vars(usage) for kv, usage in exports.items()}, "speed": reports}, arguments.json)
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text + "\n")


if __name__ == "__main__":
    main()
