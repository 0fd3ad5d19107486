"""Exceptions of a command as a line and a hint for the person, one object for scripts, and an exit code for both."""

from __future__ import annotations

import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NoReturn

import typer

from mlp_export.cli.environment import check_environment
from mlp_export.cli.logs import logs_on_stderr
from mlp_export.cli.output import show, tell
from mlp_export.errors import MlpExportError, ResourceError
from mlp_export.streams import discard


@contextmanager
def reporting(as_json: bool, verbose: bool = False) -> Iterator[None]:
    """Turns exceptions of the body into a line and a hint for the person, and an exit code; `verbose` shows the log."""
    try:
        check_environment()
        with logs_on_stderr() if verbose else nullcontext():
            yield
        sys.stdout.flush()
    except MlpExportError as error:
        _fail(error, as_json)
    except MemoryError:
        _fail(ResourceError("out of memory", "close other programs, or choose a smaller --context"), as_json)
    except KeyboardInterrupt:
        tell("interrupted")
        raise typer.Exit(130) from None
    except BrokenPipeError:
        discard(sys.stdout)  # whoever read it has enough
        raise typer.Exit(128 + signal.SIGPIPE) from None
    except Exception as error:
        if isinstance(error, (typer.Exit, typer.Abort)):
            raise
        summary = f"{type(error).__name__}: {error}".splitlines()[0]
        _fail(MlpExportError(f"this is a bug in mlp-export: {summary}", _keep_traceback()), as_json)


def _fail(error: MlpExportError, as_json: bool) -> NoReturn:
    raise typer.Exit(report_error(error, as_json))


def report_error(error: MlpExportError, as_json: bool) -> int:
    """Tells the person, and returns the exit code."""
    message = " ".join(error.message.split())
    if as_json:
        show({"error": message, "hint": error.hint, "exit_code": error.exit_code}, as_json)
    tell(f"error: {message}")
    if error.hint:
        tell(f"hint: {error.hint}")
    return error.exit_code


def _keep_traceback() -> str:
    """Where the traceback of the exception at hand is, as a hint; on stderr where no file can hold it."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="mlp-export-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as log:
            traceback.print_exc(file=log)
    except OSError:
        traceback.print_exc()
        return "please report it with the traceback above"
    return f"the traceback is in {log.name}: please report it"
