"""`push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlp_export.cli.options import AppIdOption, BundleArgument, JsonOption, QuietOption, SerialOption, VerboseOption
from mlp_export.cli.output import progress_of, show
from mlp_export.cli.reporting import reporting
from mlp_export.errors import UsageError


def push(
    bundle: BundleArgument,
    serial: SerialOption = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="From a Mac with Xcode: an iPhone or iPad (ios), or a booted Simulator; behind a colon its name or id "
            "where there are several. Without: an Android phone.",
            metavar="ios[:ID]|simulator[:ID]",
        ),
    ] = None,
    install: Annotated[
        Path | None, typer.Option(help="Install the app first, over an older one.", metavar="APK|APP")
    ] = None,
    app_id: AppIdOption = None,
    start: Annotated[bool, typer.Option("--open", help="Start the app on the bundle.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Copy a bundle to an Android phone that can run it, with adb, and check it there; with --device to an iPhone.

    What is on an Android phone already is not copied again; a copy that broke off goes on.
    """
    with reporting(as_json, verbose):
        from mlp_export.bundle.bundle import Bundle
        from mlp_export.devices.apple_device import is_apple

        progress = progress_of(quiet or as_json or verbose)
        if app_id is not None and device is None:
            raise UsageError("--app-id without --device", "it is for the iOS app: add --device ios")
        if device is None:
            from mlp_export.devices.push import push as push_bundle

            report = push_bundle(Bundle.open(bundle), progress, serial=serial, install=install, start=start)
        elif not is_apple(device) or serial is not None:
            raise UsageError(
                f"--device {device}{' and --serial' if serial is not None else ''}",
                "--device is ios, ios:ID, simulator or simulator:ID; an Android phone is named by --serial alone",
            )
        else:
            from mlp_export.devices.apple_push import apple_push

            report = apple_push(Bundle.open(bundle), progress, device, app=app_id, install=install, start=start)
        show(report.to_json(), as_json)
