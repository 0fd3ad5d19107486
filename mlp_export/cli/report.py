"""`report`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from mlp_export.cli.options import JsonOption
from mlp_export.cli.output import show
from mlp_export.cli.reporting import reporting


def report(
    out: Annotated[
        Path | None, typer.Option(help="The file; mlp-export-report-TIME.json if not given.", metavar="FILE")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a file for a bug report: versions, this machine, the last run and its error, the model's config.

    It holds no prompts, weights, passwords or names of home folders; look it through before you attach it.
    """
    with reporting(as_json, keep=False):
        from mlp_export.devices.bug_report import bug_report
        from mlp_export.folder_writer import OutputKind, write_file

        values = bug_report()
        target = out or Path(f"mlp-export-report-{time.strftime('%Y%m%d-%H%M%S')}.json")
        with write_file(target, OutputKind("report", lambda file: False)) as unfinished:
            unfinished.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        last = values["runs"][0] if values["runs"] else None
        run = None if last is None else f"{' '.join(last['command'])} ({last['began']}, exit code {last['exit_code']})"
        show({"report": str(target.absolute()), "bytes": target.stat().st_size, "last_run": run}, as_json)
