"""Command lines, and environments that they run in: an exit code of ours, a sentence, JSON where it is asked for."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import random
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from fuzz.bundles import copy_of, small_bundle
from fuzz.target import expect
from small_checkpoints import write_checkpoint

from mlp_export.cli import app as command_line

_CODES = {0, 1, 2, 3, 4, 5, 130, 141}
_NUMBERS: tuple[str, ...] = (
    "0",
    "1",
    "-1",
    "2",
    "16",
    "64",
    "65",
    "1000000",
    "2147483648",
    "18446744073709551616",
    "-9223372036854775809",
)
_NUMBERS += ("0.5", "nan", "inf", "-inf", "1e400", "1e-400", "", " 1", "0x10", "1_0", "\u0661", "9" * 5000)
_TEXTS: tuple[str, ...] = (
    "",
    " ",
    "Hello",
    "\udce9",
    "\u05e9\u05dc\u05d5\u05dd",
    "\U0001f469\u200d\U0001f4bb",
    "a" * 3000,
    "a\nb\r\n",
    "<|eot|>",
    "-",
    "--",
    "\x1b[31m",
)
_PATHS: tuple[str, ...] = (
    "BUNDLE",
    "MODEL",
    "NEW",
    "FILE",
    "BUNDLE/model.pte",
    "BUNDLE/manifest.json",
    "BUNDLE/tokenizer.json",
    "",
    ".",
    "/",
    "..",
)
_PATHS += (
    "/dev/null",
    "/dev/full",
    "/proc/self/mem",
    "~nobodyatall/x",
    "NEW/deep/er",
    "x" * 300,
    "\udce9",
    "MODEL/config.json",
)
_PATHS += ("LOOP", "FIFO", "NEW\n", "/etc/shadow", "FILE/x", "BUNDLE/", "./BUNDLE/../BUNDLE")
# Of what a command writes: nothing outside of the input's own folder, for fuzzing may run as root.
_OUTPUTS = tuple(path for path in _PATHS if path != ".." and not path.startswith("/"))
_MODELS = (
    *_PATHS,
    "demo",
    "Demo",
    "owner/name",
    "owner/name@",
    "@",
    "a/b/c/d",
    "owner/..",
    "owner/-",
    "https://x/y",
    "a/b@\u00e9",
    "A" * 99 + "/b",
)

# The options of each command; what is in capitals is drawn.
_COMMANDS: Mapping[str, tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]] = {
    "export": (
        ("--backend", "BACKEND", "--model", "MODELNAME", "--dry-run"),
        (
            *(("--context", "NUMBER"), ("--prefill-chunk", "NUMBER"), ("--out", "OUTPUT"), ("--weights", "WEIGHTS")),
            *(("--head", "WEIGHTS"), ("--quantizer", "QUANTIZER"), ("--calibration", "TEXTFILE"), ("--allow-lossy",)),
            *(("--runtime", "NUMBER"), ("--overwrite",), ("--soc", "TEXT"), ("--kv-cache", "WEIGHTS"), ("--json",)),
            *(("--accept-license", "TEXT"), ("--no-verify",), ("--quiet",), ("--verbose",)),
        ),
    ),
    "export, for real": (
        ("--backend", "xnnpack", "--model", "MODEL", "--quantizer", "nearest", "--no-verify", "--context", "64"),
        (("--out", "OUTPUT"), ("--overwrite",), ("--context", "NUMBER"), ("--json",), ("--quiet",)),
    ),
    "run": (
        ("PATH", "--prompt", "TEXT", "--max-new-tokens", "2"),
        (
            *(("--max-new-tokens", "NUMBER"), ("--temperature", "NUMBER"), ("--seed", "NUMBER"), ("--raw",)),
            *(("--stock-runner",), ("--json",)),
        ),
    ),
    "chat": (("PATH",), (("--max-new-tokens", "NUMBER"), ("--temperature", "NUMBER"), ("--seed", "NUMBER"))),
    "inspect": (("PATH",), (("--json",),)),
    "verify": (("PATH",), (("--json",), ("--model", "MODELNAME"), ("--quiet",))),
    "bench": (
        ("PATH", "--prompt-tokens", "4", "--new-tokens", "2", "--repetitions", "1"),
        (("--prompt-tokens", "NUMBER"), ("--new-tokens", "SMALL"), ("--repetitions", "SMALL"), ("--json",)),
    ),
    "eval": (
        ("PATH", "--max-tokens", "8"),
        (
            *(("--max-tokens", "NUMBER"), ("--text", "TEXTFILE"), ("--against", "MODELNAME"), ("--json",)),
            *(("--sequence-length", "NUMBER"), ("--quiet",)),
        ),
    ),
    "quantize": (
        ("MODELNAME", "--out", "OUTPUT", "--calibration", "TEXTFILE"),
        (
            *(("--json",), ("--distill", "SMALL"), ("--weights", "WEIGHTS"), ("--head", "WEIGHTS")),
            *(("--calibration-tokens", "NUMBER"), ("--backend", "BACKEND"), ("--overwrite",), ("--format", "gguf")),
        ),
    ),
    "push": (("PATH",), (("--serial", "TEXT"), ("--install", "PATH"), ("--open",), ("--json",))),
    "models": ((), (("--json",),)),
    "report": ((), (("--out", "OUTPUT"), ("--json",))),
    "doctor": ((), (("--json",), ("--backend", "BACKEND"))),
    "--version": ((), ()),
    "--help": ((), ()),
}
_ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "XDG_STATE_HOME"), _OUTPUTS),
    **dict.fromkeys(
        ("HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY", "https_proxy", "NO_PROXY", "HF_ENDPOINT", "PIP_INDEX_URL"),
        (
            "",
            "socks5://127.0.0.1:9",
            "socks4://x",
            "ftp://x",
            "http://127.0.0.1:9",
            "x",
            "http://",
            "://",
            "http://u:p@127.0.0.1:9",
            "http://[::1",
            "http://127.0.0.1:99999",
            "*",
            "\udce9",
            "http://\u00e9/",
            "quic://x",
            "https://127.0.0.1:9/\x7f",
        ),
    ),
    **dict.fromkeys(("LANG", "LC_ALL", "LANGUAGE"), ("C", "POSIX", "de_DE@euro", "xx", "", "C.UTF-8", "\udce9")),
    **dict.fromkeys(("COLUMNS", "LINES", "HF_HUB_DOWNLOAD_TIMEOUT", "OMP_NUM_THREADS", "NO_COLOR", "TERM"), _NUMBERS),
    "HF_TOKEN": ("", " ", "hf_x\n", "\udce9", "\u05e9"),
    "HF_HUB_OFFLINE": ("1", "0", "x"),
    "MLP_EXPORT_ACCEPT_LICENSE": ("gemma", "", "x y", "\udce9"),
}


class CommandTarget:
    """Options and environments at random. What is asked of the network ends at a port that nobody listens to."""

    name = "command"
    compared_with = ""

    def draw(self, draw: random.Random) -> Any:
        command = draw.choice(sorted(_COMMANDS))
        needed, options = _COMMANDS[command]
        words = [command.partition(",")[0], *needed]
        for option in draw.sample(
            options, draw.randrange(len(options) + 1) if draw.random() < 0.3 else min(2, len(options))
        ):
            words += option
        arguments = [self._word(draw, word) for word in words]
        if draw.random() < 0.1:
            arguments.insert(
                draw.randrange(len(arguments) + 1), draw.choice((*_TEXTS, "--json", "--help", "--x", "-q"))
            )
        if draw.random() < 0.1 and arguments:
            del arguments[draw.randrange(len(arguments))]
        names = draw.sample(sorted(_ENVIRONMENT), draw.choice((0, 0, 0, 1, 2, 4)))
        environment = {name: draw.choice((None, *_ENVIRONMENT[name])) for name in names}
        typed = draw.choice(("", "Hello\n", "Hello\n\udce9\n", "/help\n/quit\n", "\0\n", "x" * 3000 + "\n"))
        return {"arguments": arguments, "environment": environment, "stdin": typed}

    def _word(self, draw: random.Random, word: str) -> str:
        if word == "PATH":
            return "BUNDLE" if draw.random() < 0.6 else draw.choice(_PATHS)
        if word == "OUTPUT":
            return draw.choice(_OUTPUTS)
        if word == "TEXTFILE":  # a pipe is waited for: it may be another command's output
            return "FILE" if draw.random() < 0.6 else draw.choice([path for path in _PATHS if path != "FIFO"])
        if word == "MODELNAME":
            return "MODEL" if draw.random() < 0.6 else draw.choice(_MODELS)
        if word == "BACKEND":
            return "xnnpack" if draw.random() < 0.8 else draw.choice(("qnn", "coreml", "x", ""))
        choices = {
            "NUMBER": _NUMBERS,
            "SMALL": ("0", "1", "2", "-1", "x"),
            "TEXT": _TEXTS,
            "WEIGHTS": ("int4", "int8", "mixed", "fp32", "x"),
            "QUANTIZER": ("gptq", "nearest", "x"),
        }
        return draw.choice(choices[word]) if word in choices else word

    def check(self, given: Any, folder: Path) -> int:
        _lay_out(folder)
        arguments = [_in_folder(word, folder) for word in given["arguments"]]
        environment = {
            name: None if value is None else _in_folder(value, folder) for name, value in given["environment"].items()
        }
        code, out, err = _run(arguments, environment, given["stdin"], folder)
        bug = re.search(r"this is a bug.*", err)
        expect(bug is None and "Traceback" not in out + err, f"{bug and bug[0]}\n{_traceback_named_in(err)}")
        expect(code in _CODES, f"exit code {code}")
        told = "hint" in err or "error" in err or code in (0, 1, 130, 141)
        shown = arguments[:1] == ["doctor"] and code == 4 and out != ""  # its table says what is missing
        expect(told or shown, f"exit code {code}, told {err!r}")
        words = itertools.pairwise(["", *arguments])
        as_json = any(word == "--json" and not before.startswith("-") for before, word in words)  # no option's value
        if as_json and "--help" not in arguments and "-h" not in arguments and out:
            expect(isinstance(json.loads(out), dict), "--json printed no object")
        return 0


def _lay_out(folder: Path) -> None:
    """What command lines may name."""
    copy_of(small_bundle(), folder / "BUNDLE")  # which --overwrite may replace
    write_checkpoint(folder / "MODEL", "llama", num_hidden_layers=1)
    (folder / "FILE").write_text("Some text.\n")
    (folder / "LOOP").symlink_to(folder / "LOOP")
    os.mkfifo(folder / "FIFO")


def _in_folder(word: str, folder: Path) -> str:
    known = ("BUNDLE", "MODEL", "NEW", "FILE", "LOOP", "FIFO")
    return str(folder / word) if word.startswith(known) else word


def _traceback_named_in(text: str) -> str:
    """The traceback in the report that the hint of an internal error names; `text` itself where it names none."""
    named = re.search(r"report it with (\S+\.json)", text)
    if named is None or not Path(named[1]).is_file():
        return text[-1000:]
    return "\n".join(json.loads(Path(named[1]).read_text())["runs"][0]["error"]["traceback"])


@contextlib.contextmanager
def _environment(changes: Mapping[str, str | None], folder: Path) -> Iterator[None]:
    before, where = dict(os.environ), Path.cwd()
    quiet = {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "PIP_INDEX_URL": "http://127.0.0.1:9",
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    # Without HOME the system knows a home folder, which is the developer's own.
    kept = {} if {**quiet, **changes}["HOME"] else {name: quiet[name] for name in quiet if name.startswith("XDG_")}
    for name, value in {**quiet, **changes, **kept}.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    os.chdir(folder)
    temporary, tempfile.tempdir = tempfile.tempdir, None
    try:
        yield
    finally:
        tempfile.tempdir = temporary
        os.chdir(where)
        os.environ.clear()
        os.environ.update(before)


def _run(arguments: list[str], environment: Mapping[str, str | None], typed: str, folder: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command line in this process."""
    out_bytes, err_bytes = io.BytesIO(), io.BytesIO()
    outs = io.TextIOWrapper(out_bytes, "utf-8", errors="backslashreplace", write_through=True)
    errs = io.TextIOWrapper(err_bytes, "utf-8", errors="backslashreplace", write_through=True)
    ins = io.TextIOWrapper(io.BytesIO(typed.encode("utf-8", "surrogateescape")), "utf-8", errors="surrogateescape")
    kept = sys.stdin, sys.argv
    sys.stdin, sys.argv = ins, ["mlp-export", *arguments]
    code: Any = 0
    try:
        with _environment(environment, folder), contextlib.redirect_stdout(outs), contextlib.redirect_stderr(errs):
            try:
                code = command_line.app(arguments, prog_name="mlp-export", standalone_mode=False)
            except command_line.TyperException as error:
                code = command_line.report_error(command_line.UsageError(error.format_message()), "--json" in arguments)
            except typer.Abort:
                code = 130
    finally:
        sys.stdin, sys.argv = kept
    return int(code or 0), out_bytes.getvalue().decode(), err_bytes.getvalue().decode()
