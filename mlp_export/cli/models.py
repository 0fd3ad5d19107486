"""`models`."""

from __future__ import annotations

from mlp_export.backends.base import delegates
from mlp_export.cli.options import JsonOption
from mlp_export.cli.output import show, table, text, write_line
from mlp_export.cli.reporting import reporting


def models(as_json: JsonOption = False) -> None:
    """List the architectures that can be exported, and the names that --model knows."""
    with reporting(as_json, keep=False):
        from mlp_export.checkpoints.catalog import list_models
        from mlp_export.models.families import list_families

        default_of = {name: delegate.default_model for name, delegate in delegates().items()}
        rows = [row.to_json() for row in list_models(default_of)]
        families = list_families()
        if as_json:
            show({"models": rows, "families": families}, as_json)
            return
        shown = ("family", "models", "features", "verified_with")
        table(shown, [[text(family[column]) for column in shown] for family in families])
        write_line("")
        columns = ("alias", "description", "license", "default_of")
        table(columns, [[text(row[column]) for column in columns] for row in rows])
        write_line("")
        write_line("--model takes any other checkpoint of these families, too: a hub id or a folder.")
