"""Opens a bundle for a command that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlp_export.cli.output import tell

if TYPE_CHECKING:
    from mlp_export.bundle.bundle import Bundle


def open_to_run(path: Path) -> Bundle:
    """The bundle in folder `path`, for a command that runs it and nothing else."""
    from mlp_export.backends.base import get_backend
    from mlp_export.bundle.bundle import Bundle
    from mlp_export.runtime.session import leave_cores_to_the_runtime

    bundle = Bundle.open(path)
    backend = get_backend(bundle.manifest.backend.name)
    if not backend.computes_in_torch:
        leave_cores_to_the_runtime()
    if backend.host_note:
        tell(f"note: {backend.host_note}")
    for issue in backend.compatibility_issues(bundle.pte):
        tell(f"warning: {issue}. Export it again before it goes to a phone")
    return bundle
