"""`verify`."""

from __future__ import annotations

import typer

from mlp_export.cli.options import (
    AcceptLicenseOption,
    BundleArgument,
    JsonOption,
    ModelOption,
    QuietOption,
    VerboseOption,
)
from mlp_export.cli.output import progress_of, show
from mlp_export.cli.reporting import reporting


def verify(
    bundle: BundleArgument,
    model: ModelOption = None,
    accept_license: AcceptLicenseOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Check a bundle against the model it came from; without --model: hashes, structure and a smoke run."""
    with reporting(as_json, verbose):
        from mlp_export.cli.consent import accepted_licenses
        from mlp_export.verification.verify import verify_bundle

        progress = progress_of(quiet or as_json or verbose)
        report = verify_bundle(bundle, model, progress, accept_license=accepted_licenses(accept_license, model))
        show(report.to_json(), as_json)
        if not report.passed:
            raise typer.Exit(1)
