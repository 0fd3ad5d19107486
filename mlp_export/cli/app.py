"""The command line: options in, one call, a table or JSON out. No logic.

A file a command; modules that load torch are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import codecs
import inspect as signatures
import io
import json
import locale
import logging
import os
import signal
import sys
import warnings
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from mlp_export.cli.bench import BenchCommand, bench
from mlp_export.cli.chat import chat
from mlp_export.cli.doctor import doctor
from mlp_export.cli.evaluate import evaluate
from mlp_export.cli.export import export
from mlp_export.cli.inspect import inspect
from mlp_export.cli.models import models
from mlp_export.cli.output import output_error, write_line
from mlp_export.cli.push import push
from mlp_export.cli.quantize import quantize
from mlp_export.cli.report import report
from mlp_export.cli.reporting import report_error
from mlp_export.cli.run import run
from mlp_export.cli.verify import verify
from mlp_export.errors import UsageError
from mlp_export.streams import discard, open_standard_streams
from mlp_export.termination import Termination

app = typer.Typer(
    help="MobileLLM-Pro and models of its architecture, from a checkpoint to a verified ExecuTorch bundle for phones.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        number = version("mlp-export")
        write_line(json.dumps({"version": number}) if _json_asked() else f"mlp-export {number}")
        raise typer.Exit


def _json_asked() -> bool:
    """Whether `--json` was typed: for what is said before the options are parsed."""
    return "--json" in sys.argv


VersionOption = Annotated[
    bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
]


def _without_command(context: typer.Context, version: VersionOption = False, **options: Any) -> None:
    """An export, where no command is named. Raises BadParameter for options of an export before another command."""
    command = context.invoked_subcommand
    if command is None:
        export(**options)
        return
    sources = {p.opts[0]: context.get_parameter_source(p.name or "") for p in context.command.params}
    given = [option for option, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        raise typer.BadParameter(f"{', '.join(given)} before {command!r} would be lost: put it after {command}")


def _signature() -> signatures.Signature:
    """That of `_without_command`, with the options of `export` in place of `options`."""
    own = signatures.signature(_without_command, eval_str=True)
    parameters = [p for p in own.parameters.values() if p.kind is not signatures.Parameter.VAR_KEYWORD]
    options = signatures.signature(export, eval_str=True).parameters.values()
    return own.replace(parameters=[*parameters[:1], *options, *parameters[1:]])


_without_command.__signature__ = _signature()  # type: ignore[attr-defined]

app.callback(invoke_without_command=True, no_args_is_help=True)(_without_command)
app.command()(export)
app.command()(run)
app.command()(chat)
app.command()(verify)
app.command()(inspect)
app.command(cls=BenchCommand)(bench)
app.command("eval")(evaluate)
app.command()(quantize)
app.command()(doctor)
app.command()(push)
app.command()(models)
app.command()(report)


def main() -> None:
    """The `mlp-export` command."""
    _use_utf8()
    open_standard_streams()
    logging.disable(logging.WARNING)  # torch and its kin log about themselves
    warnings.simplefilter("ignore")
    termination = Termination()
    # Python refuses bytes that are no text in most locales; what is typed is checked where it is used.
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    termination.install()  # so that unfinished bundles are removed
    try:
        code = app(prog_name="mlp-export", standalone_mode=False)
    except TyperException as error:  # a command line that does not parse
        code = report_error(UsageError(error.format_message(), "see `mlp-export --help`"), _json_asked())
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except OSError as error:  # of a help text: commands report their own
        code = 128 + signal.SIGPIPE if isinstance(error, BrokenPipeError) else report_error(output_error(error), False)
        discard(sys.stdout)
    finally:
        termination.stop()
    sys.exit(termination.exit_code or code or 0)


def _use_utf8() -> None:
    """Start anew in Python's UTF-8 mode where the locale's encoding cannot read any text in UTF-8 (LC_ALL=C).

    torch and others open their own sources, which are UTF-8, in the encoding of the locale.
    """
    encoding = locale.getpreferredencoding(False)
    if sys.flags.utf8_mode or codecs.lookup(encoding).name == "utf-8":
        return
    try:
        bytes(range(256)).decode(encoding)
    except UnicodeDecodeError:
        os.environ["PYTHONUTF8"] = "1"  # for processes that this one starts
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
