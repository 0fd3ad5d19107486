"""`doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mlp_export.backends.base import get_delegate
from mlp_export.cli.options import AppIdOption, JsonOption, SerialOption, backend_names
from mlp_export.cli.output import show, table, write_line
from mlp_export.cli.reporting import reporting


def doctor(
    backend: Annotated[
        str | None, typer.Option(help="Look at this backend only.", autocompletion=backend_names)
    ] = None,
    device: Annotated[bool, typer.Option("--device", help="Say what connected phones are and can run.")] = False,
    serial: SerialOption = None,
    app_id: AppIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what this machine, or a phone, has and lacks, and the command that installs it."""
    with reporting(as_json, keep=False):
        if backend is not None:
            get_delegate(backend)
        if device or serial is not None:
            from mlp_export.devices.adb import APP
            from mlp_export.devices.apple_doctor import connected_doctor
            from mlp_export.devices.device_doctor import device_doctor

            found = (
                device_doctor(serial, backend=backend)
                if serial is not None
                else connected_doctor(backend, app_id or APP)
            )
            show(found.to_json() if as_json else found.summary(), as_json)
            if not found.ok:
                raise typer.Exit(4)
            return
        from mlp_export.devices.doctor import doctor as examine

        report = examine(backend)
        if as_json:
            show(report.to_json(), as_json)
        else:
            _show_doctor(report.to_json())
        if not report.ok:
            raise typer.Exit(4)


def _show_doctor(report: Mapping[str, Any]) -> None:
    requirements = report["requirements"]
    show({key: value for key, value in report.items() if key != "requirements"}, False)
    write_line("")
    rows = [
        [group, r["name"], r["found"] or "missing", r["wanted"], "" if r["ok"] else r["install"]]
        for group, entries in requirements.items()
        for r in entries
    ]
    table(("for", "needs", "found", "wanted", "to install"), rows)
