"""Names of backends and chips as a person may give them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from mlp_export.backends.base import BACKENDS, get_backend
from mlp_export.errors import UsageError


def check_backend(name: str) -> str:
    """Raises UsageError for a name that is no backend."""
    if name not in BACKENDS:
        raise UsageError(f"no backend {name!r}", _nearest(name, BACKENDS))
    return name


def check_soc(soc: str | None, backend: str) -> None:
    """Raises UsageError for a chip that is not known, or one given to a backend whose programs run on any."""
    known = get_backend(backend).socs
    if soc is None or soc in known:
        return
    if not known:
        raise UsageError(f"--soc {soc} with --backend {backend}: its programs run on any", "leave --soc out")
    raise UsageError(f"no SoC {soc!r} for {backend}", _nearest(soc, known))


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"choose one of: {', '.join(names)}"
