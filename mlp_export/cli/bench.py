"""`bench`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from mlp_export.backends.base import delegates
from mlp_export.cli.open_bundle import open_to_run
from mlp_export.cli.options import AppIdOption, BundleArgument, JsonOption, QuietOption, VerboseOption
from mlp_export.cli.output import progress_of, show, table, text, write_line
from mlp_export.cli.reporting import reporting
from mlp_export.errors import UsageError


class BenchCommand(TyperCommand):
    """`--device` may stand alone: a serial is needed only where there are several phones."""

    def parse_args(self, context: Any, arguments: list[str]) -> list[str]:
        given = list(arguments)
        for at, argument in enumerate(given):
            alone = at + 1 == len(given) or given[at + 1].startswith("-")
            if argument == "--device" and alone and "--" not in given[:at]:
                given[at] = "--device="
        return super().parse_args(context, given)


def bench(
    bundle: BundleArgument,
    prompt_tokens: Annotated[
        list[int] | None,
        typer.Option(help="Length of the prompt: 512, on a phone also 2048 and 8192. There it may be repeated."),
    ] = None,
    new_tokens: Annotated[int, typer.Option(help="Tokens to decode after it.")] = 64,
    repetitions: Annotated[int, typer.Option(help="Times to measure; medians are given.")] = 3,
    device: Annotated[
        str | None,
        typer.Option(
            help="Measure on a phone, in the app: an Android phone, with a serial where there are several, or ios[:ID] "
            "or simulator[:ID], as push has them.",
            metavar="[SERIAL]",
        ),
    ] = None,
    sustained: Annotated[
        float, typer.Option(help="Minutes to go on for on a phone, with its thermal status.", metavar="MINUTES")
    ] = 0,
    app_id: AppIdOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds without a word of the phone after which to give up.")] = 900,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure prefill and decode speed, load time and memory on this machine; with --device on a phone.

    The phone needs the app and the bundle: mlp-export push BUNDLE --install APK.
    """
    with reporting(as_json, verbose):
        lengths = prompt_tokens or []
        if device is not None:
            from mlp_export.bundle.bundle import Bundle
            from mlp_export.devices.adb import APP
            from mlp_export.devices.device_bench import device_bench

            measured = device_bench(
                Bundle.open(bundle),
                progress_of(quiet or as_json or verbose),
                device=device or None,
                prompt_tokens=lengths,
                new_tokens=new_tokens,
                repetitions=repetitions,
                sustained_minutes=sustained,
                silence_seconds=timeout,
                app=app_id or APP,
            )
            if as_json:
                show(measured.to_json(), as_json)
            else:
                _show_device_bench(measured.to_json())
            return
        if len(lengths) > 1 or sustained:
            raise UsageError("several prompt lengths and --sustained are for phones", "give --device as well")
        from mlp_export.evaluation.bench import bench as bench_bundle

        report = bench_bundle(
            open_to_run(bundle)[0],
            progress_of(quiet or as_json or verbose),
            prompt_tokens=lengths[0] if lengths else 512,
            new_tokens=new_tokens,
            repetitions=repetitions,
        )
        show(report.to_json(), as_json)


def _show_device_bench(report: Mapping[str, Any]) -> None:
    """The rows as a table, with the published figures beside them where the model is MobileLLM-Pro."""
    rows = report["rows"]
    show({key: value for key, value in report.items() if key not in ("rows", "sustained")}, False)
    columns = ("prefill_tokens", "prefill_s", "prefill_tok_s", "decode_position", "decode_tok_s")
    published = {name: f"{d.published.device}: prefill_s" for name, d in delegates().items() if d.published is not None}
    if any(row["published_prefill_s"] is None for row in rows):
        published = {}
    write_line("")
    cells = [
        [*(text(row[column]) for column in columns), *(text(row["published_prefill_s"].get(n)) for n in published)]
        for row in rows
    ]
    table((*columns, *published.values()), cells)
    if published:
        write_line("published: MobileLLM-Pro in int4, by its model card")
    if report["sustained"]:
        samples = report["sustained"]["samples"]
        columns = ("at_s", "prefill_tok_s", "decode_tok_s", "thermal", "headroom")
        write_line("")
        table(columns, [[text(sample[column]) for column in columns] for sample in samples])
