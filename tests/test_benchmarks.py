"""What the benchmarks say of machines and peers. The peers themselves run by hand: see benchmarks/README.md."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import compare  # noqa: E402
from litert_lm import parse  # noqa: E402
from machine import Machine, parse_cpuinfo  # noqa: E402

ZEN_3 = Machine("AMD EPYC", "25", "1", 2, ["AVX2"], 1, "Linux x86_64")
CPUINFO = (
    "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2\n\nprocessor\t: 1\n"
)
LITERT = "Prefill speed:        516.24 tokens/s\nDecode speed:         49.38 tokens/s\nInit time:            1.0907 s\n"


def test_a_table_names_its_machine_and_what_it_lacks() -> None:
    assert ZEN_3.title() == "AMD EPYC (family 25, model 1), 2 cores, AVX2, no VNNI"
    assert "no VNNI" not in replace(ZEN_3, extensions=["AVX2", "AVX-512 VNNI"]).title()
    fields = parse_cpuinfo(CPUINFO)
    assert (fields["model"], fields["model name"], fields["cpu family"]) == ("1", "AMD EPYC", "25")
    assert Machine.this().cores >= 1


def test_ratios_are_to_llama_cpp() -> None:
    results = compare.Results.read(BENCHMARKS / "results" / "x86-zen1.json")
    lines = compare.table(results).splitlines()
    assert "Zen 1" in lines[0]
    row = next(line for line in lines if line.startswith("| prefill"))
    assert row == "| prefill of 512, tok/s | 22.7 (0.79x) | 28.6 | 22.4 (0.78x) |"
    native = compare.table(replace(results, rows={"load, native, s": {"ours, int8 cache": 1.0}}))
    assert "| load, native, s | 1.00 | - | - |" in native


def test_a_peers_output_is_read_or_refused() -> None:
    assert parse(LITERT) == {"prefill": 516.24, "decode": 49.38, "init": 1.0907}
    with pytest.raises(ValueError, match="Decode speed"):
        parse(LITERT.replace("Decode", "Code"))


def test_measuring_what_is_not_prepared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*more: str) -> None:
        monkeypatch.setattr(sys, "argv", ["compare.py", "measure", str(tmp_path), str(tmp_path), *more])
        compare.main()

    with pytest.raises(SystemExit, match="prepare"):
        measure()
    (tmp_path / "prepared.json").write_text('{"exports": {}, "peers": ["llama.cpp"]}')
    with pytest.raises(SystemExit, match=r"prepared for llama\.cpp"):
        measure("--peers", "mnn")
