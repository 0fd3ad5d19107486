"""Reading finished programs for Core ML, without Core ML."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlp_export.backends.base import PlacementForecast
from mlp_export.backends.coreml.description import compatibility_issues, describe
from mlp_export.backends.coreml.package_reader import CoremlPackage, only_package, read_packages
from mlp_export.backends.coreml.placement import forecast
from mlp_export.backends.coreml.readback import package_weights, read_weight
from mlp_export.models.quantized_weight import QuantizedWeight
from mlp_export.program.embedding import read_embedding
from mlp_export.program.pte import OpenPte, open_pte
from mlp_export.program.stored_weight import StoredWeight


class CoremlReader:
    """See ArtifactReader."""

    def __init__(self, pte: OpenPte) -> None:
        self._pte = pte

    @functools.cached_property
    def _packages(self) -> list[CoremlPackage]:
        return read_packages(self._pte.data, str(self._pte.path))

    @functools.cached_property
    def _weights(self) -> dict[str, Any]:
        return package_weights(only_package(self._packages, str(self._pte.path)))

    def description(self) -> Mapping[str, str]:
        return describe(self._pte, self._packages)

    def compatibility_issues(self) -> Sequence[str]:
        return compatibility_issues(self._packages)

    def placement(self) -> PlacementForecast | None:
        return forecast(self._packages)

    def weight(self, name: str, like: QuantizedWeight) -> StoredWeight:
        if name == "embed":
            return read_embedding(self._pte, like)
        return read_weight(self._packages[0], self._weights, name, like)


@contextmanager
def open_artifact(path: Path) -> Iterator[CoremlReader]:
    """See Backend.open_artifact."""
    with open_pte(path) as pte:
        yield CoremlReader(pte)
