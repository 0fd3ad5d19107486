"""`chat`."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from mlp_export.cli.open_bundle import open_to_run
from mlp_export.cli.options import BundleArgument, SeedOption, TemperatureOption
from mlp_export.cli.output import stream, tell
from mlp_export.cli.reporting import reporting


def chat(
    bundle: BundleArgument,
    max_new_tokens: Annotated[int, typer.Option(help="Maximum tokens of an answer.")] = 1024,
    temperature: TemperatureOption = 0.0,
    seed: SeedOption = 0,
) -> None:
    """Talk with a bundle. /reset starts anew, /exit ends, Ctrl-C stops an answer."""
    with reporting(False) as record:
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as nohup has it
            signal.signal(signal.SIGINT, signal.default_int_handler)  # not the end of the program here
        from mlp_export.runtime.chat_session import chat_repl

        def read(shown: str) -> str:
            record.typed.append(input(shown))
            return record.typed[-1]

        opened, runtime = open_to_run(bundle)
        chat_repl(
            opened,
            runtime,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            read=read,
            write=stream,
            tell=tell,
        )
