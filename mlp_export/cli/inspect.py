"""`inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlp_export.cli.options import JsonOption
from mlp_export.cli.output import show, tell
from mlp_export.cli.reporting import reporting
from mlp_export.errors import InputError


def inspect(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE|PTE", help="Folder of a bundle, or a .pte file.")],
    as_json: JsonOption = False,
) -> None:
    """Show what is inside: methods, delegates, operators, bytes, KV cache, quantization, runtimes that can run it."""
    with reporting(as_json):
        from mlp_export.evaluation.inspect_artifact import inspect_artifact

        found = inspect_artifact(path)
        show(found.to_json() if as_json else found.summary(), as_json)
        if found.compatibility_issues:
            tell(f"error: {'; '.join(found.compatibility_issues)}")
            tell("hint: export it again with this mlp-export")
            raise typer.Exit(InputError.exit_code)
