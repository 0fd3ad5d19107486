"""The small verbs: bench, doctor, models, and what they share: progress and resources."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from fake_backend import FakeSession, write_bundle
from phone_runtime import forms
from small_checkpoints import VOCAB_SIZE

import mlp_export.backends.base as base_module
import mlp_export.devices.doctor as doctor_module
import mlp_export.resources as resources_module
from mlp_export.backends.base import Requirement, delegates
from mlp_export.bundle.bundle import Bundle
from mlp_export.checkpoints.catalog import list_models
from mlp_export.devices.doctor import doctor
from mlp_export.errors import ResourceError, UsageError
from mlp_export.evaluation.bench import bench
from mlp_export.progress import Progress, peak_rss_bytes
from mlp_export.resources import free_disk_bytes, human_bytes, require
from mlp_export.versions import Dependency, installed_version

QUIET = Progress()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "my bundle")


# bench


def test_bench_measures_what_it_says(bundle: Bundle) -> None:
    session = FakeSession({})
    report = bench(bundle, QUIET, prompt_tokens=20, new_tokens=5, repetitions=3, session=session)
    once = [(8, 0), (8, 8), (4, 16), *((1, position) for position in range(20, 25))]
    assert session.calls == once * 3
    assert (report.prefill_tokens, report.decode_position, report.decode_tokens) == (20, 20, 5)
    assert len(report.prefill_runs_tok_s) == len(report.decode_runs_tok_s) == 3
    assert report.prefill_tok_s == sorted(report.prefill_runs_tok_s)[1]
    assert report.decode_tok_s == sorted(report.decode_runs_tok_s)[1]
    assert report.decay == report.decode_runs_tok_s[2] / report.decode_runs_tok_s[0]
    assert report.first_token_s > report.load_s >= 0
    assert report.threads >= 1 and report.peak_rss_bytes > 10_000_000


def test_bench_feeds_the_same_tokens_each_time(bundle: Bundle) -> None:
    first, second = FakeSession({}), FakeSession({})
    for session in (first, second):
        bench(bundle, QUIET, prompt_tokens=20, new_tokens=5, repetitions=1, session=session)
    assert first.fed == second.fed and len(set(first.fed)) > 10
    assert min(first.fed) >= 0 and max(first.fed) < VOCAB_SIZE


def test_bench_json(bundle: Bundle) -> None:
    values = bench(bundle, QUIET, prompt_tokens=2, new_tokens=2, session=FakeSession({})).to_json()
    keys = "prefill_tokens prefill_tok_s decode_position decode_tok_s load_s peak_rss_bytes threads".split()
    assert set(keys) <= set(values)
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_bench_measures_load_and_memory_in_a_bare_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = forms.exported(forms.FORMS[0])
    manifest = SimpleNamespace(
        context=forms.CONTEXT,
        prefill_chunk=forms.CHUNK,
        backend=SimpleNamespace(name="xnnpack"),
        model=SimpleNamespace(shape={"vocab_size": VOCAB_SIZE}),
    )
    exported: Any = SimpleNamespace(manifest=manifest, pte=path)
    native: Any = bench(exported, Progress.on_stderr(), prompt_tokens=20, new_tokens=2, repetitions=1)
    assert native.measured_in == "native" and native.load_s == native.warm_load_s > 0 and native.cold_load_s > 0
    # The program's weights and caches, without what the interpreter and its packages take.
    assert path.stat().st_size / 2 < native.anonymous_bytes < native.resident_bytes < 100_000_000
    assert native.resident_bytes < native.peak_rss_bytes < 150_000_000
    assert "are measured in Python" not in capsys.readouterr().err

    monkeypatch.setenv("CXX", "no-such-compiler")
    python = bench(exported, Progress.on_stderr(), prompt_tokens=20, new_tokens=2, repetitions=1)
    assert (python.measured_in, python.cold_load_s) == ("python", None)
    assert python.resident_bytes is None and python.anonymous_bytes is None
    assert python.load_s == python.warm_load_s > 0 and python.peak_rss_bytes > 150_000_000
    said = [line for line in capsys.readouterr().err.splitlines() if "are measured in Python" in line]
    assert said == [
        "load and memory are measured in Python: no C++ compiler was found ($CXX, g++, c++, clang++) "
        "(sudo apt-get install g++)"
    ]


def test_doctor_tells_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", sys.executable)
    assert doctor("xnnpack").to_json()["compiler"] == sys.executable
    monkeypatch.setenv("CXX", "no-such-compiler")
    report = doctor("xnnpack")
    assert report.compiler == "" and report.ok == all(group.ok for group in report.requirements["xnnpack"])


def test_bench_may_fill_the_context(bundle: Bundle) -> None:
    session = FakeSession({})
    bench(bundle, QUIET, prompt_tokens=60, new_tokens=4, repetitions=1, session=session)
    assert len(session.fed) == 64


@pytest.mark.parametrize(
    ("prompt_tokens", "new_tokens", "repetitions", "said"),
    [
        (61, 4, 1, "do not fit the context of 64"),
        (512, 64, 3, "do not fit"),
        (0, 4, 1, "no tokens"),
        (4, 0, 1, "no tokens"),
        (4, 4, 0, "no repetitions"),
        (-1, 4, 1, "no tokens"),
    ],
)
def test_bench_counts_out_of_range(
    bundle: Bundle, prompt_tokens: int, new_tokens: int, repetitions: int, said: str
) -> None:
    session = FakeSession({})
    with pytest.raises(UsageError, match=said):
        bench(
            bundle,
            QUIET,
            prompt_tokens=prompt_tokens,
            new_tokens=new_tokens,
            repetitions=repetitions,
            session=session,
        )
    assert session.calls == []


# doctor


def test_doctor_looks_at_python_and_each_backend(tmp_path: Path) -> None:
    report = doctor(folder=tmp_path / "not" / "there" / "yet")
    assert list(report.requirements) == ["python", *delegates()]
    assert {entry.name for entry in report.requirements["xnnpack"]} >= {"torch", "executorch", "torchao"}
    assert report.ok == any(all(entry.ok for entry in report.requirements[name]) for name in delegates())
    assert report.ok, "this very environment"
    assert report.cores >= 1 and report.available_ram_bytes > 0 and report.free_disk_bytes > 0
    assert report.packages["tokenizers"] and report.packages["numpy"]


def test_doctor_tells_versions_that_were_not_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    fine, other = Dependency("numpy", "2.4.6", ">=2,<3", "2.4.6"), Dependency("rich", "16.0", ">=14", "15.0.0")
    monkeypatch.setattr(doctor_module, "dependencies", lambda: [fine, other])
    report = doctor("xnnpack")
    assert report.packages == {"mlp-export": installed_version("mlp-export"), "numpy": "2.4.6", "rich": "16.0"}
    assert report.untested == ["rich 16.0 was not tested, 15.0.0 was"]
    assert report.ok, "supported, if not tested"


def test_doctor_json() -> None:
    values = doctor("xnnpack").to_json()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert set(values["requirements"]["python"][0]) == {"name", "found", "wanted", "install", "ok"}


def test_doctor_tells_how_to_get_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"torch": "2.13.1+cpu", "executorch": "1.0.0", "torchao": ""}
    monkeypatch.setattr(base_module, "installed_version", installed.__getitem__)
    report = doctor("xnnpack")
    found = {entry.name: entry for entry in report.requirements["xnnpack"]}
    assert not report.ok
    assert found["torch"].ok
    assert not found["executorch"].ok and found["executorch"].found == "1.0.0"
    assert found["torchao"] == Requirement("torchao", "", ">=0.18,<0.19", "pip install torchao==0.18.0", False)


def test_doctor_on_a_python_without_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, ok in (((3, 10, 9), False), ((3, 11, 0), True), ((3, 13, 5), True), ((3, 14, 0), False)):
        monkeypatch.setattr(doctor_module, "sys", SimpleNamespace(version_info=version))
        report = doctor("xnnpack")
        assert report.requirements["python"][0].ok == report.ok == ok


def test_doctor_of_an_unknown_backend() -> None:
    with pytest.raises(UsageError, match="no backend 'qqq'"):
        doctor("qqq")


# models


def test_models() -> None:
    default_of = {name: delegate.default_model for name, delegate in delegates().items()}
    rows = list_models(default_of)
    aliases = [row.alias for row in rows]
    assert len(set(aliases)) == len(aliases) and aliases[0] == "demo"
    assert all(row.description and row.license for row in rows)
    assert {backend: row.alias for row in rows for backend in row.default_of} == default_of
    assert all(row.source.count("/") == 1 for row in rows)
    demo = json.loads(json.dumps([row.to_json() for row in rows]))[0]
    assert demo["source"] == "HuggingFaceTB/SmolLM2-135M-Instruct"


# progress


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_quiet_shows_nothing_and_keeps_records(capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    with progress.stage("load", total=2) as stage:
        stage.advance()
    progress.note("a note")
    assert capfd.readouterr() == ("", "")
    assert [record.name for record in progress.stages] == ["load"]


@pytest.mark.usefixtures("no_terminal")
def test_without_a_terminal_each_finished_stage_is_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress.on_stderr()
    with progress.stage("outer", total=2) as stage:
        stage.advance(2)
        with progress.stage("inner"):
            pass
    progress.note("[bold]a note[/bold] of " + "many words " * 20)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == 3
    assert lines[0].startswith("inner: 0.0 s, peak memory ") and lines[1].startswith("outer: ")
    assert lines[2].startswith("[bold]a note[/bold] of many")
    assert [record.name for record in progress.stages] == ["inner", "outer"]
    assert progress.stages[1].seconds >= progress.stages[0].seconds >= 0


@pytest.mark.usefixtures("no_terminal")
def test_a_stage_that_fails_is_no_finished_one(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress.on_stderr()
    with pytest.raises(ValueError, match="boom"), progress.stage("load"):
        raise ValueError("boom")
    assert progress.stages == [] and capsys.readouterr().err == ""


def test_on_a_terminal_stages_are_bars_that_end_with_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    progress = Progress.on_stderr()
    for fails in (True, False):
        try:
            with progress.stage("load", total=3) as stage:
                stage.advance(3)
                if fails:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
    out, err = capsys.readouterr()
    assert out == "" and "load" in err and "3/3" in err and "peak memory" not in err
    assert [record.name for record in progress.stages] == ["load"]


def test_peak_memory_is_in_bytes_and_never_falls() -> None:
    before = peak_rss_bytes()
    block = torch.zeros(50_000_000)
    block += 1
    assert peak_rss_bytes() >= before
    assert peak_rss_bytes() >= psutil.Process().memory_info().rss * 0.9


# resources


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (612_000_000, "612 MB"),
        (999_500_000, "1.00 GB"),
        (-1500, "-2 kB"),
        (12_345_000_000, "12.35 GB"),
    ],
)
def test_human_bytes(count: int, text: str) -> None:
    assert human_bytes(count) == text


def test_require(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "not" / "there"
    monkeypatch.setattr(resources_module.psutil, "virtual_memory", lambda: SimpleNamespace(available=2_000_000_000))
    monkeypatch.setattr(resources_module.shutil, "disk_usage", lambda path: SimpleNamespace(free=500_000_000))
    require(2_000_000_000, 500_000_000, folder)
    with pytest.raises(ResourceError, match=r"needs 3.00 GB of memory, 2.00 GB are available") as caught:
        require(3_000_000_000, 0, folder)
    assert "--context" in caught.value.hint and caught.value.exit_code == 5
    with pytest.raises(ResourceError, match=r"needs 501 MB of disk, 500 MB are free at .*/not/there") as caught:
        require(0, 501_000_000, folder)
    assert "--out" in caught.value.hint


def test_free_space_is_that_of_the_nearest_folder_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def usage(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(free=7)

    monkeypatch.setattr(resources_module.shutil, "disk_usage", usage)
    monkeypatch.chdir(tmp_path)
    assert free_disk_bytes(tmp_path / "a" / "b") == free_disk_bytes(Path("c")) == 7
    assert asked == [tmp_path, tmp_path]
