"""The command line: exit codes, JSON, and what a person sees when something is wrong. Mostly in this process."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from bigram import write_bigram
from fake_backend import FakeSession, successors, write_bundle
from small_checkpoints import EOS_ID, EOT_ID, VOCAB_SIZE, write_checkpoint
from typer.testing import CliRunner

import mlp_export.resources as resources_module
from mlp_export.backends.base import Requirement
from mlp_export.bundle.bundle import Bundle
from mlp_export.cli.app import app
from mlp_export.errors import InputError, MissingError, MlpExportError, ResourceError, UsageError, VerificationError

ROOT = Path(__file__).parents[2]
VERBS = ("export", "run", "chat", "verify", "inspect", "bench", "eval", "doctor", "push", "models")
# The verbs that print JSON, with what else they need.
JSON_VERBS = {
    "run": ["--prompt", "Hi"],
    "verify": [],
    "inspect": [],
    "bench": ["--prompt-tokens", "4", "--new-tokens", "2", "--repetitions", "1"],
    "eval": ["--max-tokens", "8"],
    "push": [],
}


class Done:
    """A finished command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        assert self.out.count("\n") == 1 and self.out.endswith("\n"), self.out
        values = json.loads(self.out)
        assert isinstance(values, dict)
        return values


def run(*arguments: str | Path, typed: str | None = None) -> Done:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed, prog_name="mlp-export")
    return Done(done.exit_code, done.stdout, done.stderr)


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **changes}


def run_process(*arguments: str | Path | bytes, typed: bytes = b"", **changes: str) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "mlp_export", *arguments], env=environment(**changes), input=typed, capture_output=True
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="module")
def pte(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("cli") / "model.pte"
    table = successors("\nHello world<|eot|>")
    return write_bigram(path, table, vocab_size=VOCAB_SIZE, eos_ids=[EOS_ID, EOT_ID]).read_bytes()


@pytest.fixture
def bundle(pte: bytes, tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "b", pte)


# Help


def test_help_answers_without_torch() -> None:
    script = f"""
import sys
from typer.testing import CliRunner
from mlp_export.cli.app import app
for command in {[[], *([verb] for verb in VERBS)]!r}:
    done = CliRunner().invoke(app, [*command, "--help"])
    assert done.exit_code == 0 and "Usage: " in done.stdout, (command, done.stdout)
print([name for name in ("torch", "executorch", "transformers", "huggingface_hub", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_help_of_the_program_names_every_verb() -> None:
    done = run("--help")
    assert all(f" {verb} " in done.out for verb in VERBS)
    assert "--backend" in done.out


def test_export_is_the_command_where_none_is_named(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "model")
    options: list[str | Path] = ["--backend", "xnnpack", "--model", model]
    options += ["--context", "64", "--dry-run", "--json"]
    named, default = run("export", *options), run(*options)
    assert named.json == default.json and named.json["context"] == 64
    done = run(*options[:4], "export", *options[4:])
    assert done.code == 2 and "put it after export" in " ".join(done.err.replace("│", " ").split())


def test_version() -> None:
    done = run("--version")
    assert (done.code, done.out) == (0, f"mlp-export {version('mlp-export')}\n")
    for options in (("--version", "--json"), ("--json", "--version")):
        assert run_process(*options).json == {"version": version("mlp-export")}


def test_shell_completion_proposes_commands_and_options() -> None:
    def complete(line: str) -> list[str]:
        words = str(line.count(" "))
        done = run_process(_MLP_EXPORT_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=words)
        assert done.code == 0, done.err
        return done.out.split()

    assert complete("mlp-export in") == ["inspect"]
    assert complete("mlp-export verify --mo") == ["--model"]
    assert complete("mlp-export quantize --format g") == ["gguf"]
    assert complete("mlp-export --backend q") == complete("mlp-export doctor --backend q") == ["qnn"]
    assert complete("mlp-export nothing-like-it") == []


def test_no_arguments_are_no_success() -> None:
    done = run()
    assert done.code == 2 and "Usage: " in done.out + done.err


# Results


def test_run_streams_the_answer_on_stdout_and_the_speed_on_stderr(bundle: Bundle) -> None:
    done = run("run", bundle.path, "--prompt", "Hi")
    assert (done.code, done.out) == (0, "Hello world\n")
    assert "prompt 25 tokens at" in done.err and "ended by eos" in done.err


def test_run_json(bundle: Bundle) -> None:
    done = run("run", bundle.path, "--prompt", "Hi", "--json")
    keys = "text prompt_tokens generated_tokens prefill_tok_s decode_tok_s stop_reason".split()
    assert set(keys) <= set(done.json) and done.code == 0
    assert (done.json["text"], done.json["stop_reason"]) == ("Hello world", "eos")


def test_run_options(bundle: Bundle) -> None:
    options = ["--prompt", "Hi\n", "--raw", "--max-new-tokens", "1"]
    assert run("run", bundle.path, *options).out == "Hello\n"
    assert run("run", bundle.path, *options, "--stock-runner").out == "Hello\n"
    warm = ["--prompt", "Hi", "--temperature", "1", "--max-new-tokens", "9", "--json"]
    texts = [run("run", bundle.path, *warm, "--seed", seed).json["text"] for seed in ("1", "1", "2")]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("verb", [verb for verb in JSON_VERBS if verb != "push"])
def test_json_is_one_object_and_nothing_else(bundle: Bundle, verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    done = run(verb, bundle.path, "--json", *JSON_VERBS[verb])
    assert done.json and "error" not in done.json
    assert done.code == (1 if verb == "verify" else 0)  # the program has no caches, so it is not what the manifest says
    assert capfd.readouterr().out == "", "the C++ code below may write past sys.stdout"


def test_tables_for_reading(bundle: Bundle) -> None:
    done = run("bench", bundle.path, *JSON_VERBS["bench"], "--quiet")
    rows = dict(line.split(maxsplit=1) for line in done.out.splitlines() if not line.startswith(" "))
    assert (done.code, rows["prefill_tokens"], rows["decode_position"]) == (0, "4", "4")
    assert "load: " not in done.err and "measure: " not in done.err


def test_progress_is_on_stderr(bundle: Bundle) -> None:
    done = run("eval", bundle.path, "--max-tokens", "8")
    assert done.code == 0 and "perplexity" in done.out
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["load", "evaluate"]
    assert run("eval", bundle.path, "--max-tokens", "8", "--quiet").err == ""


def test_verbose_logs_on_stderr_in_place_of_progress(bundle: Bundle) -> None:
    logger = logging.getLogger("mlp_export")
    done = run("eval", bundle.path, "--max-tokens", "8", "--verbose", "--json")
    lines = done.err.splitlines()
    assert done.json["tokens"] == 7 and all(
        re.match(r"\d\d:\d\d:\d\d\.\d{3} mlp_export[\w.]*: ", line) for line in lines
    )
    assert ": Python 3." in lines[0] and f"mlp-export {version('mlp-export')}, torch 2." in lines[1]
    assert "mlp_export.progress: load: begins" in done.err and "mlp_export.progress: evaluate: 0." in done.err
    assert logger.handlers == [] and logger.propagate, "what comes later is not logged"
    assert "begins" not in run("eval", bundle.path, "--max-tokens", "8").err
    failed = run("verify", bundle.path / "none", "--verbose")
    assert (failed.code, failed.err.splitlines()[-1]) == (3, "hint: give the folder that the export wrote")
    assert logger.handlers == []


def test_models_and_doctor() -> None:
    assert run("models", "--json").json["models"][0]["alias"] == "demo"
    families = {row["family"]: row for row in run("models", "--json").json["families"]}
    assert families["llama"]["verified_with"] == "SmolLM2-135M-Instruct"
    said = run("models").out
    assert said.startswith("family ") and "weighted QK norm before RoPE" in said and "random weights only" in said
    header = next(line for line in said.splitlines() if line.startswith("alias "))
    assert header.split() == ["alias", "description", "license", "default_of"] and "\ndemo " in said
    done = run("doctor", "--json", "--backend", "xnnpack")
    assert (done.code, done.json["ok"]) == (0, True)
    assert "executorch" in run("doctor").out


def test_chat(bundle: Bundle) -> None:
    done = run("chat", bundle.path, typed="Hi\n/exit\n")
    assert done.code == 0 and done.out.count("Hello world\n") == 1
    assert "27 of 64 tokens used" in done.err
    assert run("chat", bundle.path, typed="Hi\n").code == 0  # the input ends


# Errors: a line and a hint for the person, one object for scripts, an exit code for both


@pytest.mark.parametrize("kind", [VerificationError, UsageError, InputError, MissingError, ResourceError])
def test_each_kind_of_error(broken: Callable[[BaseException], None], kind: type[MlpExportError]) -> None:
    broken(kind("what\n was found", "what to do"))
    done = run("inspect", "x")
    assert (done.code, done.out, done.err) == (kind.exit_code, "", "error: what was found\nhint: what to do\n")
    done = run("inspect", "x", "--json")
    assert done.json == {"error": "what was found", "hint": "what to do", "exit_code": kind.exit_code}
    assert done.code == kind.exit_code


@pytest.mark.parametrize("as_json", [False, True])
def test_a_bug_shows_no_traceback(
    broken: Callable[[BaseException], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    broken(KeyError("a key\nof two lines"))
    done = run("inspect", "x", *(["--json"] if as_json else []))
    log = tmp_path / "mlp-export" / "mlp-export-report.json"
    assert done.code == 1 and "Traceback" not in done.out + done.err
    assert done.err.splitlines()[0].startswith("error: this is a bug in mlp-export: KeyError: ")
    assert str(log) in done.err
    assert "Traceback (most recent call last)" in log.read_text() and "in fail" in log.read_text()
    if as_json:
        assert done.json["exit_code"] == 1 and str(log) in done.json["hint"]
    else:
        assert done.out == ""


def test_out_of_memory_and_interrupts(broken: Callable[[BaseException], None]) -> None:
    broken(MemoryError())
    assert run("inspect", "x", "--json").json["exit_code"] == 5
    broken(KeyboardInterrupt())
    done = run("inspect", "x")
    assert (done.code, done.out, done.err) == (130, "", "interrupted\n")


# 2: usage


@pytest.mark.parametrize(
    ("backend", "hint"),
    [
        ("xnpack", "did you mean xnnpack?"),
        ("QNN2", "did you mean qnn?"),
        ("vulkan", "choose one of: coreml, qnn, xnnpack"),
    ],
)
def test_an_unknown_backend(backend: str, hint: str) -> None:
    done = run("--backend", backend, "--json")
    assert (done.code, done.json["exit_code"]) == (2, 2)
    assert done.json["hint"].startswith(hint)
    assert run("doctor", "--backend", backend).code == 2


@pytest.mark.parametrize(
    "options",
    [
        ["--soc", "sm8651"],
        ["--soc", "sm8650"],  # XNNPACK's programs run on any
        ["--context", "1"],
        ["--context", "64", "--prefill-chunk", "65"],
        ["--context", "64", "--prefill-chunk", "0"],
        ["--context", "9000"],
    ],
)
def test_options_that_cannot_be_carried_out(options: list[str]) -> None:
    done = run("--backend", "xnnpack", "--model", "demo", "--dry-run", "--json", *options)
    assert (done.code, done.json["exit_code"]) == (2, 2) and done.json["hint"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "demo"],
        ["--backend"],
        ["--backend", "xnnpack", "--context", "many"],
        ["--backend", "xnnpack", "--weights", "int3"],
        ["--backend", "xnnpack", "models"],
        ["inspect"],
        ["run", "x"],
        ["run", "x", "--prompt", "y", "--nonsense"],
        ["nonsense"],
    ],
)
def test_command_lines_that_do_not_parse(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Error" in done.err and "Traceback" not in done.err


def test_command_lines_that_do_not_parse_in_json() -> None:
    done = run_process("inspect", "--json")
    assert done.code == 2 and done.json["exit_code"] == 2


def test_usage_errors_of_the_verbs(bundle: Bundle) -> None:
    for arguments in (
        ["run", "--prompt", "Hi", "--temperature", "1.5"],
        ["run", "--prompt", "Hi", "--max-new-tokens", "0"],
        ["bench"],  # 512 tokens do not fit 64
        ["eval", "--max-tokens", "1"],
    ):
        verb, *options = arguments
        done = run(verb, bundle.path, "--json", *options)
        assert (done.code, done.json["exit_code"]) == (2, 2), arguments


def test_chat_with_a_bundle_that_does_not(tmp_path: Path) -> None:
    done = run("chat", write_bundle(tmp_path / "b", chat=False).path, typed="Hi\n")
    assert done.code == 2 and "mlp-export run" in done.err and "has no chat template" in done.err


def test_chat_and_run_say_what_of_the_template_is_not_carried(bundle: Bundle) -> None:
    edit(bundle, chat_limits=["the template takes no system message"])
    line = "the chat template is carried in part: the template takes no system message"
    for done in (run("chat", bundle.path, typed="Hi\n"), run("run", bundle.path, "--prompt", "Hi")):
        assert done.code == 0 and line in done.err.splitlines() and "Hello world" in done.out
    for silent in ("--raw", "--json"):
        assert "template" not in run("run", bundle.path, "--prompt", "Hi", silent).err
    edit(bundle, chat=None, chat_limits=["turns are numbered", "and more"])
    done = run("chat", bundle.path, typed="Hi\n")
    assert done.code == 2 and "has no chat format: turns are numbered; and more" in done.err and "--raw" in done.err
    done = run("run", bundle.path, "--prompt", "Hi")
    assert done.code == 0 and "the chat template is not carried: turns are numbered" in done.err.splitlines()


# 3: inputs


def edit(bundle: Bundle, **changes: object) -> None:
    path = bundle.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def wrong_hash(bundle: Bundle) -> None:
    data = bytearray(bundle.pte.read_bytes())
    data[1000] ^= 1
    bundle.pte.write_bytes(data)


def missing_file(bundle: Bundle) -> None:
    (bundle.path / "tokenizer.json").unlink()


def path_in_a_name(bundle: Bundle) -> None:
    files = bundle.manifest.to_json()["files"]
    edit(bundle, files={**files, "../secret": {"bytes": 0, "sha256": "0" * 64}})


def other_format(bundle: Bundle) -> None:
    edit(bundle, format=3)


def no_manifest(bundle: Bundle) -> None:
    (bundle.path / "manifest.json").unlink()


@pytest.mark.parametrize("damage", [wrong_hash, missing_file, path_in_a_name, other_format, no_manifest])
def test_a_damaged_bundle(bundle: Bundle, damage: Callable[[Bundle], None]) -> None:
    damage(bundle)
    for verb, options in JSON_VERBS.items():
        done = run(verb, bundle.path, "--json", *options)
        assert (done.code, done.json["exit_code"]) == (3, 3), verb
        assert done.json["hint"]
    assert run("chat", bundle.path, typed="Hi\n").code == 3


def test_a_prompt_longer_than_the_context(bundle: Bundle) -> None:
    done = run("run", bundle.path, "--prompt", "x" * 100, "--json")
    assert (done.code, "the context of this bundle holds 64" in done.json["error"]) == (3, True)


@pytest.mark.parametrize("prompt", ["", "a<|eot|>", "\udcff"])
def test_prompts_that_cannot_be_used(bundle: Bundle, prompt: str) -> None:
    done = run("run", bundle.path, "--prompt", prompt, "--json")
    assert (done.code, done.json["exit_code"]) == (3, 3)


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("--backend", "xnnpack", "--model", tmp_path / "empty", "--dry-run", "--json")
    assert (done.code, done.json["exit_code"]) == (3, 3)


# 4: what this machine lacks


def test_push_without_adb(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("push", bundle.path, "--json")
    assert (done.code, done.json["error"]) == (4, "adb is not installed")


def test_doctor_where_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Requirement("torchao", "", "0.18.0", "pip install torchao==0.18.0", False)
    monkeypatch.setattr("mlp_export.backends.xnnpack.backend.XnnpackCompiler.requirements", lambda self: [lacking])
    done = run("doctor", "--backend", "xnnpack", "--json")
    assert (done.code, done.json["ok"]) == (4, False)
    table = run("doctor", "--backend", "xnnpack")
    assert table.code == 4 and "pip install torchao==0.18.0" in table.out and "missing" in table.out
    done = run("--backend", "xnnpack", "--model", "demo", "--dry-run", "--json")
    assert (done.code, done.json["hint"]) == (4, "pip install torchao==0.18.0")


# 5: memory and disk


def test_too_little_memory_or_disk_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, out = write_checkpoint(tmp_path / "model"), tmp_path / "out"
    export: list[str | Path] = ["--backend", "xnnpack", "--model", model, "--out", out, "--context", "64", "--json"]
    monkeypatch.setattr(resources_module, "available_ram_bytes", lambda: 1000)
    done = run(*export)
    assert (done.code, done.json["exit_code"]) == (5, 5) and "of memory, 1 kB are available" in done.json["error"]
    monkeypatch.undo()
    monkeypatch.setattr(resources_module, "available_ram_bytes", lambda: 10**12)
    monkeypatch.setattr(resources_module, "free_disk_bytes", lambda folder: 1000)
    done = run(*export)
    assert (done.code, done.json["exit_code"]) == (5, 5) and "of disk, 1 kB are free" in done.json["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# 1: an artifact that is wrong


def test_a_program_that_answers_nan(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class NanSession(FakeSession):
        def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
            return super().forward(tokens, position) * float("nan")

    monkeypatch.setattr("mlp_export.runtime.run.load_session", lambda *_: NanSession({}))
    done = run("run", bundle.path, "--prompt", "Hi", "--json")
    assert (done.code, done.json["error"]) == (1, "the program answered NaN")


def test_a_bundle_that_does_not_verify(bundle: Bundle) -> None:
    done = run("verify", bundle.path, "--quiet")
    assert done.code == 1 and "KV cache bytes is 0, expected 9216" in done.out


# As a process


def test_a_reader_that_leaves_early_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "mlp_export", "models"], env=environment(), stdout=writer, stderr=subprocess.PIPE
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_typing_bytes_that_are_not_utf8(bundle: Bundle) -> None:
    """Python is strict on stdin in most locales; here the locale may be C, where it is not."""
    done = run_process("chat", bundle.path, typed=b"a\xff\nHi\n", PYTHONIOENCODING="utf-8:strict")
    assert done.code == 0 and "not valid UTF-8" in done.err and "Hello world" in done.out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_an_export_and_leave_nothing(tmp_path: Path, number: signal.Signals) -> None:
    model = write_checkpoint(tmp_path / "model")
    options: list[str | Path] = ["--backend", "xnnpack", "--model", model, "--out", tmp_path / "out", "--context", "64"]
    export = subprocess.Popen(
        [sys.executable, "-m", "mlp_export", *options], env=environment(), stderr=subprocess.PIPE, text=True
    )
    watchdog = threading.Timer(120, export.kill)
    watchdog.start()
    try:
        assert export.stderr is not None
        assert any(line.startswith("read the checkpoint: ") for line in export.stderr)
        export.send_signal(number)
        export.stderr.read()
        assert export.wait() == 128 + number
    finally:
        watchdog.cancel()
        export.kill()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("given", [["--json"], ["--context", "4096"], ["--backend", "xnnpack"]])
def test_options_before_a_verb_are_not_lost_in_silence(given: list[str]) -> None:
    done = run(*given, "models")
    said = " ".join(done.err.replace("│", " ").split())  # typer draws a box around it
    assert done.code == 2 and given[0] in said and "after models" in said


def test_the_reference_in_the_docs_is_current() -> None:
    script = Path(__file__).parents[2] / "docs" / "make_cli_reference.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


C_LOCALE: dict[str, Any] = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_an_ascii_locale(bundle: Bundle) -> None:
    """torch reads its own sources in the encoding of the locale."""
    done = run_process("run", bundle.path, "--prompt", "Grüße".encode(), "--json", **C_LOCALE)
    assert (done.code, done.json["text"]) == (0, "Hello world"), done.err
    done = run_process("chat", bundle.path, typed="Grüße\n".encode(), **C_LOCALE)
    assert done.code == 0 and "Hello world" in done.out
    done = run_process("inspect", "/nonexisté".encode(), **C_LOCALE)
    assert done.code == 3 and "/nonexisté" in done.err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_that_are_closed(bundle: Bundle, closed: str) -> None:
    script = f'"$@" {closed}'
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "mlp_export", "chat", str(bundle.path)]
    done = subprocess.run(command, env=environment(), input=b"Hi\n", capture_output=True)
    assert done.returncode == 0, done.stderr
    if closed == "2>&-":
        assert b"Hello world" in done.stdout
    if closed == "<&-":
        assert b"Hello" not in done.stdout  # the input ended before it began


def test_an_input_that_cannot_be_read(bundle: Bundle, tmp_path: Path) -> None:
    with (tmp_path / "written").open("w") as file:
        command = [sys.executable, "-m", "mlp_export", "chat", str(bundle.path)]
        done = subprocess.run(command, env=environment(), stdin=file, capture_output=True, text=True)
    assert done.returncode == 4 and "stdin cannot be read" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["--help"], ["run", "", "--prompt", "Hi"]])
def test_an_output_that_is_full(bundle: Bundle, arguments: list[str]) -> None:
    arguments = [argument or str(bundle.path) for argument in arguments]
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mlp_export", *arguments]
        done = subprocess.run(command, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 5 and "cannot write the output: No space left" in done.stderr
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_a_terminal_that_is_gone_loses_no_work(bundle: Bundle) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mlp_export", "bench", str(bundle.path), *JSON_VERBS["bench"]]
        done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, stderr=full, text=True)
    assert done.returncode == 0 and "decode_tok_s" in done.stdout


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1, 10**30])
def test_seeds_out_of_range(bundle: Bundle, seed: int) -> None:
    options = ["--temperature", "1", "--seed", str(seed)]
    done = run("run", bundle.path, "--prompt", "Hi", "--json", *options)
    assert (done.code, done.json["error"]) == (2, f"seed {seed}")
    assert run("chat", bundle.path, *options, typed="Hi\n").code == 2
    assert run("run", bundle.path, "--prompt", "Hi", "--stock-runner", *options).code == 2


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**63, 2**64 - 1, -1, -(2**63)])
@pytest.mark.parametrize("temperature", ["1", "1e-45", "1e-320"])
def test_seeds_and_temperatures_at_the_edges(bundle: Bundle, seed: int, temperature: str) -> None:
    options = ["--prompt", "Hi", "--temperature", temperature, "--seed", str(seed), "--max-new-tokens", "2", "--json"]
    done = run("run", bundle.path, *options)
    assert done.code == 0
    assert temperature == "1" or done.json["text"] == "Hello world"[: len(done.json["text"])] != ""


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**63, 2**64, 10**30])
def test_every_other_number_out_of_range(bundle: Bundle, number: int) -> None:
    """Each is carried out (there is no upper bound to the tokens of an answer) or refused, and never a bug."""
    value = str(number)
    for verb, options in (
        ("run", ["--prompt", "Hi", "--max-new-tokens", value]),
        ("run", ["--prompt", "Hi", "--max-new-tokens", value, "--stock-runner"]),
        ("bench", ["--prompt-tokens", value]),
        ("bench", ["--prompt-tokens", "1", "--new-tokens", value]),
        ("eval", ["--max-tokens", value]),
    ):
        done = run(verb, bundle.path, "--json", *options)
        carried_out = number > 0 and verb != "bench"
        assert done.code == (0 if carried_out else 2), (verb, options, done.err)
    for option in ("--context", "--prefill-chunk"):
        done = run("--backend", "xnnpack", "--model", "demo", "--dry-run", "--json", option, value)
        assert (done.code, done.json["exit_code"]) == (2, 2)


def test_a_model_folder_that_is_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"mod\xe9le")
    write_checkpoint(tmp_path / "model").rename(folder)
    done = run_process("--backend", "xnnpack", "--model", os.fsencode(folder), "--dry-run", "--json")
    assert (done.code, "mod\\xe9le is not valid UTF-8" in done.json["error"]) == (3, True)
    done = run_process("--backend", "xnnpack", "--model", tmp_path, "--out", os.fsencode(folder / "out"), "--json")
    assert done.code in (2, 3) and "fetch" not in done.json["hint"]
