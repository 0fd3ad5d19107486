"""Licenses that must be accepted before weights are fetched: by option, by environment, or asked on a terminal."""

from __future__ import annotations

import sys

import typer


def accepted_licenses(given: list[str] | None, *models: str | None) -> tuple[str, ...]:
    """The licenses that the person accepts: `given`, and those of `models` to which they say yes on the terminal.

    Asks nothing where input or output is no terminal, or where the weights are here already.
    """
    from mlp_export.checkpoints.catalog import find_alias
    from mlp_export.checkpoints.packaged import cached_folder

    accepted = list(given or ())
    for name in models:
        known = None if name is None else find_alias(name)
        if known is None or known.packaged is None or known.license.consent in (None, *accepted):
            continue
        if not (sys.stdin.isatty() and sys.stderr.isatty()) or cached_folder(known.packaged) is not None:
            continue
        typer.echo(f"{known.alias} is under the {known.license.name}: {known.license.terms}", err=True)
        if typer.confirm("Have you read these terms, and do you accept them?", err=True):
            accepted.append(str(known.license.consent))
    return tuple(accepted)
