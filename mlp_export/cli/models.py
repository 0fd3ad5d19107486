"""`models`."""

from __future__ import annotations

from mlp_export.backends.base import delegates
from mlp_export.cli.options import JsonOption
from mlp_export.cli.output import show, table, text
from mlp_export.cli.reporting import reporting


def models(as_json: JsonOption = False) -> None:
    """List the names that --model knows."""
    with reporting(as_json):
        from mlp_export.checkpoints.catalog import list_models

        default_of = {name: delegate.default_model for name, delegate in delegates().items()}
        rows = [row.to_json() for row in list_models(default_of)]
        if as_json:
            show({"models": rows}, as_json)
        else:
            columns = ("alias", "description", "license", "default_of")
            table(columns, [[text(row[column]) for column in columns] for row in rows])
