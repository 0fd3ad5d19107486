"""`inspect`: what is inside a `.pte` or a bundle, read out of the file itself without running it."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from executorch.exir.scalar_type import ScalarType
from executorch.exir.schema import DelegateCall, ExecutionPlan, Int, Program, Tensor

from mlp_export.backends.base import ArtifactReader, PlacementForecast, delegates, get_backend
from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.manifest import MANIFEST
from mlp_export.bundle.tokenizer_config import has_chat_template
from mlp_export.errors import InputError
from mlp_export.evaluation.runners import RunnerFit, runner_fits
from mlp_export.program.executorch_private import flatbuffer_to_program, get_extended_header
from mlp_export.program.pte import check_regular, unchecked_tables
from mlp_export.program.tables import CACHE_WRITERS, EMBEDDING_BITS, instructions, kernel_calls, planned_bytes


@dataclass(frozen=True)
class Segment:
    """A span of the file. `shared` says that another segment names the same bytes."""

    name: str
    bytes: int
    shared: bool


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found. Of a bare `.pte`, what only a manifest can tell is None."""

    path: str
    backend: str | None
    target: str | None
    context: int | None
    prefill_chunk: int | None
    vocab_size: int | None
    bos_id: int | None
    eos_ids: list[int] | None
    file_bytes: int
    kv_cache_bytes: int  # codes (int8) or values (fp32), without scales
    kv_scale_bytes: int
    tied_weights_stored_once: bool
    methods: list[str]
    delegates: dict[str, int]  # id -> calls in forward
    compiled_for: dict[str, str]  # what the delegate's own binary says: soc, htp_arch, qairt; compute_unit, system
    placement_forecast: PlacementForecast | None  # where the delegate's operators will run, by public limits
    compatibility_issues: list[str]  # why the stock runtime of a phone will not load it, or not run it rightly
    operators: list[str]  # of forward, outside delegates
    quantization: dict[str, Any]
    runtimes: dict[str, str]  # runtime -> minimum version that runs it
    runners: list[RunnerFit]  # of other people's apps, each with what it needs or why it cannot
    segments: list[Segment]
    model: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """The object `inspect --json` prints."""
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        """The same for reading: segments added up by the first part of their names."""
        sums: Counter[str] = Counter()
        for segment in self.segments:
            sums[segment.name.split(".")[0].split()[0]] += segment.bytes
        runners = {fit.name: f"{'yes' if fit.runs else 'no'}: {fit.says}" for fit in self.runners}
        forecast = self._forecast()
        return {**self.to_json(), "segments": dict(sums), "placement_forecast": forecast, "runners": runners}

    def _forecast(self) -> list[str] | None:
        found = self.placement_forecast
        if found is None:
            return None
        count = sum(found.operators.values())
        told = (
            f"{found.share:.0%} of {count:,} operators on the {found.processor}, by public limits; the device decides"
        )
        return [told, *found.exceptions]


def inspect_artifact(path: Path) -> Inspection:
    """Inspect a bundle (checked first) or a `.pte`.

    Raises InputError for a file that is empty, cut short, no ExecuTorch program or not one of a text model.
    """
    bundle = Bundle.open(path) if os.path.isdir(path) or path.name == MANIFEST else None
    pte = bundle.pte if bundle else path
    program, program_bytes = _read_program(pte)
    names = {delegate.id: name for name, delegate in delegates().items()}
    with unchecked_tables(str(pte)), ExitStack() as stack:
        known = [names[d.id] for plan in program.execution_plan for d in plan.delegates if d.id in names]
        reader = stack.enter_context(get_backend(known[0]).open_artifact(pte)) if known else None
        return _inspect(path, bundle, pte, program, program_bytes, known[0] if known else None, reader)


def _inspect(
    path: Path,
    bundle: Bundle | None,
    pte: Path,
    program: Program,
    program_bytes: int,
    backend: str | None,
    reader: ArtifactReader | None,
) -> Inspection:
    methods = {plan.name: plan for plan in program.execution_plan}
    forward = methods.get("forward")
    compatibility_issues = list(reader.compatibility_issues()) if reader else []
    if forward is None or "get_max_seq_len" not in methods:
        told = f"; {'; '.join(compatibility_issues)}" if compatibility_issues else ""
        raise InputError(
            f"{pte} is not a text model: its methods are {', '.join(sorted(methods)) or 'none'}{told}",
            "give a .pte with the methods of the stock text runner",
        )
    calls = kernel_calls(forward)
    calls_of = Counter(
        forward.delegates[call.delegate_index].id for call in instructions(forward) if isinstance(call, DelegateCall)
    )
    codes, scales, cache_type = _caches(forward, calls)
    segments = _segments(program, program_bytes)
    quantization: dict[str, Any] = {"embedding": _embedding_type(calls), "kv_cache": cache_type}
    manifest = bundle.manifest if bundle else None
    compiled_for = dict(reader.description()) if reader else {}
    runtimes = manifest.backend.min_runtime if manifest else _min_runtime(forward, calls, compiled_for)
    template = has_chat_template(bundle.path) if bundle else None
    return Inspection(
        path=str(path),
        backend=manifest.backend.name if manifest else backend,
        target=manifest.backend.target if manifest else compiled_for.get("soc", compiled_for.get("compute_unit")),
        context=_constant(methods, "get_max_context_len"),
        prefill_chunk=_constant(methods, "get_max_seq_len"),
        vocab_size=_constant(methods, "get_vocab_size"),
        bos_id=_constant(methods, "get_bos_id"),
        eos_ids=_constants(methods, "get_eos_ids"),
        file_bytes=pte.stat().st_size,
        kv_cache_bytes=codes,
        kv_scale_bytes=scales,
        tied_weights_stored_once=any(segment.shared for segment in segments),
        methods=sorted(methods),
        delegates=dict(calls_of),
        compiled_for=compiled_for,
        placement_forecast=reader.placement() if reader else None,
        compatibility_issues=compatibility_issues,
        operators=sorted({name for name, _ in calls}),
        quantization={**quantization, **manifest.quantization} if manifest else quantization,
        runtimes=runtimes,
        runners=runner_fits(set(calls_of), set(methods), runtimes, compatibility_issues, template),
        segments=segments,
        model=asdict(manifest.model) if manifest else None,
    )


def _read_program(path: Path) -> tuple[Program, int]:
    """The program's tables and their size, without the segments behind them."""
    hint = "export it again, or copy the whole file again"
    check_regular(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
            if size == 0:
                raise InputError(f"{path} is empty", hint)
            if head[4:6] != b"ET":
                raise InputError(f"{path} is not an ExecuTorch program", "give a .pte or the folder of a bundle")
            header = get_extended_header(head)
            program_size = header.program_size if header else size
            end = header.segment_base_offset + header.segment_data_size if header else size
            if max(end, program_size) > size:
                raise InputError(f"{path} is cut short: {size:,} bytes of {max(end, program_size):,}", hint)
            file.seek(0)
            data = file.read(program_size)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from error
    with unchecked_tables(str(path)):
        return flatbuffer_to_program(data), program_size


def _constants(methods: dict[str, ExecutionPlan], name: str) -> list[int] | None:
    """What a constant method returns; None where there is none, or one that returns something else."""
    plan = methods.get(name)
    values = [plan.values[index].val for index in plan.outputs] if plan else []
    numbers = [value.int_val for value in values if isinstance(value, Int)]
    return numbers if numbers and len(numbers) == len(values) else None


def _constant(methods: dict[str, ExecutionPlan], name: str) -> int | None:
    numbers = _constants(methods, name)
    return numbers[0] if numbers else None


def _caches(plan: ExecutionPlan, calls: list[tuple[str, list[int]]]) -> tuple[int, int, str | None]:
    """Bytes of codes (or values), bytes of scales, and the type of the caches that the plan writes."""
    written = {arguments[CACHE_WRITERS[name]] for name, arguments in calls if name in CACHE_WRITERS}
    caches = [value for index in written if isinstance(value := plan.values[index].val, Tensor)]
    int8 = any(cache.scalar_type == ScalarType.CHAR for cache in caches)
    codes = scales = 0
    for cache in caches:
        size = planned_bytes(cache)
        if int8 and cache.scalar_type != ScalarType.CHAR:
            scales += size
        else:
            codes += size
    kinds = {ScalarType.CHAR: "int8", ScalarType.HALF: "fp16", ScalarType.FLOAT: "fp32"}
    kind = ScalarType.CHAR if int8 else caches[0].scalar_type if caches else None
    return codes, scales, None if kind is None else kinds.get(kind, kind.name.lower())


def _embedding_type(calls: list[tuple[str, list[int]]]) -> str | None:
    return next((f"int{EMBEDDING_BITS[name]}" for name, _ in calls if name in EMBEDDING_BITS), None)


def _min_runtime(
    plan: ExecutionPlan, calls: list[tuple[str, list[int]]], compiled_for: dict[str, str]
) -> dict[str, str]:
    """Runtimes before 1.5 abort on an embedding with bf16 scales; else 1.3 has all that mlp-export writes. A Core ML
    package says its system as "iOS 18".
    """
    scales = [plan.values[arguments[1]].val for name, arguments in calls if name in EMBEDDING_BITS]
    bf16 = any(isinstance(value, Tensor) and value.scalar_type == ScalarType.BFLOAT16 for value in scales)
    system = [part.lower() for part in compiled_for.get("system", "").split(" ") if part]
    return {"executorch": "1.5" if bf16 else "1.3", **({system[0]: system[1]} if len(system) == 2 else {})}


def _segments(program: Program, program_bytes: int) -> list[Segment]:
    names = dict.fromkeys(range(len(program.segments)), "")
    for entry in program.named_data or []:
        names[entry.segment_index] = entry.key.partition("@")[0]  # what follows says which content it is
    if program.constant_segment.offsets:
        names[program.constant_segment.segment_index] = "constants"
    spans = [(segment.offset, segment.offset + segment.size) for segment in program.segments]

    def shared(index: int) -> bool:
        start, end = spans[index]
        return any(s < end and start < e for i, (s, e) in enumerate(spans) if i != index)

    found = [
        Segment(names[index] or f"delegate {index}", segment.size, shared(index))
        for index, segment in enumerate(program.segments)
    ]
    return [Segment("program", program_bytes, False), *found]
