"""A bundle's files against its manifest."""

from __future__ import annotations

from pathlib import Path

from mlp_export.bundle.bundle import Bundle
from mlp_export.verification.report import Check


def check_files(path: Path) -> tuple[Bundle, Check]:
    """The bundle in folder `path`, its files checked. Raises BundleError where one is not the manifest's."""
    bundle = Bundle.open(path)
    found = f"{len(bundle.manifest.files)} files have the manifest's sizes and sha256"
    return bundle, Check("files", True, found, "bits", "sizes and sha256 of all files with the manifest's")
