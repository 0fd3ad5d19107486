"""`verify`."""

from __future__ import annotations

import typer

from mlp_export.cli.options import AcceptLicenseOption, BundleArgument, JsonOption, ModelOption, QuietOption
from mlp_export.cli.output import show
from mlp_export.cli.reporting import reporting


def verify(
    bundle: BundleArgument,
    model: ModelOption = None,
    accept_license: AcceptLicenseOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a bundle against the model it came from; without --model: hashes, structure and a smoke run."""
    with reporting(as_json):
        from mlp_export.cli.consent import accepted_licenses
        from mlp_export.progress import Progress
        from mlp_export.verification.verify import verify_bundle

        report = verify_bundle(
            bundle, model, Progress(quiet=quiet or as_json), accept_license=accepted_licenses(accept_license, model)
        )
        show(report.to_json(), as_json)
        if not report.passed:
            raise typer.Exit(1)
