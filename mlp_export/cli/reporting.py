"""Exceptions of a command as a line and a hint for the person, one object for scripts, and an exit code for both."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import typer

from mlp_export.cli.environment import check_environment, forget_impossible_sizes
from mlp_export.cli.logs import logs_on_stderr
from mlp_export.cli.output import show, tell
from mlp_export.errors import MissingError, MlpExportError, ResourceError
from mlp_export.run_record import RunRecord, recording, state_folder, write_private
from mlp_export.streams import discard
from mlp_export.termination import Termination

# What any call may meet, as it may meet a MemoryError: no process, file or memory more.
_EXHAUSTED = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_OWN_WORDS = ("--prompt", "--serial")  # options whose values no report holds


@contextmanager
def reporting(as_json: bool, verbose: bool = False, keep: bool = True) -> Iterator[RunRecord]:
    """Turns exceptions of the body into a line and a hint for the person, and an exit code; `verbose` shows the log.

    What is done is kept for `mlp-export report`, unless `keep` is off. Gives the record of it.
    """
    record = _record(keep)
    try:
        forget_impossible_sizes()
        check_environment()
        with logs_on_stderr() if verbose else nullcontext(), recording(record), Termination.kept():
            yield record
        sys.stdout.flush()
        record.end(0)
    except KeyboardInterrupt:
        record.end(130)
        tell("interrupted")
        raise typer.Exit(130) from None
    except typer.Exit as error:  # a command that has told already, such as a verification that failed
        record.end(error.exit_code)
        raise
    except SystemExit as error:  # of a signal
        record.end(error.code if isinstance(error.code, int) else 1)
        raise
    except BrokenPipeError:
        discard(sys.stdout)  # whoever read it has enough
        record.end(128 + signal.SIGPIPE)
        raise typer.Exit(128 + signal.SIGPIPE) from None
    except typer.Abort:  # Ctrl-C at a question
        record.end(130)
        raise
    except Exception as error:
        told = _told(error)
        record.end((told or MlpExportError).exit_code, error)
        if told is None:
            summary = f"{type(error).__name__}: {error}".splitlines()[0]
            told = MlpExportError(f"this is a bug in mlp-export: {summary}", _write_report(record))
        raise typer.Exit(report_error(told, as_json)) from None


def _told(error: Exception) -> MlpExportError | None:
    """What a person is told of `error`; None where it is our bug."""
    if isinstance(error, MlpExportError):
        return error
    if isinstance(error, MemoryError):
        return ResourceError("out of memory", "close other programs, or choose a smaller --context")
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        return ResourceError(
            f"the system refused what this needs: {error.strerror}",
            "see the limits of processes, open files and memory: ulimit -u, -n and -v",
        )
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] not in ("", "mlp_export"):
        return MissingError(
            f"{error.name} cannot be loaded: {error}", "install mlp-export anew, in a new environment: see the README"
        )
    return None


def report_error(error: MlpExportError, as_json: bool) -> int:
    """Tells the person, and returns the exit code."""
    message = " ".join(error.message.split())
    if as_json:
        show({"error": message, "hint": error.hint, "exit_code": error.exit_code}, as_json)
    tell(f"error: {message}")
    if error.hint:
        tell(f"hint: {error.hint}")
    return error.exit_code


def _record(keep: bool) -> RunRecord:
    """The record of this process's command line, without the person's own words."""
    shown: list[str] = []
    typed: list[str] = []
    before = ""  # the option that takes the next word: a prompt may begin with "-"
    for word in sys.argv[1:]:
        if before == "--device" and word.startswith("-"):  # it stands alone
            before = ""
        option, equals, value = (before, "=", word) if before else word.partition("=")
        own = _own_part(option, value) if equals else ""
        before = word if not before and word in (*_OWN_WORDS, "--device") else ""
        typed.append(own)
        shown.append(f"{word.removesuffix(own)}[text]" if own else word)
    return RunRecord(shown, typed, keep)


def _own_part(option: str, value: str) -> str:
    """The end of an option's value that is the person's own, "" for none: a prompt, the serial of a phone."""
    if option in _OWN_WORDS:
        return value
    if option != "--device":
        return ""
    kind, _, name = value.partition(":")
    if kind in ("ios", "simulator"):
        return name
    return "" if os.path.exists(value) else value  # the bundle of `bench --device BUNDLE`


def _write_report(record: RunRecord) -> str:
    """Write a report of an internal error. Returns a hint with its place; without one the traceback is told."""
    for place in (
        lambda: state_folder() / "mlp-export-report.json",
        lambda: Path(tempfile.gettempdir(), f"mlp-export-report-{os.getpid()}.json"),
    ):
        try:
            from mlp_export.devices.bug_report import bug_report

            path = place()
            write_private(path, bug_report([record.to_json()]))
        except Exception:  # the next place: what is told must be the error at hand
            continue
        return f"please report it with {path}, which holds no prompts, weights or passwords: look it through first"
    traceback.print_exc()
    return "please report it with the traceback above"
