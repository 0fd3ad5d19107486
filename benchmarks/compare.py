"""Ours and the peers on one checkpoint of checkpoint.py, in one run, in turn, on one machine that the report names.

    python benchmarks/compare.py prepare CHECKPOINT FOLDER          # exports, builds and converts: an hour or more
    python benchmarks/compare.py measure CHECKPOINT FOLDER --json benchmarks/results/NAME.json      # minutes
    python benchmarks/compare.py table benchmarks/results/*.json    # of one machine or of several

`prepare` exports the checkpoint at context 2048 with an int8 and with an fp32 KV cache, makes llama.cpp's Q4_0 of it,
and converts it for MNN and LiteRT-LM; what is there is kept, but for our own exports. `measure` needs an idle machine:
the row of others' CPU time says whether it was. `--peers` names the peers for either, of which `measure` takes only
those that are prepared; `--export-llm` is the report of
executorch_export_llm.py, whose export takes half an hour and is not repeated here.

Ratios are to llama.cpp. Peers that are slow to measure, all but llama.cpp, take part in the first round only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from machine import Machine
from speed import SpeedReport, show

CONTEXT = 2048
PEERS = ("llama.cpp", "mnn", "litert-lm")
REFERENCE = "llama.cpp Q4_0"
_PREPARED = "prepared.json"  # in the folder: what our exports took, and which peers are ready
_CACHES = ("int8", "fp32")


@dataclass(frozen=True)
class Results:
    """What one machine said. `speed` has a report a round; `exports` what our exports took, by KV cache."""

    machine: Machine
    date: str
    speed: dict[str, list[SpeedReport]]
    exports: dict[str, dict[str, float]]
    export_llm: dict[str, float] | None = None
    # Further rows, such as of a native runner: title -> runtime -> value
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    note: str = ""

    @staticmethod
    def read(file: Path) -> Results:
        values = json.loads(file.read_text())
        values["machine"] = Machine.from_json(values["machine"])
        values["speed"] = {name: [SpeedReport.from_json(r) for r in runs] for name, runs in values["speed"].items()}
        return Results(**values)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def export_ours(checkpoint: Path, out: Path, kv_cache: str, context: int = CONTEXT) -> dict[str, float]:
    """Exports without verifying, as export_llm does: the two are compared."""
    from measure import measure

    command = [sys.executable, "-m", "mlp_export", "--backend", "xnnpack", "--model", str(checkpoint)]
    options = ["--context", str(context), "--kv-cache", kv_cache, "--out", str(out), "--no-verify", "--overwrite"]
    usage = measure([*command, *options, "--quiet"])
    return {key: value for key, value in vars(usage).items() if key != "stdout"}


def prepare(checkpoint: Path, folder: Path, peers: Sequence[str]) -> None:
    """Makes everything that `measure_all` runs. Kept: llama.cpp's build and the peers' files and environments."""
    folder.mkdir(parents=True, exist_ok=True)
    for peer in peers:
        _peer(peer, checkpoint, folder)
    exports = {kv: export_ours(checkpoint, folder / f"ours-{kv}", kv) for kv in _CACHES}
    (folder / _PREPARED).write_text(json.dumps({"exports": exports, "peers": list(peers)}, indent=2))


def _peer(peer: str, checkpoint: Path, folder: Path) -> tuple[str, Callable[[], SpeedReport]]:
    """Its name in the table and its measurement, with everything that it needs made unless it is there."""
    if peer == "llama.cpp":
        import llama_cpp

        tools = llama_cpp.build(folder / "llama.cpp")
        q4_0 = llama_cpp.prepare(tools, checkpoint, folder)
        return REFERENCE, lambda: llama_cpp.measure_speed(tools, q4_0, repetitions=1)
    if peer == "mnn":
        import mnn_llm

        python, config = mnn_llm.prepare(checkpoint, folder)
        return "MNN int4", lambda: mnn_llm.measure_speed(python, config)
    if peer == "litert-lm":
        import litert_lm

        program, file = litert_lm.prepare(checkpoint, folder)
        return "LiteRT-LM int4", lambda: litert_lm.measure_speed(program, file)
    raise SystemExit(f"no peer {peer!r}, choose of {', '.join(PEERS)}")


def measure_all(
    checkpoint: Path, folder: Path, peers: Sequence[str], rounds: int, caches: Sequence[str] = _CACHES
) -> dict[str, list[SpeedReport]]:
    """`rounds` times each runtime in turn."""
    from pte_speed import measure_pte

    def ours(kv: str) -> Callable[[], SpeedReport]:
        return lambda: measure_pte(folder / f"ours-{kv}" / "model.pte", repetitions=1, torch_threads=1)

    runs = {f"ours, {kv} cache": ours(kv) for kv in caches}
    runs |= dict(_peer(peer, checkpoint, folder) for peer in peers)
    reports: dict[str, list[SpeedReport]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            if number == 0 or name.startswith("ours") or name == REFERENCE:
                reports[name].append(run())
                print(f"{name}: {reports[name][-1].to_json()}", file=sys.stderr, flush=True)
    return reports


_MEASURES: Mapping[str, tuple[Callable[[SpeedReport], float], str, bool]] = {  # title -> value, form, whether a ratio
    "prefill of 512, tok/s": (lambda r: r.prefill.tok_s, ".1f", True),
    "decode at 512, tok/s": (lambda r: r.decode[0].tok_s, ".2f", True),
    "decode at 1536, tok/s": (lambda r: r.decode[1].tok_s, ".2f", True),
    "load to first token, s": (lambda r: r.first_token_s, ".2f", True),
    "file, bytes": (lambda r: r.file_bytes, ",.0f", True),
    "peak memory, MB": (lambda r: r.peak_rss_bytes / 1e6, ",.0f", True),
    "CPU time of others, share": (lambda r: r.others_share or 0.0, ".3f", False),
}


def table(results: Results) -> str:
    """Markdown of one machine: a row a measure, a column a runtime; in brackets what it is of llama.cpp's."""
    names = list(results.speed)
    lines = [f"**{results.machine.title()}**, {results.date}", ""]
    lines += [f"| measure | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]

    def row(title: str, values: Mapping[str, float], shown: str, ratio: bool) -> None:
        cells = []
        for name in names:
            cell = format(values[name], shown) if name in values else "-"
            if ratio and name != REFERENCE and {name, REFERENCE} <= values.keys():
                cell += f" ({values[name] / values[REFERENCE]:.2f}x)"
            cells.append(cell)
        lines.append(f"| {title} | {' | '.join(cells)} |")

    for title, (of, shown, ratio) in _MEASURES.items():
        medians = {name: statistics.median(map(of, reports)) for name, reports in results.speed.items()}
        row(title, medians, shown, ratio)
    for title, values in results.rows.items():
        row(title, values, ",.2f", True)
    for kv, usage in results.exports.items():
        line = f"export ({kv} cache, not verified): {usage['user_s']:.0f} s of user CPU time, {usage['wall_s']:.0f} s, "
        line += f"peak memory {usage['peak_rss_bytes'] / 1e9:.2f} GB"
        if results.export_llm:
            peer = results.export_llm["user_s"]
            line += f"; {usage['user_s'] / peer:.3f} times export_llm's {peer:.0f} s"
        lines.append(f"\n{line}.")
    if results.note:
        lines.append(f"\n{results.note}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Ours and the peers, side by side.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("prepare", "measure"):
        command = verbs.add_parser(verb)
        command.add_argument("checkpoint", type=Path, help="of checkpoint.py")
        command.add_argument("folder", type=Path, help="folder for the files that are made")
        if verb == "prepare":
            command.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
        else:
            command.add_argument("--peers", nargs="*", choices=PEERS, help="of those that are prepared (default: all)")
            command.add_argument("--rounds", type=int, default=2)
            command.add_argument("--caches", nargs="+", default=_CACHES, choices=_CACHES)
            command.add_argument("--export-llm", type=Path, help="report of executorch_export_llm.py")
            command.add_argument("--rows", type=Path, help="JSON of further rows: {title: {runtime: value}}")
            command.add_argument("--json", type=Path, help="file for the results")
    verbs.add_parser("table").add_argument("results", type=Path, nargs="+", help="files that `measure` wrote")
    arguments = parser.parse_args()
    if arguments.verb == "prepare":
        prepare(arguments.checkpoint, arguments.folder, arguments.peers)
        return
    if arguments.verb == "table":
        print("\n\n".join(table(Results.read(file)) for file in arguments.results))
        return
    if not (arguments.folder / _PREPARED).is_file():
        raise SystemExit(f"{arguments.folder} has no {_PREPARED}: run `compare.py prepare` first")
    prepared = json.loads((arguments.folder / _PREPARED).read_text())
    peers = prepared["peers"] if arguments.peers is None else arguments.peers
    if not set(peers) <= set(prepared["peers"]):
        raise SystemExit(f"{arguments.folder} is prepared for {', '.join(prepared['peers'])}: run `prepare` for others")
    speed = measure_all(arguments.checkpoint, arguments.folder, peers, arguments.rounds, arguments.caches)
    export_llm = json.loads(arguments.export_llm.read_text())["export"] if arguments.export_llm else None
    rows = json.loads(arguments.rows.read_text()) if arguments.rows else {}
    results = Results(Machine.this(), time.strftime("%Y-%m-%d"), speed, prepared["exports"], export_llm, rows)
    if arguments.json:
        show(results.to_json(), arguments.json)
    print(table(results))


if __name__ == "__main__":
    main()
