"""`eval`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlp_export.cli.open_bundle import open_to_run
from mlp_export.cli.options import AcceptLicenseOption, JsonOption, QuietOption, VerboseOption
from mlp_export.cli.output import progress_of, show
from mlp_export.cli.reporting import reporting

if TYPE_CHECKING:
    from mlp_export.evaluation.evaluate import OpenCheckpoint


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="BUNDLE|CHECKPOINT", help="Folder that an export wrote, or a model before export.")
    ],
    against: Annotated[
        str | None,
        typer.Option(help="Checkpoint to compare with: the float model.", metavar="ID|DIR|ALIAS"),
    ] = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option("--text", help="UTF-8 text to measure on; the one that ships if not given.", metavar="FILE"),
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Maximum tokens to measure on.")] = 1024,
    sequence_length: Annotated[
        int | None, typer.Option(help="Tokens after which a text starts anew; the context if not given.")
    ] = None,
    accept_license: AcceptLicenseOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure perplexity; with --against KL divergence to a checkpoint and top-1 agreement, too.

    --text may be repeated. Numbers come with 95 % confidence intervals.
    """
    with reporting(as_json, verbose):
        from mlp_export.checkpoints.resolve import resolve
        from mlp_export.cli.consent import accepted_licenses
        from mlp_export.evaluation.evaluate import evaluate as evaluate_bundle
        from mlp_export.evaluation.evaluate import evaluate_checkpoint, is_checkpoint, open_checkpoint

        progress = progress_of(quiet or as_json or verbose)
        accepted = accepted_licenses(accept_license, model, against)
        options: dict[str, Any] = {
            "texts": texts or (),
            "max_tokens": max_tokens,
            "sequence_length": sequence_length,
        }
        with ExitStack() as stack:

            def opened(name: str) -> OpenCheckpoint:
                found = resolve(name, announce=progress.note, quiet=progress.quiet, accepted=accepted)
                return stack.enter_context(open_checkpoint(found))

            reference = None if against is None else opened(against)
            if reference is not None and reference.kind != "float":
                progress.note(f"note: {reference.id} is quantized itself ({reference.kind}): this compares with that")
            if is_checkpoint(model):
                report = evaluate_checkpoint(opened(model), progress, against=reference, **options)
            else:
                report = evaluate_bundle(open_to_run(Path(model))[0], progress, against=reference, **options)
        show(report.to_json() if as_json else report.summary(), as_json)
