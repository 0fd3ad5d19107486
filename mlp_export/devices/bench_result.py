"""What `bench --device` and the app on a phone tell each other: the plan, and the result that the app writes.

`mlp_export/data/device_bench.schema.json` follows from these types. The apps read and write the same with code of their
own; tests/vectors/bench.json holds cases for all.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, Discriminator, Field, Tag, TypeAdapter, ValidationError, with_config
from pydantic_core import PydanticCustomError

from mlp_export.errors import InputError
from mlp_export.json_schema import CLOSED, fault, schema_of

FORMAT: Final = 1

_Id = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", description="Names the result: ID.json.")]
_Count = Annotated[int, Field(ge=1)]
_Size = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0)]
_Speed = Annotated[float, Field(gt=0, description="Tokens a second.")]
Thermal = Literal["unknown", "none", "light", "moderate", "severe", "critical", "emergency", "shutdown"]
THERMAL: tuple[Thermal, ...] = get_args(Thermal)  # from cool to hot
_Thermal = Annotated[
    Thermal,
    Field(
        description="PowerManager.getCurrentThermalStatus(); unknown before Android 10. iOS: ProcessInfo.thermalState "
        "nominal is none, fair light, serious severe, critical critical."
    ),
]


def _check_unique(lengths: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(lengths)) < len(lengths):
        raise PydanticCustomError("unique", "a prompt length twice")
    return lengths


@with_config(CLOSED)
@dataclass(frozen=True, kw_only=True)
class BenchPlan:
    """What to measure: the extra `bench` of the activity; on iOS the launch argument after `--bench`."""

    format: Literal[1]
    id: _Id
    bundle: Annotated[str, Field(description="Name of the bundle's folder.")]
    prompt_tokens: Annotated[
        tuple[_Count, ...], Field(min_length=1, json_schema_extra={"uniqueItems": True}), AfterValidator(_check_unique)
    ]
    new_tokens: _Count
    repetitions: _Count
    sustained_seconds: _Size


@with_config(CLOSED)
@dataclass(frozen=True, kw_only=True)
class BenchProgress:
    """Of the plan: runs that are done (the load is one, each sustained minute begun is one), and what is under way."""

    done: _Size
    total: _Size
    stage: str


@with_config(CLOSED)
@dataclass(frozen=True, kw_only=True)
class BenchFailure:
    """What an app's engine or bundle said."""

    kind: Annotated[str, Field(description="EngineFailure.Kind, BundleProblem, DeviceFit.Kind, or BAD_PLAN.")]
    code: int | None
    message: str


@with_config(CLOSED)
@dataclass(frozen=True, kw_only=True)
class BenchApp:
    """The app that measures."""

    id: str
    version: str
    runtimes: Annotated[dict[str, str], Field(description="executorch, qairt -> version.")]


@with_config(CLOSED)
@dataclass(frozen=True, kw_only=True)
class AndroidBenchDevice:
    """An Android phone."""

    manufacturer: str
    model: str
    soc_model: str | None
    abi: str
    android: Annotated[str, Field(description="Build.VERSION.RELEASE.")]
    sdk: _Count
    cores: _Count
    total_memory_bytes: _Size


@with_config(CLOSED)
@dataclass(frozen=True, kw_only=True)
class IosBenchDevice:
    """An iPhone, an iPad or Apple's Simulator."""

    manufacturer: Literal["Apple"]
    model: Annotated[str, Field(description='hw.machine, "iPhone17,1"; of the Simulator the device that it plays.')]
    soc_model: Annotated[None, Field(description="iOS does not say it.")]
    abi: Annotated[str, Field(description="arm64; of the Simulator that of the Mac.")]
    ios: Annotated[str, Field(description="UIDevice.systemVersion.")]
    simulator: bool
    cores: _Count
    total_memory_bytes: _Size


@with_config(CLOSED)
@dataclass(frozen=True, kw_only=True)
class BenchedBundle:
    """The bundle that was measured."""

    name: str
    model_id: str
    backend: str
    target: str | None
    context: _Count
    prefill_chunk: _Count
    pte_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@with_config(CLOSED)
@dataclass(frozen=True, kw_only=True)
class BenchRun:
    """One prompt and its answer."""

    prompt_tokens: Annotated[
        _Count,
        Field(
            description="That the runtime counted in the prompt, at an empty KV cache; on iOS that the app's tokenizer "
            "counted, since the runtime tells no number."
        ),
    ]
    wanted_tokens: Annotated[_Count, Field(description="The length of the plan that this run stands for.")]
    repetition: Annotated[_Count, Field(description="1 and on.")]
    prefill_s: Annotated[_Seconds, Field(description="From the call to the last prompt token in the KV cache.")]
    decode_tokens: Annotated[
        _Size, Field(description="Steps that were timed; an answer may end before the plan's number.")
    ]
    decode_s: _Seconds
    thermal: _Thermal  # at the run's end


@with_config(CLOSED)
@dataclass(frozen=True, kw_only=True)
class SustainedSample:
    """One prompt and answer of the sustained run."""

    at_s: Annotated[_Seconds, Field(description="Since the sustained run's start, at the end of the sample.")]
    prefill_tok_s: _Speed | None
    decode_tok_s: _Speed | None
    thermal: _Thermal
    headroom: Annotated[
        float | None,
        Field(description="PowerManager.getThermalHeadroom(0): 1 is the throttling limit. null on iOS."),
    ]


@with_config(CLOSED)
@dataclass(frozen=True, kw_only=True)
class Sustained:
    """Prefill and decode over and over, after the runs."""

    seconds: Annotated[_Seconds, Field(description="That it has lasted so far.")]
    prompt_tokens: _Count
    samples: tuple[SustainedSample, ...]


def _system(device: Any) -> str:
    return "ios" if isinstance(device, dict) and "ios" in device else "android"


@with_config(CLOSED)
@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """What an app measures. It writes files/bench/ID.json (iOS: Documents/bench/ID.json) anew after each run."""

    format: Literal[1]
    id: _Id
    status: Literal["running", "done", "failed", "cancelled"]
    progress: BenchProgress
    error: Annotated[BenchFailure | None, Field(description="Only of status failed.")]
    plan: Annotated[BenchPlan | None, Field(description="As it was given; null where it could not be read.")]
    skipped: Annotated[
        tuple[_Count, ...],
        Field(
            description="Prompt lengths of the plan that do not fit: prompt and new tokens together are more than the "
            "context."
        ),
    ]
    app: BenchApp
    device: Annotated[
        Annotated[AndroidBenchDevice, Tag("android")] | Annotated[IosBenchDevice, Tag("ios")], Discriminator(_system)
    ]
    bundle: Annotated[BenchedBundle | None, Field(description="null where the bundle could not be opened.")]
    threads: Annotated[
        _Count | None,
        Field(
            description="Of the runtime's pool: the threads that its first run adds to the process, and the calling "
            "one; null where that cannot be told."
        ),
    ]
    load_s: Annotated[_Seconds | None, Field(description="load() of the program; null before it is done.")]
    resident_bytes: Annotated[_Size | None, Field(description="Of the process, after the last run.")]
    runs: tuple[BenchRun, ...]
    sustained: Annotated[Sustained | None, Field(description="null where the plan asks for none.")]


def read_result(text: str, source: str) -> BenchResult:
    """The result in `text`, JSON. Raises InputError, naming `source` and the key, where it is not valid."""
    try:
        return _adapter().validate_json(text)
    except ValidationError as error:
        raise InputError(
            f"{source}: {fault(error, 'not a result')}",
            "the app on the phone may be of another release: mlp-export push BUNDLE --install APP",
        ) from error


def bench_schema() -> dict[str, Any]:
    """The JSON Schema of results, and of plans in `$defs/BenchPlan`: what `device_bench.schema.json` holds."""
    title = f"What an app measures on a phone: result of `mlp-export bench BUNDLE --device`, format {FORMAT}"
    return schema_of(_adapter(), title)


@functools.cache
def _adapter() -> TypeAdapter[BenchResult]:
    return TypeAdapter(BenchResult)
