"""Reading finished programs for XNNPACK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlp_export.backends.xnnpack.compatibility_issues import compatibility_issues
from mlp_export.backends.xnnpack.readback import read_weight
from mlp_export.models.quantized_weight import QuantizedWeight
from mlp_export.program.pte import OpenPte, open_pte
from mlp_export.program.stored_weight import StoredWeight


class XnnpackReader:
    """See ArtifactReader."""

    def __init__(self, pte: OpenPte) -> None:
        self._pte = pte

    def description(self) -> Mapping[str, str]:
        return {}

    def compatibility_issues(self) -> Sequence[str]:
        return compatibility_issues(self._pte)

    def placement(self) -> None:
        return None

    def weight(self, name: str, like: QuantizedWeight) -> StoredWeight:
        return read_weight(self._pte, name, like)


@contextmanager
def open_artifact(path: Path) -> Iterator[XnnpackReader]:
    """See Backend.open_artifact."""
    with open_pte(path) as pte:
        yield XnnpackReader(pte)
