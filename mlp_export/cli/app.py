"""The command line: options in, one call, a table or JSON out. No logic.

Modules that load torch are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import codecs
import errno
import io
import itertools
import json
import locale
import logging
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from mlp_export.errors import InputError, MissingError, MlpExportError, ResourceError, UsageError
from mlp_export.streams import discard, open_standard_streams
from mlp_export.termination import Termination

if TYPE_CHECKING:
    from mlp_export.bundle.bundle import Bundle
    from mlp_export.evaluation.evaluate import OpenCheckpoint
    from mlp_export.runtime.generate import Generation
    from mlp_export.runtime.host_runtime import HostRuntime

app = typer.Typer(
    help="MobileLLM-Pro and models of its architecture, from a checkpoint to a verified ExecuTorch bundle for phones.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that an export wrote.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
ModelOption = Annotated[
    str | None,
    typer.Option(help="Hub id owner/name[@revision], folder, alias (see `models`) or demo.", metavar="ID|DIR|ALIAS"),
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


@app.callback(invoke_without_command=True, no_args_is_help=True)
def export_command(
    context: typer.Context,
    backend: Annotated[str | None, typer.Option(help="xnnpack, qnn or coreml.")] = None,
    model: ModelOption = None,
    socs: Annotated[
        list[str] | None,
        typer.Option("--soc", help="Chip to build for, where the backend needs one: sm8650, sm8750. May be repeated."),
    ] = None,
    context_length: Annotated[int, typer.Option("--context", help="Tokens of prompt and answer together.")] = 2048,
    prefill_chunk: Annotated[int | None, typer.Option(help="Maximum tokens of a prompt in one call.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the bundle.", metavar="DIR")] = None,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Verify the artifact against the model.")] = True,
    weights: WeightsOption = None,
    head: HeadOption = None,
    quantizer: Annotated[
        Literal["gptq", "nearest"] | None,
        typer.Option(help="How int4 is made of a checkpoint not trained for it; gptq if not given, minutes of work."),
    ] = None,
    kv_cache: Annotated[
        Literal["int8", "fp16", "fp32"] | None,
        typer.Option(help="xnnpack: int8, or fp32 to compare; qnn: int8; coreml: fp16."),
    ] = None,
    compute_unit: Annotated[
        Literal["cpu_and_ne", "all", "cpu_and_gpu", "cpu_only"] | None,
        typer.Option(help="coreml: where Core ML may run it; cpu_and_ne if not given."),
    ] = None,
    deployment_target: Annotated[
        str | None, typer.Option(help="coreml: oldest system that must run it; ios18.", metavar="SYSTEM")
    ] = None,
    compiled_model: Annotated[
        bool, typer.Option("--compiled-model", help="coreml: compile here, with Xcode, and not on the phone.")
    ] = False,
    calibration: CalibrationOption = None,
    allow_lossy: Annotated[
        bool,
        typer.Option("--allow-lossy", help="Take a quantized checkpoint that no kernel holds exactly."),
    ] = False,
    runtime: Annotated[Literal["1.3", "1.5"], typer.Option(help="Minimum ExecuTorch that must run it.")] = "1.5",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what the export needs and makes, and stop.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Export a model: mlp-export --backend xnnpack --model demo --out build/demo."""
    if context.invoked_subcommand is not None:
        sources = {p.opts[0]: context.get_parameter_source(p.name or "") for p in context.command.params}
        given = [option for option, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
        if given:
            verb = context.invoked_subcommand
            raise typer.BadParameter(f"{', '.join(given)} before {verb!r} would be lost: put it after {verb}")
        return
    if backend is None:
        raise typer.BadParameter("give --backend xnnpack", param_hint="--backend")
    with _reporting(as_json):
        from mlp_export.cli.targets import check_backend, check_soc
        from mlp_export.progress import Progress

        check_backend(backend)
        for soc in socs or ():
            check_soc(soc, backend)
        from mlp_export.pipeline import ExportOptions, export, export_for_each, plan

        options = ExportOptions(
            backend=backend,
            model=model,
            out=out,
            context=context_length,
            prefill_chunk=prefill_chunk,
            weights=weights,
            kv_cache=kv_cache,
            runtime=runtime,
            soc=socs[0] if socs else None,
            compute_unit=compute_unit,
            deployment_target=deployment_target,
            compiled_model=compiled_model,
            head=head,
            quantizer=quantizer,
            calibration=tuple(calibration or ()),
            allow_lossy=allow_lossy,
            verify=verify,
            overwrite=overwrite,
        )
        progress = Progress(quiet=quiet or as_json)
        if dry_run:
            _show(plan(options).to_json(), as_json)
        elif socs and len(socs) > 1:
            reports = export_for_each(options, socs, progress)
            _show({"exports": [report.to_json() for report in reports]}, as_json)
        else:
            _show(export(options, progress).to_json(), as_json)


def _to_run(path: Path) -> tuple[Bundle, HostRuntime]:
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
        _tell(f"note: {notes.note}")
    for issue in backend.compatibility_issues(bundle.pte):
        _tell(f"warning: {issue}. Export it again before it goes to a phone")
    return bundle, backend.runtime


@app.command()
def run(
    bundle: BundleArgument,
    prompt: Annotated[str, typer.Option(help="What to answer, or the text to continue.")],
    max_new_tokens: Annotated[int, typer.Option(help="Maximum tokens of the answer.")] = 128,
    temperature: TemperatureOption = 0.0,
    seed: SeedOption = 0,
    raw: Annotated[
        bool, typer.Option("--raw", help="Give the prompt to the model as it is, without its chat format.")
    ] = False,
    stock_runner: Annotated[
        bool, typer.Option("--stock-runner", help="Use ExecuTorch's own TextLLMRunner in place of our loop.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Answer one prompt. A model made to chat gets it as a user's message, unless --raw is given."""
    with _reporting(as_json):
        from mlp_export.runtime.run import run as run_bundle

        opened, runtime = _to_run(bundle)
        answer = run_bundle(
            opened,
            prompt,
            runtime,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            raw=raw,
            stock_runner=stock_runner,
            on_text=_silent if as_json else _stream,
        )
        if as_json:
            _show(answer.to_json(), as_json)
        else:
            _stream("\n")
            _tell(_speed(answer))


@app.command()
def chat(
    bundle: BundleArgument,
    max_new_tokens: Annotated[int, typer.Option(help="Maximum tokens of an answer.")] = 1024,
    temperature: TemperatureOption = 0.0,
    seed: SeedOption = 0,
) -> None:
    """Talk with a bundle. /reset starts anew, /exit ends, Ctrl-C stops an answer."""
    with _reporting(False):
        from mlp_export.runtime.chat_session import chat_repl

        opened, runtime = _to_run(bundle)
        chat_repl(
            opened,
            runtime,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            write=_stream,
            tell=_tell,
        )


@app.command()
def verify(
    bundle: BundleArgument, model: ModelOption = None, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Check a bundle against the model it came from; without --model: hashes, structure and a smoke run."""
    with _reporting(as_json):
        from mlp_export.progress import Progress
        from mlp_export.verification.verify import verify_bundle

        report = verify_bundle(bundle, model, Progress(quiet=quiet or as_json))
        _show(report.to_json(), as_json)
        if not report.passed:
            raise typer.Exit(1)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE|PTE", help="Folder of a bundle, or a .pte file.")],
    as_json: JsonOption = False,
) -> None:
    """Show what is inside: methods, delegates, operators, bytes, KV cache, quantization, runtimes that can run it."""
    with _reporting(as_json):
        from mlp_export.evaluation.inspect_artifact import inspect_artifact

        found = inspect_artifact(path)
        _show(found.to_json() if as_json else found.summary(), as_json)
        if found.compatibility_issues:
            _tell(f"error: {'; '.join(found.compatibility_issues)}")
            _tell("hint: export it again with this mlp-export")
            raise typer.Exit(InputError.exit_code)


class _BenchCommand(TyperCommand):
    """`--device` may stand alone: a serial is needed only where there are several phones."""

    def parse_args(self, context: Any, arguments: list[str]) -> list[str]:
        given = list(arguments)
        for at, argument in enumerate(given):
            alone = at + 1 == len(given) or given[at + 1].startswith("-")
            if argument == "--device" and alone and "--" not in given[:at]:
                given[at] = "--device="
        return super().parse_args(context, given)


@app.command(cls=_BenchCommand)
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
) -> None:
    """Measure prefill and decode speed, load time and memory on this machine; with --device on a phone.

    The phone needs the app and the bundle: mlp-export push BUNDLE --install APK.
    """
    with _reporting(as_json):
        from mlp_export.progress import Progress

        lengths = prompt_tokens or []
        if device is not None:
            from mlp_export.bundle.bundle import Bundle
            from mlp_export.devices.adb import APP
            from mlp_export.devices.device_bench import device_bench

            measured = device_bench(
                Bundle.open(bundle),
                Progress(quiet=quiet or as_json),
                device=device or None,
                prompt_tokens=lengths,
                new_tokens=new_tokens,
                repetitions=repetitions,
                sustained_minutes=sustained,
                silence_seconds=timeout,
                app=app_id or APP,
            )
            if as_json:
                _show(measured.to_json(), as_json)
            else:
                _show_device_bench(measured.to_json())
            return
        if len(lengths) > 1 or sustained:
            raise UsageError("several prompt lengths and --sustained are for phones", "give --device as well")
        from mlp_export.evaluation.bench import bench as bench_bundle

        report = bench_bundle(
            _to_run(bundle)[0],
            Progress(quiet=quiet or as_json),
            prompt_tokens=lengths[0] if lengths else 512,
            new_tokens=new_tokens,
            repetitions=repetitions,
        )
        _show(report.to_json(), as_json)


@app.command("eval")
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
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure perplexity; with --against KL divergence to a checkpoint and top-1 agreement, too.

    --text may be repeated. Numbers come with 95 % confidence intervals.
    """
    with _reporting(as_json):
        from mlp_export.checkpoints.resolve import resolve
        from mlp_export.evaluation.evaluate import evaluate as evaluate_bundle
        from mlp_export.evaluation.evaluate import evaluate_checkpoint, is_checkpoint, open_checkpoint
        from mlp_export.progress import Progress

        progress = Progress(quiet=quiet or as_json)
        options: dict[str, Any] = {
            "texts": texts or (),
            "max_tokens": max_tokens,
            "sequence_length": sequence_length,
        }
        with ExitStack() as stack:

            def opened(name: str) -> OpenCheckpoint:
                found = resolve(name, announce=progress.note, quiet=progress.quiet)
                return stack.enter_context(open_checkpoint(found))

            reference = None if against is None else opened(against)
            if reference is not None and reference.kind != "float":
                progress.note(f"note: {reference.id} is quantized itself ({reference.kind}): this compares with that")
            if is_checkpoint(model):
                report = evaluate_checkpoint(opened(model), progress, against=reference, **options)
            else:
                report = evaluate_bundle(_to_run(Path(model))[0], progress, against=reference, **options)
        _show(report.to_json() if as_json else report.summary(), as_json)


@app.command()
def quantize(
    model: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="Hub id, folder, alias or demo.")],
    out: Annotated[Path, typer.Option(help="Folder of the quantized checkpoint, or the gguf file.")],
    backend: Annotated[str, typer.Option(help="Whose int4: in groups for xnnpack, by channel for NPUs.")] = "xnnpack",
    weights: WeightsOption = None,
    head: HeadOption = None,
    calibration: CalibrationOption = None,
    calibration_tokens: Annotated[int, typer.Option(help="Tokens of the calibration text to use.")] = 12_288,
    sequential: Annotated[
        bool,
        typer.Option("--sequential", help="Calibrate a layer on what the quantized ones before it make."),
    ] = False,
    distill: Annotated[int, typer.Option(help="Steps that tune scales and norms against the float model.")] = 0,
    format: Annotated[
        Literal["safetensors", "gguf"], typer.Option(help="gguf: the same codes as Q4_0, for llama.cpp.")
    ] = "safetensors",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a quantized checkpoint of a float one, by GPTQ; a killed run goes on when it is started again."""
    with _reporting(as_json):
        from mlp_export.backends.base import get_backend
        from mlp_export.cli.targets import check_backend
        from mlp_export.progress import Progress
        from mlp_export.quantization.quantize import QuantizeOptions
        from mlp_export.quantization.quantize import quantize as quantize_checkpoint

        options = QuantizeOptions(
            model=model,
            out=out,
            scheme=get_backend(check_backend(backend)).scheme,
            weights=weights,
            head=head,
            calibration=tuple(calibration or ()),
            calibration_tokens=calibration_tokens,
            sequential=sequential,
            distill=distill,
            format=format,
            overwrite=overwrite,
        )
        _show(quantize_checkpoint(options, Progress(quiet=quiet or as_json)).to_json(), as_json)


@app.command()
def doctor(
    backend: Annotated[str | None, typer.Option(help="Look at this backend only.")] = None,
    device: Annotated[bool, typer.Option("--device", help="Say what connected phones are and can run.")] = False,
    serial: SerialOption = None,
    app_id: AppIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what this machine, or a phone, has and lacks, and the command that installs it."""
    with _reporting(as_json):
        from mlp_export.cli.targets import check_backend

        if device or serial is not None:
            from mlp_export.devices.adb import APP
            from mlp_export.devices.apple_doctor import connected_doctor
            from mlp_export.devices.device_doctor import device_doctor

            chosen = None if backend is None else check_backend(backend)
            found = (
                device_doctor(serial, backend=chosen) if serial is not None else connected_doctor(chosen, app_id or APP)
            )
            _show(found.to_json() if as_json else found.summary(), as_json)
            if not found.ok:
                raise typer.Exit(4)
            return
        from mlp_export.devices.doctor import doctor as examine

        report = examine(None if backend is None else check_backend(backend))
        if as_json:
            _show(report.to_json(), as_json)
        else:
            _show_doctor(report.to_json())
        if not report.ok:
            raise typer.Exit(4)


@app.command()
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
) -> None:
    """Copy a bundle to an Android phone that can run it, with adb, and check it there; with --device to an iPhone.

    What is on an Android phone already is not copied again; a copy that broke off goes on.
    """
    with _reporting(as_json):
        from mlp_export.bundle.bundle import Bundle
        from mlp_export.devices.apple_device import is_apple
        from mlp_export.progress import Progress

        progress = Progress(quiet=quiet or as_json)
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
        _show(report.to_json(), as_json)


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the names that --model knows."""
    with _reporting(as_json):
        from mlp_export.checkpoints.catalog import list_models

        rows = [row.to_json() for row in list_models()]
        if as_json:
            _show({"models": rows}, as_json)
        else:
            columns = ("alias", "description", "license", "default_of")
            _table(columns, [[_text(row[column]) for column in columns] for row in rows])


def main() -> None:
    """The `mlp-export` command."""
    _use_utf8()
    open_standard_streams()
    logging.disable(logging.WARNING)  # torch and its kin log about themselves
    warnings.simplefilter("ignore")
    termination = Termination()
    # Python refuses bytes that are no text in most locales; what is typed is checked where it is used.
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    termination.install()  # so that unfinished bundles are removed
    try:
        code = app(prog_name="mlp-export", standalone_mode=False)
    except TyperException as error:  # a command line that does not parse
        code = _report(UsageError(error.format_message(), "see `mlp-export --help`"), "--json" in sys.argv)
    except typer.Abort:
        code = 130
    except OSError as error:  # of a help text: commands report their own
        code = 128 + signal.SIGPIPE if isinstance(error, BrokenPipeError) else _report(_output_error(error), False)
        discard(sys.stdout)
    finally:
        termination.stop()
    sys.exit(termination.exit_code or code or 0)


def _use_utf8() -> None:
    """Start anew in Python's UTF-8 mode where the locale's encoding cannot read any text in UTF-8 (LC_ALL=C).

    torch and others open their own sources, which are UTF-8, in the encoding of the locale.
    """
    encoding = locale.getpreferredencoding(False)
    if sys.flags.utf8_mode or codecs.lookup(encoding).name == "utf-8":
        return
    try:
        bytes(range(256)).decode(encoding)
    except UnicodeDecodeError:
        os.environ["PYTHONUTF8"] = "1"  # for processes that this one starts
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


@contextmanager
def _reporting(as_json: bool) -> Iterator[None]:
    """Turns exceptions of the body into a line and a hint for the person, and an exit code."""
    try:
        yield
        sys.stdout.flush()
    except MlpExportError as error:
        _fail(error, as_json)
    except MemoryError:
        _fail(ResourceError("out of memory", "close other programs, or choose a smaller --context"), as_json)
    except KeyboardInterrupt:
        _tell("interrupted")
        raise typer.Exit(130) from None
    except BrokenPipeError:
        discard(sys.stdout)  # whoever read it has enough
        raise typer.Exit(128 + signal.SIGPIPE) from None
    except Exception as error:
        if isinstance(error, (typer.Exit, typer.Abort)):
            raise
        summary = f"{type(error).__name__}: {error}".splitlines()[0]
        _fail(MlpExportError(f"this is a bug in mlp-export: {summary}", _keep_traceback()), as_json)


def _fail(error: MlpExportError, as_json: bool) -> NoReturn:
    raise typer.Exit(_report(error, as_json))


def _report(error: MlpExportError, as_json: bool) -> int:
    """Tells the person, and returns the exit code."""
    message = " ".join(error.message.split())
    if as_json:
        _show({"error": message, "hint": error.hint, "exit_code": error.exit_code}, as_json)
    _tell(f"error: {message}")
    if error.hint:
        _tell(f"hint: {error.hint}")
    return error.exit_code


def _keep_traceback() -> str:
    """Where the traceback of the exception at hand is, as a hint; on stderr where no file can hold it."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="mlp-export-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as log:
            traceback.print_exc(file=log)
    except OSError:
        traceback.print_exc()
        return "please report it with the traceback above"
    return f"the traceback is in {log.name}: please report it"


def _tell(line: str) -> None:
    try:
        print(line, file=sys.stderr)
    except BrokenPipeError:
        raise
    except OSError:  # nobody can be told: the terminal is gone, or the disk of a log is full
        discard(sys.stderr)


def _print(text: str, end: str = "\n") -> None:
    """Text on stdout, at once. Raises ResourceError or MissingError where it cannot be written."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard(sys.stdout)
        raise _output_error(error) from error


def _output_error(error: OSError) -> MlpExportError:
    kind = ResourceError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else MissingError
    return kind(f"cannot write the output: {error.strerror}", "send stdout somewhere else")


def _stream(piece: str) -> None:
    _print(piece, end="")


def _silent(piece: str) -> None:
    pass


def _show(values: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        _print(json.dumps(values, allow_nan=False))
    else:
        _table((), [[key, _text(value)] for key, value in values.items()])


def _show_doctor(report: Mapping[str, Any]) -> None:
    requirements = report["requirements"]
    _show({key: value for key, value in report.items() if key != "requirements"}, False)
    _print("")
    rows = [
        [group, r["name"], r["found"] or "missing", r["wanted"], "" if r["ok"] else r["install"]]
        for group, entries in requirements.items()
        for r in entries
    ]
    _table(("for", "needs", "found", "wanted", "to install"), rows)


def _show_device_bench(report: Mapping[str, Any]) -> None:
    """The rows as a table, with the published figures beside them where the model is MobileLLM-Pro."""
    rows = report["rows"]
    _show({key: value for key, value in report.items() if key not in ("rows", "sustained")}, False)
    columns = ("prefill_tokens", "prefill_s", "prefill_tok_s", "decode_position", "decode_tok_s")
    published = {"xnnpack": "S25 CPU: prefill_s", "qnn": "S24 HTP: prefill_s"}
    if any(row["published_prefill_s"] is None for row in rows):
        published = {}
    _print("")
    table = [
        [*(_text(row[column]) for column in columns), *(_text(row["published_prefill_s"].get(n)) for n in published)]
        for row in rows
    ]
    _table((*columns, *published.values()), table)
    if published:
        _print("published: MobileLLM-Pro in int4, by its model card")
    if report["sustained"]:
        samples = report["sustained"]["samples"]
        columns = ("at_s", "prefill_tok_s", "decode_tok_s", "thermal", "headroom")
        _print("")
        _table(columns, [[_text(sample[column]) for column in columns] for sample in samples])


def _text(value: object) -> str:
    """A value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, (Mapping, list, tuple)) and not value:
        return "-"
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_text(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return "\n".join(_text(entry).replace("\n", ", ") for entry in value)
    return str(value)


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    """Plain columns: a cell may have several lines, none is wrapped or cut."""
    lines = [list(columns)] if columns else []
    for row in rows:
        lines += [list(line) for line in itertools.zip_longest(*(cell.split("\n") for cell in row), fillvalue="")]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        _print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _speed(answer: Generation) -> str:
    def rate(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f}"

    return (
        f"prompt {answer.prompt_tokens} tokens at {rate(answer.prefill_tok_s)} tok/s, "
        f"answer {answer.generated_tokens} tokens at {rate(answer.decode_tok_s)} tok/s, ended by {answer.stop_reason}"
    )
