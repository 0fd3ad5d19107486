"""Executed Arm instructions of a call, ours and export_llm's, without a phone: qemu counts them.

    python benchmarks/arm_instructions.py [--before COMMIT] [--export-llm FOLDER] [--work FOLDER]
                                          [--json FILE] [--markdown FILE] [--profile N]

Files of one and two layers of MobileLLM-Pro's width, with a vocabulary of 2,048, are exported and called on the kernels
that XNNPACK takes on a Galaxy S25. The full model follows from them: one global layer and the rest (G), a local layer
more (LG), a global layer more (GG): G + 21 (LG - G) + 8 (GG - G), and the head's other 200,000 rows, whose cost is the
difference between two vocabularies (G at 6,144 and at 2,048), the same for all: all have the same kernel there.

`--before COMMIT` also measures the files that an older commit writes, `--export-llm FOLDER` those of ExecuTorch's own
exporter, G.pte, LG.pte and GG.pte, which are written there with `executorch_export_llm.py` where they are missing (some
minutes each).

Instructions are no time: they hide waiting for memory, page faults and the threads' fork and join. A call is counted
when the same call was made just before. One thread.
"""

from __future__ import annotations

import argparse
import bisect
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import arm_sdk
import executorch_export_llm
from checkpoint import config_json, write_layers

CALLS = ("128@0", "128@384", "1@512", "1@2000", "1@8000")
KINDS = ("G", "LG", "GG")
CONTEXT, CHUNK = 8192, 128
VOCABULARY, LARGER_VOCABULARY, FULL_VOCABULARY = 2048, 6144, 202_048
LOCAL_LAYERS = config_json()["layer_types"].count("sliding_attention")
GLOBAL_LAYERS = config_json()["layer_types"].count("full_attention")
_REPOSITORY = Path(__file__).resolve().parent.parent
_CHIP = arm_sdk.SNAPDRAGON_8_ELITE


@dataclass(frozen=True)
class Counted:
    """Instructions of one file, by function, for the load and each call; the logits of each call as a hash."""

    functions: Mapping[str, Counter[str]]
    logits: Mapping[str, str]

    def total(self, call: str) -> int:
        """All instructions of a call, or of "load"."""
        return sum(self.functions[call].values())


@dataclass(frozen=True)
class Report:
    """Instructions of the full model, by exporter and call. Ratios are to export_llm, where that was measured."""

    chip: str
    executorch: str
    full_model: dict[str, dict[str, int]]
    ratios: dict[str, dict[str, float]]
    layers: dict[str, dict[str, dict[str, int]]]  # exporter -> kind of file -> call: what was counted
    logits: dict[str, dict[str, dict[str, str]]]  # hashes, to tell whether two exporters answer bit for bit alike
    profile: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)


def count(sdk: arm_sdk.Sdk, model: Path) -> Counted:
    """Counts the load and CALLS of a `.pte`."""
    counts = model.with_suffix(".counts")
    output = arm_sdk.run(sdk, _CHIP, model, CALLS, counts)
    lines, _, maps = output.partition("maps\n")
    places = Places(maps)
    functions = {}
    for label, call in enumerate(("load", *CALLS), start=1):
        found: Counter[str] = Counter()
        file = Path(f"{counts}.{label}")
        for line in file.read_text().splitlines():
            address, instructions, executions = line.split()
            found[places.function(int(address, 16))] += int(instructions) * int(executions)
        file.unlink()
        functions[call] = found
    return Counted(functions, dict(line.split() for line in lines.splitlines()))


class Places:
    """Which function an address of a process belongs to, by the process's map."""

    def __init__(self, maps: str) -> None:
        self.spans: list[tuple[int, int, Path, int]] = []  # start, end, file, where the file begins
        begins: dict[str, int] = {}
        for line in maps.splitlines():
            parts = line.split(None, 5)
            if len(parts) == 6 and parts[5].startswith("/"):
                start, end = (int(part, 16) for part in parts[0].split("-"))
                begin = begins.setdefault(parts[5], start - int(parts[2], 16))
                self.spans.append((start, end, Path(parts[5]), begin))
        self.spans.sort()

    def function(self, address: int) -> str:
        """Its name, or "FILE+0x..." of a hidden one."""
        n = bisect.bisect(self.spans, (address, sys.maxsize)) - 1
        if n < 0 or address >= self.spans[n][1]:
            return "?"
        _, _, path, begin = self.spans[n]
        starts, names = _functions(path)
        at = bisect.bisect(starts, address - begin) - 1
        return names[at] if at >= 0 else f"{path.name}+?"


@cache
def _functions(path: Path) -> tuple[list[int], list[str]]:
    """Where functions begin, and their names: from the unwinding tables, which have the hidden ones, and the dynamic
    symbols.
    """
    found = {}
    for match in re.finditer(r"pc=([0-9a-f]+)\.\.", arm_sdk.tool("readelf", "-W", "--debug-dump=frames", path)):
        start = int(match[1], 16)
        found[start] = f"{path.name}+{start:#x}"
    for line in arm_sdk.tool("nm", "-DC", "--defined-only", path).splitlines():
        parts = line.split(None, 2)
        if len(parts) == 3 and parts[1] in "tTwWi":
            found[int(parts[0], 16)] = parts[2]
    starts = sorted(found)
    return starts, [found[start] for start in starts]


def full_model(files: Mapping[str, Counted], call: str, head: int) -> int:
    """Instructions of a call of the full model, or of its load; `head`: those of the rows that the files lack."""
    one, local, other = (files[kind].total(call) for kind in KINDS)
    return one + LOCAL_LAYERS * (local - one) + (GLOBAL_LAYERS - 1) * (other - one) + head


def profile(files: Mapping[str, Counted], call: str, most: int) -> dict[str, int]:
    """The `most` functions that execute the most in the full model, without the rows of the head that are missing."""
    one, local, other = (files[kind].functions[call] for kind in KINDS)
    sums = {
        name: one[name] + LOCAL_LAYERS * (local[name] - one[name]) + (GLOBAL_LAYERS - 1) * (other[name] - one[name])
        for name in one | local | other
    }
    return dict(Counter(sums).most_common(most))


def export_ours(work: Path, name: str, source: Path) -> dict[str, Path]:
    """The files that mlp_export of the folder `source` writes, by kind; "head" is G with the larger vocabulary."""
    files = {}
    for kind, layers, vocabulary in (*((k, k, VOCABULARY) for k in KINDS), ("head", "G", LARGER_VOCABULARY)):
        files[kind] = work / "files" / name / f"{kind}.pte"
        if files[kind].exists():
            continue
        files[kind].parent.mkdir(parents=True, exist_ok=True)
        script = [sys.executable, str(_REPOSITORY / "benchmarks/arm_export.py")]
        options = [str(_checkpoint(work, layers, vocabulary)), str(files[kind]), str(CONTEXT), str(CHUNK), "int8"]
        subprocess.run([*script, *options], check=True, env={**os.environ, "PYTHONPATH": str(source)})
    return files


def export_peer(work: Path, folder: Path) -> dict[str, Path]:
    """export_llm's files in `folder`, by kind."""
    files = {kind: folder / f"{kind}.pte" for kind in KINDS}
    for kind, file in files.items():
        if not file.exists():
            out = work / f"export_llm-{kind}"
            executorch_export_llm.export(_checkpoint(work, kind, VOCABULARY), out, CONTEXT)
            folder.mkdir(parents=True, exist_ok=True)
            (out / executorch_export_llm.PROGRAM).rename(file)
    return files


def _checkpoint(work: Path, layers: str, vocabulary: int) -> Path:
    folder = work / "checkpoints" / f"{layers}-{vocabulary}-int4-cpu"
    return folder if (folder / "config.json").exists() else write_layers(folder, layers, vocabulary)


def checkout(work: Path, commit: str) -> Path:
    """The files of a commit, in a folder of their own."""
    folder = work / "commits" / commit
    if not folder.is_dir():
        archive = subprocess.run(["git", "archive", commit], cwd=_REPOSITORY, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12's Python has none yet
            tar.extractall(folder)
    return folder


def compare(work: Path, before: str | None, export_llm: Path | None, most: int) -> Report:
    """Measures what is asked for. Files in `work` are taken as they are, but ours of today are written anew."""
    sdk = arm_sdk.prepare(work)
    for old in (work / "files" / "now").glob("*.pte"):
        old.unlink()
    models = {"now": export_ours(work, "now", _REPOSITORY)}
    if before:
        models["before"] = export_ours(work, before, checkout(work, before))
    if export_llm:
        models["export_llm"] = export_peer(work, export_llm)
    counted = {name: {kind: count(sdk, file) for kind, file in files.items()} for name, files in models.items()}

    rows, missing = LARGER_VOCABULARY - VOCABULARY, FULL_VOCABULARY - VOCABULARY
    head = {
        call: missing * (counted["now"]["head"].total(call) - counted["now"]["G"].total(call)) // rows
        for call in ("load", *CALLS)
    }
    return report(counted, head, most)


def report(counted: Mapping[str, Mapping[str, Counted]], head: Mapping[str, int], most: int) -> Report:
    """The report of files by exporter and kind; `head`: instructions of the rows that their heads lack, by call."""
    full = {
        name: {call: full_model(files, call, head[call]) for call in ("load", *CALLS)}
        for name, files in counted.items()
    }
    peer = full.get("export_llm", {})
    return Report(
        chip=_CHIP.name,
        executorch=arm_sdk.version("executorch"),
        full_model=full,
        ratios={
            name: {call: round(number / peer[call], 3) for call, number in numbers.items()}
            for name, numbers in full.items()
            if peer and name != "export_llm"
        },
        layers={
            name: {kind: {call: file.total(call) for call in file.functions} for kind, file in files.items()}
            for name, files in counted.items()
        },
        logits={name: {kind: dict(file.logits) for kind, file in files.items()} for name, files in counted.items()},
        profile={
            name: {call: profile(files, call, most) for call in ("load", *CALLS)} for name, files in counted.items()
        },
    )


def markdown(report: Report) -> str:
    """The report as a table."""
    names = [name for name in ("now", "before", "export_llm") if name in report.full_model]
    lines = [
        f"Executed instructions (millions), MobileLLM-Pro's shape, kernels of the {report.chip}, one thread, "
        f"executorch {report.executorch}.",
        "",
        "| call | " + " | ".join([*names, *(f"{name} : export_llm" for name in report.ratios)]) + " |",
        "|---" * (1 + len(names) + len(report.ratios)) + "|",
    ]
    for call in report.full_model["now"]:
        cells = [f"{report.full_model[name][call] / 1e6:,.0f}" for name in names]
        cells += [f"{ratios[call]:.3f}" for ratios in report.ratios.values()]
        lines.append(f"| {call} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Counts the Arm instructions of a call.")
    parser.add_argument("--before", help="a commit whose files are measured, too")
    parser.add_argument("--export-llm", type=Path, help="folder of export_llm's G.pte, LG.pte and GG.pte")
    parser.add_argument("--work", type=Path, default=_REPOSITORY / "build" / "arm")
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--markdown", type=Path, help="file for the table")
    parser.add_argument("--profile", type=int, default=12, help="functions of a call in the report (default: 12)")
    asked = parser.parse_args(arguments)
    report = compare(asked.work.resolve(), asked.before, asked.export_llm, asked.profile)
    if asked.json:
        asked.json.write_text(json.dumps(asdict(report), indent=1) + "\n")
    if asked.markdown:
        asked.markdown.write_text(markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    main()
