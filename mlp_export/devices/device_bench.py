"""`bench --device`: the app on a phone measures; this machine starts it, waits, and reports what it found."""

from __future__ import annotations

import json
import math
import secrets
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlp_export.backends.base import delegates
from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.manifest import MANIFEST, PTE, Manifest
from mlp_export.bundle.runtime_version import at_least
from mlp_export.devices import device_command
from mlp_export.devices.adb import APP
from mlp_export.devices.apple_device import is_apple
from mlp_export.devices.bench_phone import AndroidBenchPhone, AppleBenchPhone, BenchPhone
from mlp_export.devices.bench_result import FORMAT, THERMAL, AndroidBenchDevice, BenchPlan, BenchResult, read_result
from mlp_export.devices.device_command import NoAnswerError
from mlp_export.errors import InputError, MissingError, MlpExportError, ResourceError, UsageError
from mlp_export.progress import Progress

PROMPT_TOKENS = (512, 2048, 8192)

# Seconds of a prefill of MobileLLM-Pro in int4, as its model card gives them: Galaxy S25's CPU, Galaxy S24's HTP.
_PUBLISHED_SHAPE = {"family": "mobilellm-pro", "num_layers": 30, "hidden_size": 1280}

_START_SECONDS = 60.0  # until the app's first word
_SILENCE_SECONDS = 900.0  # between two words: a long prefill on a slow phone, several times over


@dataclass(frozen=True)
class DeviceBenchRow:
    """Medians of one prompt length."""

    prefill_tokens: int
    prefill_s: float
    prefill_tok_s: float
    decode_position: int
    decode_tok_s: float | None  # None where the answers had no step to time
    prefill_runs_s: list[float]
    decode_runs_tok_s: list[float]
    published_prefill_s: dict[str, float] | None  # backend -> seconds; None: not MobileLLM-Pro, or not Android


@dataclass(frozen=True)
class DeviceBenchReport:
    """What a phone measured, in the form of `BenchReport` where the two say the same."""

    bundle: str
    serial: str
    device: dict[str, Any]
    app: dict[str, Any]
    threads: int | None
    load_s: float
    resident_bytes: int | None
    rows: list[DeviceBenchRow]
    skipped_prompt_tokens: list[int]  # that do not fit the context
    thermal: str  # the worst status of any run or sample
    sustained: dict[str, Any] | None
    result_path: str  # on the phone: all that the app wrote

    def to_json(self) -> dict[str, Any]:
        """The object `bench --device --json` prints."""
        return asdict(self)


@dataclass(frozen=True)
class Clock:
    """Time, for tests to replace."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def device_bench(
    bundle: Bundle,
    progress: Progress,
    *,
    device: str | None = None,
    prompt_tokens: Sequence[int] = (),
    new_tokens: int = 64,
    repetitions: int = 3,
    sustained_minutes: float = 0,
    silence_seconds: float = _SILENCE_SECONDS,
    clock: Clock | None = None,
    app: str = APP,
) -> DeviceBenchReport:
    """Have the app on the phone measure `bundle`, which must be there already.

    `device` is the serial of an Android phone, None where there is only one, or an iPhone or Simulator as
    `find_apple_device` takes it, with the identifier `app`.

    Without `prompt_tokens` those of `PROMPT_TOKENS` that fit the context, or as many as fit.

    Raises UsageError for a plan that cannot be carried out, MissingError without phone, app or bundle there, for a
    bundle that the phone cannot run, and where the app ends or falls silent, ResourceError where memory is too small,
    InputError for an invalid result.
    """
    clock = clock or Clock()
    plan = bench_plan(bundle, prompt_tokens, new_tokens, repetitions, sustained_minutes)
    phone: BenchPhone = AppleBenchPhone(device, app) if device and is_apple(device) else AndroidBenchPhone(device)
    phone.check(bundle.manifest)
    if not phone.has_app():
        raise MissingError(f"{phone.app} is not installed on {phone.name}", f"{phone.push_app} puts both there")
    _check_bundle(bundle, phone)
    phone.start(json.dumps(asdict(plan), separators=(",", ":")))
    path = phone.result_path(plan.id)
    result = _wait(phone, path, progress, silence_seconds, clock)
    if result.status != "done":
        _raise_failure(result, phone, bundle.manifest)
    measured = result.bundle and result.bundle.pte_sha256
    if measured != bundle.manifest.files[PTE].sha256:
        raise InputError(
            f"the app on {phone.name} measured another {PTE}: sha256 {str(measured)[:12]}...",
            "it has another bundle of that name: delete it in the app, and run this again",
        )
    return report_of(result, phone.name, path, bundle.manifest.model.shape)


def bench_plan(
    bundle: Bundle, prompt_tokens: Sequence[int], new_tokens: int, repetitions: int, sustained_minutes: float
) -> BenchPlan:
    """What the app is to do. Raises UsageError where it cannot be done."""
    if new_tokens < 1 or repetitions < 1 or sustained_minutes < 0 or any(count < 1 for count in prompt_tokens):
        raise UsageError("a benchmark of nothing", "prompt tokens, new tokens and repetitions are 1 or more")
    context = bundle.manifest.context
    most = context - new_tokens
    if most < 1 or any(count > most for count in prompt_tokens):
        longest = max(prompt_tokens, default=1)
        raise UsageError(
            f"{longest:,} prompt tokens and {new_tokens:,} new ones, the context of this bundle holds {context:,}",
            f"give at most {max(most, 0):,} prompt tokens, or export with a larger --context",
        )
    lengths = list(dict.fromkeys(prompt_tokens)) or [count for count in PROMPT_TOKENS if count <= most] or [most]
    return BenchPlan(
        format=FORMAT,
        id=f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}",
        bundle=bundle.path.resolve().name,
        prompt_tokens=tuple(lengths),
        new_tokens=new_tokens,
        repetitions=repetitions,
        sustained_seconds=math.ceil(sustained_minutes * 60),
    )


def report_of(result: BenchResult, serial: str, path: str, shape: Mapping[str, Any]) -> DeviceBenchReport:
    """The medians of a finished result; `shape` is the manifest's. Raises InputError where it holds no run."""
    rows = []
    is_published = isinstance(result.device, AndroidBenchDevice) and all(
        shape.get(key) == value for key, value in _PUBLISHED_SHAPE.items()
    )
    for length in dict.fromkeys(run.wanted_tokens for run in result.runs):
        runs = [run for run in result.runs if run.wanted_tokens == length]
        prefill = [run.prefill_s for run in runs]
        decode = [run.decode_tokens / run.decode_s for run in runs if run.decode_s > 0 and run.decode_tokens]
        tokens, seconds = statistics.median_low(run.prompt_tokens for run in runs), statistics.median(prefill)
        rows.append(
            DeviceBenchRow(
                prefill_tokens=tokens,
                prefill_s=seconds,
                prefill_tok_s=tokens / seconds if seconds else 0.0,
                decode_position=tokens,
                decode_tok_s=statistics.median(decode) if decode else None,
                prefill_runs_s=prefill,
                decode_runs_tok_s=decode,
                published_prefill_s={
                    name: published.prefill_s[length]
                    for name, delegate in delegates().items()
                    if (published := delegate.published) is not None and length in published.prefill_s
                }
                if is_published
                else None,
            )
        )
    if not rows or result.load_s is None or result.plan is None:
        raise InputError(f"{path} on {serial} holds no finished run", "run the benchmark again")
    samples = result.sustained.samples if result.sustained else ()
    statuses = [*(run.thermal for run in result.runs), *(sample.thermal for sample in samples)]
    return DeviceBenchReport(
        bundle=result.plan.bundle,
        serial=serial,
        device=asdict(result.device),
        app=asdict(result.app),
        threads=result.threads,
        load_s=result.load_s,
        resident_bytes=result.resident_bytes,
        rows=rows,
        skipped_prompt_tokens=list(result.skipped),
        thermal=max(statuses, key=THERMAL.index),
        sustained=asdict(result.sustained) if result.sustained else None,
        result_path=path,
    )


def _check_bundle(bundle: Bundle, phone: BenchPhone) -> None:
    """Raises MissingError where the phone has no bundle of that name, or another one."""
    name = bundle.path.resolve().name
    ours = json.loads((bundle.path / MANIFEST).read_text(encoding="utf-8"))["files"]
    found = phone.manifest(name)
    if found is None:
        raise MissingError(f"{phone.name} has no bundle {name}", f"copy it first: {phone.push}")
    try:
        theirs = json.loads(found.text)["files"]
    except (ValueError, KeyError, TypeError):
        theirs = None
    if theirs != ours:
        raise MissingError(f"{found.folder} on {phone.name} is another bundle", found.to_replace)


def _wait(phone: BenchPhone, path: str, progress: Progress, silence_seconds: float, clock: Clock) -> BenchResult:
    """The result, when the app has ended it. Raises MissingError where no more comes."""
    last_word = clock.now()
    result: BenchResult | None = None
    done = 0

    def seconds() -> float:
        """That a command may take."""
        left = silence_seconds - (clock.now() - last_word)
        return min(device_command.COMMAND_SECONDS, max(1.0, left))

    with progress.stage(f"benchmark on {phone.name}") as stage:
        while True:
            answered = True
            try:
                text = phone.read(path, seconds())
                if text:
                    found = read_result(text, path)
                    if found != result:
                        result, last_word = found, clock.now()
                        stage.advance(max(0, found.progress.done - done))
                        done = found.progress.done
                        progress.note(_word(found))
                    if found.status != "running":
                        return found
                if clock.now() - last_word > phone.poll_seconds * 3 and not phone.is_running(seconds()):
                    # It may have written its last word in between.
                    text = phone.read(path, seconds())
                    if text and read_result(text, path).status != "running":
                        return read_result(text, path)
                    raise MissingError(
                        f"the app on {phone.name} ended {_while(result)}: it crashed, was closed, or the system "
                        "needed its memory",
                        f"{phone.see_log}; a smaller prompt needs less memory",
                    )
            except NoAnswerError:  # a phone at hard work may answer later
                answered = False
            silent = clock.now() - last_word
            if answered and result is None and silent > _START_SECONDS:
                raise MissingError(
                    f"the app on {phone.name} has not begun after {_START_SECONDS:.0f} s",
                    "unlock the phone, keep its screen on, and see what the app shows: it may be at other work",
                )
            if silent > silence_seconds:
                unanswered = "" if answered else f", and no answer from {phone.tool}"
                raise MissingError(
                    f"time out: no word of the app on {phone.name} for {silent:.0f} s {_while(result)}{unanswered}",
                    f"it may still be at work: {phone.see_result(path)}; or a longer --timeout",
                )
            clock.sleep(phone.poll_seconds)


def _word(result: BenchResult) -> str:
    step = result.progress
    return f"{step.done} of {step.total} done{': ' + step.stage if step.stage else ''}"


def _while(result: BenchResult | None) -> str:
    return "before its first word" if result is None else f"({_word(result)})"


def _old_runtime_hint(manifest: Manifest) -> str:
    """How to get a newer runtime; a program that needs ExecuTorch 1.5 may be exported for an older one."""
    needed = " and ".join(f"{name} {version}" for name, version in sorted(manifest.backend.min_runtime.items()))
    if set(manifest.backend.min_runtime) - {"executorch", "ios"}:  # a vendor's, which no app of ours is built with
        return f"build and install an app with {needed} or later, see docs/guides/galaxy.md"
    older = ", or export with --runtime 1.3"
    if at_least("1.3", manifest.backend.min_runtime.get("executorch", "")):
        older = ""
    return f"install an app with {needed} or later{older}"


def _raise_failure(result: BenchResult, phone: BenchPhone, manifest: Manifest) -> None:
    error = result.error
    if result.status == "cancelled" or error is None:
        raise MissingError(f"the benchmark was stopped on {phone.name} ({_word(result)})", "run it again")
    code = "" if error.code is None else f", error {error.code}"
    kinds: dict[str, tuple[type[MlpExportError], str]] = {
        "BAD_PLAN": (InputError, f"the app is of another release: {phone.push_app}"),
        "OUT_OF_MEMORY": (ResourceError, "close other apps, or measure shorter prompts"),
        "TOO_LITTLE_MEMORY": (ResourceError, "export with a smaller --context, or a smaller model"),
        "CONTEXT_FULL": (InputError, "measure shorter prompts"),
        "INEXACT_TOKENS": (
            InputError,
            "the app only estimates these tokens: bench without --device counts them",
        ),
        "OLD_SYSTEM": (MissingError, "update the device"),
        "OLD_RUNTIME": (MissingError, _old_runtime_hint(manifest)),
        "MISSING_BACKEND": (MissingError, f"install an app with this backend's runtime: {phone.guide}"),
        "MISSING_LIBRARY": (MissingError, f"install an app with this backend's runtime: {phone.guide}"),
    }
    kind, hint = kinds.get(error.kind, (MissingError, phone.see_log))
    raise kind(f"the app on {phone.name} failed: {error.kind}{code}: {error.message}", hint)
