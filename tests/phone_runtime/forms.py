"""The exported forms that a phone's runtime has to run, and the calls that they are given.

Exports are kept in a folder of their own beside the sources (`.cache/android/forms`), under a key of the exporter's
sources: the tests on this machine and those on Arm code share them.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from artifacts import QUIET, small_model
from executorch.exir.lowered_backend_module import LoweredBackendModule
from executorch.runtime import Runtime
from filelock import FileLock
from torch.export import Dim

import mlp_export
from mlp_export.backends.base import BuildOptions
from mlp_export.backends.xnnpack.lower import lower
from mlp_export.backends.xnnpack.options import XnnpackOptions
from mlp_export.backends.xnnpack.payload import BACKEND_ID
from mlp_export.backends.xnnpack.subgraph import Subgraph, Value
from mlp_export.models.quantized_weight import WeightFormat
from mlp_export.program.executorch_private import PTEFile, serialize_pte_binary
from mlp_export.program.layout import tensor_bytes
from mlp_export.program.text_program import delegate_stub, trace_forward
from mlp_export.quantization.nearest import quantize_weight
from mlp_export.runtime.executorch_session import ExecutorchSession
from mlp_export.runtime.native_runner import call

REPOSITORY = Path(__file__).parents[2]
CACHE = Path(os.environ.get("PHONE_TOOLS") or REPOSITORY / ".cache" / "android")
CONTEXT, CHUNK = 64, 16  # the local layers' window is 8: a chunk goes around their ring twice
FEATURES, RESULTS = 64, 48  # of a tiny program
# Tokens a call: one, some, whole chunks past the ring's wrap, then one by one; then a new sequence from position 0.
COUNTS = (1, 7, 16, 16, 5, 1, 1, 1, 1)
AGAIN = 9
FACTOR = torch.arange(1, RESULTS + 1, dtype=torch.float32)

Emit = Callable[[Subgraph, Value], Value]  # makes rows of FEATURES floats into rows of RESULTS


@dataclass(frozen=True)
class Form:
    """What differs between exported programs."""

    family: str
    kv_cache: str
    weights: str
    tied: bool
    runtime: str

    def __str__(self) -> str:
        tied = "tied" if self.tied else "untied"
        return f"{self.family}-{self.kv_cache}-cache-{self.weights}-{tied}-runtime-{self.runtime}"


def _forms() -> list[Form]:
    """Each of the 16 combinations once, by turns as MobileLLM-Pro and as Llama: for each of the two families, every
    combination of three of the four choices is among its 8.
    """
    found = []
    for choice in itertools.product((0, 1), repeat=4):
        family = ("mobilellm-pro", "llama")[sum(choice) % 2]
        kv, weights, untied, runtime = choice
        found.append(Form(family, ("int8", "fp32")[kv], ("int4", "int8")[weights], not untied, ("1.5", "1.3")[runtime]))
    return found


FORMS = _forms()


def exported(form: Form) -> Path:
    """The `.pte` of `form`, exported where the cache does not hold it yet."""

    def write(path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            weights = None if form.weights == "int4" else form.weights
            model = small_model(Path(folder), form.family, weights=weights, tied=form.tied, num_hidden_layers=3)
            lower(model, BuildOptions(CONTEXT, CHUNK, XnnpackOptions(form.kv_cache), form.runtime), path, QUIET)  # type: ignore[arg-type]

    return cached(f"{form}.pte", write)


def cached(name: str, write: Callable[[Path], None]) -> Path:
    """The file `name` of this exporter's forms; `write` makes it where it is not there yet."""
    folder = CACHE / "forms" / sources_key([Path(__file__)])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with FileLock(folder / f"{name}.lock"):
        if not path.is_file():
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                write(Path(temporary, name))
                Path(temporary, name).rename(path)
    return path


def sources_key(more: Sequence[Path]) -> str:
    """A hash of what decides how a checkpoint is exported, and of the files `more`."""
    digest = hashlib.sha256()
    tests = [*more, *(Path(__file__).parents[1] / name for name in ("artifacts.py", "small_checkpoints.py"))]
    package = Path(mlp_export.__file__).parent
    rooms = ("models", "checkpoints", "quantization", "program", "backends", "backends/xnnpack")
    files = [*tests, *(file for room in rooms for file in (package / room).glob("*.py"))]
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def calls() -> list[tuple[list[int], int]]:
    """Tokens and position of each call that a form is given."""
    tokens = torch.randint(0, 300, (sum(COUNTS),), generator=torch.Generator().manual_seed(0)).tolist()
    found, position = [], 0
    for count in COUNTS:
        found.append((tokens[position : position + count], position))
        position += count
    return [*found, (tokens[-AGAIN:], 0)]


def call_lines() -> list[str]:
    """The same as commands of the native runner's script."""
    return [call(tokens, position) for tokens, position in calls()]


def python_logits(path: Path) -> list[torch.Tensor]:
    """What ExecuTorch's Python runtime answers, a tensor a call."""
    session = ExecutorchSession(path)
    return [session.forward(tokens, position) for tokens, position in calls()]


# Programs of one delegate


def tiny_program(path: Path, emit: Emit, inline: bool) -> None:
    """Write a program of the runner's signature whose delegate is what `emit` makes.

    `forward` returns all rows, float32 [tokens, RESULTS]. `inline`: the payload is in the program, not in a segment.
    """
    subgraph = Subgraph()
    subgraph.output(emit(subgraph, subgraph.input((CHUNK, FEATURES))))
    payload, named_data = subgraph.serialize()

    class DelegateSignature(torch.nn.Module):
        def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor]:
            return (torch.zeros(rows.shape[0], RESULTS),)

    class Tiny(torch.nn.Module):
        frequencies: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("frequencies", torch.arange(1, FEATURES + 1).view(1, -1) / 100)
            signature = delegate_stub(DelegateSignature(), [torch.zeros(5, FEATURES)], ({0: Dim.AUTO},))
            self.delegate = LoweredBackendModule(signature, BACKEND_ID, payload, [], None)

        def forward(self, tokens: torch.Tensor, input_pos: torch.Tensor) -> torch.Tensor:
            angles = (tokens + input_pos).to(torch.float32).view(-1, 1) * self.frequencies
            (result,) = self.delegate(torch.cos(angles))
            return result

    program = trace_forward(Tiny(), CHUNK, {"get_max_seq_len": CHUNK, "get_max_context_len": CONTEXT})
    data = serialize_pte_binary(PTEFile(program=program, named_data=named_data), extract_delegate_segments=not inline)
    with path.open("wb") as file:
        data.write_to_file(file)


def linear(form: WeightFormat, biased: bool) -> Emit:
    def emit(graph: Subgraph, rows: Value) -> Value:
        generator = torch.Generator().manual_seed(1)
        weight = torch.randn(RESULTS, FEATURES, generator=generator).to(torch.bfloat16)
        bias = torch.arange(RESULTS, dtype=torch.float32)
        quantized = graph.weight("weight", [quantize_weight(weight, form)])
        return graph.linear(graph.quantize_rows(rows), quantized, graph.constant(bias) if biased else None)

    return emit


def factor_in_named_data(graph: Subgraph, rows: Value) -> Value:
    """A linear, whose weights XNNPACK packs, times a constant, to which it keeps a pointer."""
    index = graph._named_data("factor", tensor_bytes(FACTOR))
    result = linear(WeightFormat(8, None), biased=False)(graph, rows)
    return graph.multiply(result, graph._value(FACTOR.shape, constant=index))


def factor_in_the_payload(graph: Subgraph, rows: Value) -> Value:
    """The same with the constant in the payload."""
    return graph.multiply(linear(WeightFormat(8, None), biased=False)(graph, rows), graph.constant(FACTOR))


def tiny_logits(path: Path) -> list[torch.Tensor]:
    """The Python runtime's answers to the same calls."""
    method = Runtime.get().load_program(path).load_method("forward")
    return [
        method.execute([torch.tensor([tokens]), torch.tensor([position])])[0].flatten().clone()
        for tokens, position in calls()
    ]
