"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mlp_export.backends.base import delegates


def backend_names(incomplete: str) -> list[str]:
    """The backends that begin so, for shell completion."""
    return [name for name in delegates() if name.startswith(incomplete)]


BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that an export wrote.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
VerboseOption = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Log what is done on stderr, with versions and times, in place of progress."),
]
ModelOption = Annotated[
    str | None,
    typer.Option(help="Hub id owner/name[@revision], folder, alias (see `models`) or demo.", metavar="ID|DIR|ALIAS"),
]
AcceptLicenseOption = Annotated[
    list[str] | None,
    typer.Option(
        help="License whose terms you have read and accept, as `models` names it: gemma. May be repeated.",
        envvar="MLP_EXPORT_ACCEPT_LICENSE",
        metavar="LICENSE",
    ),
]
WeightsOption = Annotated[
    Literal["int4", "mixed", "int8"] | None,
    typer.Option(help="For checkpoints not trained for int4. mixed: for NPUs, int8 where int4 loses most."),
]
HeadOption = Annotated[
    Literal["int4", "int8"] | None, typer.Option(help="The head, and a tied embedding, in a precision of their own.")
]
CalibrationOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Text or conversations like what the model will see; may be repeated. Without: those that ship.",
        metavar="FILE",
    ),
]
AppIdOption = Annotated[
    str | None,
    typer.Option(help="Identifier of the iOS app, where it is signed as your own (APP_IDENTIFIER in Xcode)."),
]
SerialOption = Annotated[str | None, typer.Option(help="Which device, as `adb devices` lists it.")]
TemperatureOption = Annotated[float, typer.Option(help="0 takes the likeliest token; up to 1 samples.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the sampling.")]
