"""`report`, and the records of runs that it is made of: what is in it, and what must not be."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from small_checkpoints import write_checkpoint
from typer.testing import CliRunner

import mlp_export.run_record as run_record_module
from mlp_export.cli.app import app
from mlp_export.cli.reporting import reporting
from mlp_export.devices.bug_report import bug_report
from mlp_export.redaction import redact
from mlp_export.run_record import RunRecord, read_records

ROOT = Path(__file__).parents[2]
SECRET = "s3cr3t-value"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "mlp-export"


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> tuple[int, str, str]:
    """A command in this process, whose command line it is."""
    line = [str(word) for word in words]
    monkeypatch.setattr(sys, "argv", ["mlp-export", *line])
    done = CliRunner().invoke(app, line, prog_name="mlp-export")
    return done.exit_code, done.stdout, done.stderr


def written(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_text())
    assert isinstance(values, dict)
    return values


def test_a_refused_export(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is needed to see why: the command, the error with its traceback, the config, the tokenizer's kinds."""
    model = write_checkpoint(tmp_path / "model", _name_or_path="/home/alice/x")
    code, _, err = run(monkeypatch, "--backend", "xnnpack", "--model", model, "--context", "999999", "--quiet")
    assert code == 2 and "report" not in err  # no noise where the error says what to do
    code, out, _ = run(monkeypatch, "report", "--out", tmp_path / "r.json", "--json")
    assert code == 0
    told, values = json.loads(out), written(tmp_path / "r.json")
    assert told["report"] == str(tmp_path / "r.json") and told["bytes"] == (tmp_path / "r.json").stat().st_size
    (found,) = values["runs"]
    assert found["command"][:2] == ["--backend", "xnnpack"] and found["exit_code"] == 2
    assert found["error"]["kind"] == "UsageError" and "999,999" in found["error"]["message"]
    assert any("_resolve_export" in line for line in found["error"]["traceback"])
    assert found["model"]["config"] == json.loads((model / "config.json").read_text()) | {"_name_or_path": "~/x"}
    assert found["model"]["tokenizer"]["model"] == "BPE" and found["model"]["tokenizer"]["decoder"] == "ByteLevel"
    assert found["model"]["files"]["model.safetensors"] == (model / "model.safetensors").stat().st_size
    assert "chat_template" not in found["model"]["tokenizer_config.json"]
    assert values["versions"]["packages"]["torch"] and values["system"]["available_ram_bytes"] > 0
    assert "exit code 2" in told["last_run"]
    (kept,) = state.glob("run-*.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_stages_and_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_checkpoint(tmp_path / "model", num_hidden_layers=2)
    monkeypatch.setattr("mlp_export.pipeline.measure_quantization_error", None)  # fails behind the program
    line: list[str | Path] = ["--backend", "xnnpack", "--model", model, "--context", "64"]
    line += ["--quantizer", "nearest", "--out", "b"]
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *line, "--quiet")[0] == 1
    (found,) = bug_report()["runs"]
    assert [stage["name"] for stage in found["stages"]][:2] == ["read the checkpoint", "quantize"]
    assert all(stage["seconds"] >= 0 and stage["peak_rss_bytes"] > 0 for stage in found["stages"])
    assert any("needs" in line and "of memory" in line for line in found["log"])  # the plan
    assert any("BuildOptions(context=64" in line for line in found["log"])


def test_nothing_of_the_record_is_shown(tmp_path: Path) -> None:
    """Not in a process of its own either, where libraries write what they log to stderr."""
    model = write_checkpoint(tmp_path / "model", num_hidden_layers=1)
    command = [sys.executable, "-m", "mlp_export", "--backend", "xnnpack", "--model", str(model), "--context", "64"]
    command += ["--quantizer", "nearest", "--out", str(tmp_path / "bundle"), "--no-verify", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    (found,) = read_records()
    assert any("needs" in line for line in found["log"])


@pytest.mark.parametrize(
    ("number", "code"), [(errno.EAGAIN, 5), (errno.ENOMEM, 5), (errno.EMFILE, 5), (errno.ENFILE, 5), (errno.EXDEV, 1)]
)
def test_a_system_that_refuses(
    number: int, code: int, broken: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(OSError(number, os.strerror(number)))
    found, _, err = run(monkeypatch, "inspect", "x")
    assert found == code and os.strerror(number) in err
    assert ("this is a bug" in err) == (code == 1) and ("ulimit -u" in err) == (code == 5)


@pytest.mark.parametrize(
    ("name", "code"), [("torch._C", 4), ("executorch", 4), ("mlp_export.gone", 1), ("mlp_export", 1), (None, 1)]
)
def test_a_library_that_cannot_be_loaded(
    name: str | None, code: int, broken: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a disk that is mounted noexec. Our own modules are there, or it is our bug."""
    broken(ImportError("libx.so: failed to map segment from shared object", name=name))
    found, _, err = run(monkeypatch, "inspect", "x")
    assert found == code and "failed to map segment" in err
    assert ("this is a bug" in err) == (code == 1) and (f"{name} cannot be loaded" in err) == (code == 4)


def test_an_internal_error_names_a_report(
    broken: Callable[[BaseException], None], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(KeyError("a key"))
    code, _, err = run(monkeypatch, "inspect", "x")
    report = state / "mlp-export-report.json"
    assert code == 1 and str(report) in err and "Traceback" not in err
    (found,) = written(report)["runs"]
    assert found["command"] == ["inspect", "x"] and found["error"]["traceback"][-1] == "KeyError: 'a key'"


def test_what_no_report_holds(
    broken: Callable[[BaseException], None], state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret of the environment, passwords in URLs, tokens, the home folder, prompts and serials."""
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter22@proxy:8080")
    monkeypatch.setenv("HOME", str(tmp_path / "home-of-alice"))
    (tmp_path / "home-of-alice").mkdir()
    words = f"{SECRET} https://u:pass99@host/x?sig=abc12345 hf_abcdefgh12345 Bearer abcdefgh1234 /Users/bob/x "
    words += "my secret prompt"
    broken(RuntimeError(f"{words} {tmp_path}/home-of-alice/x"))
    monkeypatch.setattr("mlp_export.cli.inspect.reporting", run_record_reporting("my secret prompt", "R58N"))
    assert run(monkeypatch, "inspect", f"https://u:pass99@host/{SECRET}")[0] == 1
    text = json.dumps(bug_report()) + "".join(path.read_text() for path in state.iterdir())
    assert len(list(state.iterdir())) == 2
    for private in (
        SECRET,
        "hunter22",
        "pass99",
        "abc12345",
        "hf_abcdefgh",
        "abcdefgh1234",
        "alice",
        "bob",
        "my secret",
    ):
        assert private not in text, private
    assert "[removed]@proxy:8080" in text and "~/x" in text and "RuntimeError" in text  # the rest is there


def run_record_reporting(*typed: str) -> Callable[..., Any]:
    """`reporting` of a command line with a prompt and a serial."""
    from mlp_export.cli import reporting as module

    def reporting(*given: Any, **named: Any) -> Any:
        sys.argv[1:] = ["run", "b", "--prompt", typed[0], f"--serial={typed[1]}", "--json"]
        return module.reporting(*given, **named)

    return reporting


def test_the_command_line_without_ones_own_words(
    broken: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(ValueError("it fails"))
    monkeypatch.setattr("mlp_export.cli.inspect.reporting", run_record_reporting("Dear diary", "R58N"))
    run(monkeypatch, "inspect", "x")
    assert read_records()[0]["command"] == ["run", "b", "--prompt", "[text]", "--serial=[text]", "--json"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://host:80/path", "http://host:80/path"),
        ("http://u:p@ss@proxy:8080 x", "http://[removed]@proxy:8080 x"),
        ("'https://u:pa/s?s@h/'", "'https://[removed]@h/'"),
        ("//u:pw@h/", "//[removed]@h/"),
        ("proxy='alice:secretpw@h:1'", "proxy='[removed]@h:1'"),
        ("owner/name@main: no", "owner/name@main: no"),
        ("ssh://git@host/x", "ssh://[removed]@host/x"),
        ("socks5://a:b@h:1", "socks5://[removed]@h:1"),
        ("https://h/f?X-Amz-Signature=1 next", "https://h/f?[removed] next"),
        ("/home/alice/models/x", "~/models/x"),
        ("password=abc, api_key: 'k'", "password=[removed], api_key: '[removed]'"),
        ("a mail to me@host", "a mail to me@host"),
    ],
)
def test_redaction(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_what_a_person_typed_is_removed_however_it_is_spelled() -> None:
    assert redact("'a\\nb' and a\nb", ("a\nb",)) == "'[text]' and [text]"
    assert redact("a b", (" ", "")) == "a b"


@pytest.mark.parametrize("change", ["no home", "a file", "read-only"])
def test_a_state_folder_that_cannot_be(
    change: str, broken: Callable[[BaseException], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says and does what it did before, and an internal error has its report elsewhere."""
    if change == "no home":

        def none(*_: object, **__: object) -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(run_record_module, "user_state_path", none)
    elif change == "a file":
        (tmp_path / "state").write_text("")
    else:
        right = os.open

        def read_only(path: Any, *rest: Any, **named: Any) -> int:
            if str(path).startswith(str(tmp_path / "state")):
                raise OSError(errno.EROFS, "Read-only file system")
            return right(path, *rest, **named)

        monkeypatch.setattr(run_record_module.os, "open", read_only)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    broken(KeyError("a key"))
    code, out, err = run(monkeypatch, "inspect", "x")
    assert (code, out) == (1, "") and err.startswith("error: this is a bug in mlp-export: KeyError: 'a key'\nhint: ")
    (report,) = (tmp_path / "temporary").glob("mlp-export-report-*.json")
    assert str(report) in err and written(report)["runs"][0]["error"]["kind"] == "KeyError"
    assert not read_records()
    assert run(monkeypatch, "report", "--out", tmp_path / "r.json")[0] == 0
    assert written(tmp_path / "r.json")["runs"] == []


def test_a_success_is_kept_beside_the_failure(
    broken: Callable[[BaseException], None], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(ValueError("it fails"))
    run(monkeypatch, "inspect", "x")
    assert len(read_records()) == 1  # one run in both files
    record = RunRecord(["run", "b"])
    record.end(0)
    assert [entry["exit_code"] for entry in read_records()] == [0, 1]
    min(state.glob("run-*.json")).write_text('{"command": 1')  # damaged: the other is there
    assert [entry["exit_code"] for entry in read_records()] == [0]


def test_a_killed_run(tmp_path: Path, state: Path) -> None:
    """As the system does for lack of memory: the next report says so, also after another command."""
    script = "import time; from mlp_export.run_record import *; r = RunRecord(['export']); r.save(); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)})
    while not read_records():
        assert process.poll() is None
        time.sleep(0.02)
    assert "ended" not in bug_report()["runs"][0]  # it runs
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "killed" in bug_report()["runs"][0]["ended"]
    (killed,) = state.glob("run-*.json")
    for name in ("run-1-abc.json", killed.name):  # of runs that were killed while they wrote, at first or later
        (state / f".{name}.1-0").write_text("half")
    RunRecord(["inspect"]).end(2)  # no other command takes its place
    RunRecord(["run"]).end(0)
    assert [run["command"] for run in bug_report()["runs"]] == [["run"], ["inspect"], ["export"]]
    assert "killed" in bug_report()["runs"][2]["ended"]
    assert not list(state.glob(".*"))
    (kept,) = (path for path in state.iterdir() if written(path)["command"] == ["export"])
    kept.write_text(json.dumps(written(kept) | {"host": "another"}))
    assert "ended" not in bug_report()["runs"][2]  # nothing is known of it


@pytest.mark.parametrize("letter", ["x", "\u6f22", "\U0001f469", "\udce9"])
def test_records_are_bounded(letter: str, state: Path) -> None:
    record = RunRecord([letter * 1000] * 1000)
    with run_record_module.recording(record):
        for number in range(2000):
            logging.getLogger("mlp_export.x").info("%d %s", number, letter * 1000)
    record.end(1, ValueError("\n".join([letter * 1000] * 1000)))
    (kept,) = state.iterdir()
    assert kept.stat().st_size < 500_000
    assert "1999" in record.to_json()["log"][-1]
    for _ in range(20):
        RunRecord(["inspect"]).save()  # all run
    assert len(list(state.iterdir())) == 16


def test_what_is_long_is_redacted_before_it_is_cut() -> None:
    prompt = "My diary of Monday. " * 40 + "\nAnd of Tuesday." * 40
    record = RunRecord(["run"], (prompt,))
    with run_record_module.recording(record):
        logging.getLogger("mlp_export.x").info("asked %s", prompt)
    record.end(1, ValueError(f"cannot encode {prompt!r} or {prompt}"))
    text = json.dumps(bug_report())
    assert "diary" not in text and "Tuesday" not in text and "cannot encode '[text]' or [text]" in text


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("run B --prompt -my_diary --json", "run B --prompt [text] --json"),
        ("run B --prompt --serial R58N", "run B --prompt [text] R58N"),
        ("bench B --device --json", "bench B --device --json"),
        ("bench B --device R58N", "bench B --device [text]"),
        ("bench B --device=R58N", "bench B --device=[text]"),
        ("bench --device .", "bench --device ."),
        ("push B --device ios --quiet", "push B --device ios --quiet"),
        ("push B --device ios:0000-11", "push B --device ios:[text]"),
        ("doctor --device --serial R58N", "doctor --device --serial [text]"),
    ],
)
def test_whose_words_are_whose(line: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["mlp-export", *line.split()])
    with reporting(False):
        pass
    assert read_records()[0]["command"] == shown.split()


def test_what_is_typed_into_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: object, read: Callable[[str], str], **__: object) -> None:
        raise RuntimeError(f"cannot encode {read('> ')!r}")

    monkeypatch.setattr("mlp_export.cli.chat.open_to_run", lambda path: (None, None))
    monkeypatch.setattr("mlp_export.runtime.chat_session.chat_repl", answer)
    monkeypatch.setattr("builtins.input", lambda shown: " Dear diary ")
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup has it
    try:
        assert run(monkeypatch, "chat", "b")[0] == 1
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, ignored)
    (found,) = read_records()
    assert found["error"]["message"] == "cannot encode ' [text] '" and "diary" not in json.dumps(found)


@pytest.mark.parametrize(("error", "code"), [(BrokenPipeError(), 141), (typer.Abort(), 130)])
def test_a_run_that_a_person_stopped_is_no_failure(error: Exception, code: int) -> None:
    RunRecord(["export"]).end(1)
    with pytest.raises((typer.Exit, typer.Abort)), reporting(False):
        raise error
    assert [entry["exit_code"] for entry in read_records()] == [code, 1]


def test_without_proc(broken: Callable[[BaseException], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chroot: commands do what they did, and a report says what is not known."""
    monkeypatch.setattr("psutil.PROCFS_PATH", str(tmp_path / "none"))
    monkeypatch.setattr("psutil.virtual_memory", lambda: (tmp_path / "none" / "meminfo").read_text())
    monkeypatch.setenv("CXX", "c++ '")  # no command line
    broken(ValueError("it fails"))
    assert "it fails" in run(monkeypatch, "inspect", "x")[2]
    code, _, err = run(monkeypatch, "report", "--out", tmp_path / "r.json")
    assert (code, err) == (0, "")
    values = written(tmp_path / "r.json")
    assert "memory of this machine" in values["system"]["available_ram_bytes"]
    assert "ValueError" in values["versions"]["tools"]["compiler"]
    assert values["runs"][0]["error"]["message"] == "it fails"


@pytest.mark.parametrize("change", [{"pid": "x"}, {"pid": -1}, {"pid": 2**80}, {"command": [1]}, {"exit_code": "1"}])
def test_a_damaged_record_is_no_obstacle(change: dict[str, Any], state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RunRecord(["export"]).save()
    (kept,) = state.iterdir()
    kept.write_text(json.dumps(written(kept) | change))
    assert run(monkeypatch, "report", "--out", state / "r.json")[0] == 0
    RunRecord(["run"]).end(0)
    assert read_records()[0]["command"] == ["run"]


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("alice:secretpw@proxy:3128", "[removed]@proxy:3128"),
        ("http://u:p@ss/word@proxy:8080", "[removed]@proxy:8080"),
        ("//alice:secret pw@h/", "[removed]@h/"),
        ("http://proxy:3128", "http://proxy:3128"),
    ],
)
def test_proxies(proxy: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert bug_report()["environment"]["HTTPS_PROXY"] == shown
    told = redact(f"the proxy '{proxy}' fails")
    assert "secret" not in told and "ss/word" not in told and told.endswith(f"{shown.rpartition('@')[2]}' fails")


def test_ordinary_words_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false-or-not")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Alice Miller")
    monkeypatch.setenv("X_TOKEN", "false")
    monkeypatch.setenv("MY_API_KEY", "abcdefgh")
    assert redact("false-or-not Alice Miller false abcdefgh") == "false-or-not Alice Miller false [removed]"
    assert redact("a bad bag, a", ("a",)) == "[text] bad bag, [text]"
    assert redact("a.py says diary1", ("diary",)) == "a.py says [text]1"


def test_a_report_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.json").write_text("mine")
    code, _, err = run(monkeypatch, "report", "--out", tmp_path / "r.json")
    assert code == 2 and "exists already" in err and (tmp_path / "r.json").read_text() == "mine"
