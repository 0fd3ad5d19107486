"""Opens a bundle for a command that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlp_export.cli.output import tell

if TYPE_CHECKING:
    from mlp_export.bundle.bundle import Bundle
    from mlp_export.runtime.host_runtime import HostRuntime


def open_to_run(path: Path) -> tuple[Bundle, HostRuntime]:
    """The bundle in folder `path` and what runs it, for a command that runs it and nothing else."""
    from mlp_export.backends.base import get_backend
    from mlp_export.bundle.bundle import Bundle
    from mlp_export.runtime.session import leave_cores_to_the_runtime

    bundle = Bundle.open(path)
    backend = get_backend(bundle.manifest.backend.name)
    notes = backend.runtime.notes
    if not notes.computes_in_torch:
        leave_cores_to_the_runtime()
    if notes.note:
        tell(f"note: {notes.note}")
    with backend.open_artifact(bundle.pte) as reader:
        issues = reader.compatibility_issues()
    for issue in issues:
        tell(f"warning: {issue}. Export it again before it goes to a phone")
    return bundle, backend.runtime
