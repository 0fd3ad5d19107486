"""The XNNPACK artifact: its logits against the eager decoder with the same codes, its caches, its bytes."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from artifacts import export_model, quantized, read_weight, small_model
from bigram import write_bigram
from executorch.backends.xnnpack.serialization.xnnpack_graph_schema import XNNConvert, XNNDatatype
from executorch.exir.scalar_type import ScalarType
from executorch.exir.schema import (
    DelegateCall,
    EValue,
    ExecutionPlan,
    Instruction,
    Int,
    KernelCall,
    Operator,
    Program,
    Tensor,
)
from safetensors.torch import load_file
from small_checkpoints import LLAMA3_SCALING, pro_json, save_tensors

from mlp_export.backends.base import BuildOptions, BuildPlan, get_backend, open_session
from mlp_export.backends.xnnpack import graph as graph_module
from mlp_export.backends.xnnpack import program as program_module
from mlp_export.backends.xnnpack import subgraph as subgraph_module
from mlp_export.backends.xnnpack.graph import decoder_subgraph
from mlp_export.backends.xnnpack.options import XnnpackOptions
from mlp_export.backends.xnnpack.payload import Payload, parse_payloads
from mlp_export.backends.xnnpack.program import SLOT_STEP, emit_program, passed_slots
from mlp_export.backends.xnnpack.subgraph import Subgraph, Value
from mlp_export.bundle.bundle import Bundle
from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.errors import InputError
from mlp_export.evaluation.inspect_artifact import inspect_artifact
from mlp_export.models.config import ModelConfig
from mlp_export.models.eager import decode
from mlp_export.models.families import config_from_json
from mlp_export.models.numerics import DynamicNumerics
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.pipeline import ExportOptions, plan
from mlp_export.program import text_program
from mlp_export.program.cache import cache_tensors
from mlp_export.program.embedding import EmbeddingTable
from mlp_export.program.executorch_private import flatbuffer_to_program
from mlp_export.program.layout import pack_embedding, pack_linear, unpack_embedding, unpack_linear
from mlp_export.program.pte import PteLayout, mapped, read_layout, share_constants
from mlp_export.program.repeat_layers import repeat_layers
from mlp_export.progress import Stage
from mlp_export.quantization.scheme import GROUP_SIZE, Scheme, group_scheme
from mlp_export.quantization.store import QuantizedModel
from mlp_export.runtime.executorch_session import ExecutorchSession
from mlp_export.runtime.session import Session

CONTEXT, CHUNK = 64, 16  # a chunk longer than window + 1: upstream's ring is wrong there
ITEM_BYTES = {ScalarType.BOOL: 1, ScalarType.CHAR: 1, ScalarType.FLOAT: 4, ScalarType.INT: 4, ScalarType.LONG: 8}
# Registered in every stock runtime with the portable, quantized and llm kernels, as the phones' have them.
ALLOWED_OPERATORS = {
    *(
        f"aten::{name}"
        for name in "_local_scalar_dense _to_copy add arange cat cos eq flip ge index_select lt mul remainder".split()
    ),
    *(f"aten::{name}" for name in "scalar_tensor select_copy sin slice_copy sub sym_size view_copy where".split()),
    *(f"executorch_prim::{name}" for name in "add et_view floordiv mul sub sym_max sym_min".split()),
    "llama::update_cache_with_indices",
    "quantized_decomposed::embedding_4bit",
    "quantized_decomposed::embedding_byte",
}


@dataclass(frozen=True)
class Built:
    """A bundle and the model it came from, quantized as it is there."""

    bundle: Bundle
    model: QuantizedModel

    def session(self) -> Session:
        return open_session(self.bundle)


def build(folder: Path, family: Any = "mobilellm-pro", *, options: dict[str, Any] | None = None, **model: Any) -> Built:
    quantized = small_model(folder, family, **model)
    asked = {"weights": model.get("weights"), **(options or {})}
    return Built(export_model(quantized, folder / "bundle", **asked), quantized)


def random_tokens(count: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 300, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def answers(session: Session, tokens: Sequence[int], counts: Sequence[int]) -> torch.Tensor:
    """Logits [calls, vocabulary] of calls of `counts` tokens, from position 0 on."""
    found, position = [], 0
    for count in counts:
        found.append(session.forward(tokens[position : position + count], position))
        position += count
    return torch.stack(found)


def errors(built: Built, found: torch.Tensor, tokens: Sequence[int], counts: Sequence[int]) -> torch.Tensor:
    """How far `found` [calls, vocabulary] is from the eager decoder's logits with the same codes, of whose norm.

    One activation that is rounded to the other side moves the logits of a model this small by 0.02, and the decoder's
    own move by 0.03 (at most 0.07 in a call) under noise of 1e-6. Mistakes as small as a window of 7 or 9 keys for 8
    move them by 0.25 (at least 0.27 in some call); masks have tests of their own, to the bit.
    """
    ends = [sum(counts[: n + 1]) - 1 for n in range(len(counts))]
    numerics = DynamicNumerics.from_manifest(built.bundle.manifest.quantization)
    (right,) = decode(built.model, [TokenSequence(list(tokens[: ends[-1] + 1]), ends)], numerics)
    return torch.linalg.vector_norm(found - right, dim=-1) / torch.linalg.vector_norm(right, dim=-1)


def near(found: torch.Tensor) -> bool:
    """Whether such errors are those of rounding."""
    return float(found.pow(2).mean().sqrt()) <= 0.08 and float(found.max()) <= 0.15  # NaN is not


def check(built: Built, tokens: Sequence[int], counts: Sequence[int], session: Session | None = None) -> torch.Tensor:
    """Assert that the artifact's logits for these calls are the decoder's, and return them."""
    found = answers(session or built.session(), tokens, counts)
    away = errors(built, found, tokens, counts)
    assert near(away), away
    return found


# Every combination of model, rounding, cache and runtime that differs in the program

VARIANTS: dict[str, dict[str, Any]] = {
    "pro": {},
    "pro-runtime-1.3-fp32-cache": {"options": {"runtime": "1.3", "kv_cache": "fp32"}},
    "pro-int8": {"weights": "int8"},
    "pro-accelerator": {"kind": "int4-accelerator"},
    "pro-accelerator-untied-runtime-1.3": {"kind": "int4-accelerator", "tied": False, "options": {"runtime": "1.3"}},
    "pro-untied-fp32-cache": {"tied": False, "options": {"kv_cache": "fp32"}},
    "pro-all-local-without-qk-norm": {"layer_types": ["sliding_attention"] * 8, "use_qk_norm": False},
    "r1-runtime-1.3": {"family": "mobilellm-r1", "dtype": torch.float16, "options": {"runtime": "1.3"}},
    "llama-scaled-rope": {"family": "llama", "dtype": torch.float32, "rope_scaling": LLAMA3_SCALING},
    "llama-untied-int8-fp32-cache-runtime-1.3": {
        "family": "llama",
        "tied": False,
        "weights": "int8",
        "num_key_value_heads": 4,  # a head each
        "options": {"runtime": "1.3", "kv_cache": "fp32"},
    },
}


@pytest.fixture(scope="module", params=list(VARIANTS))
def variant(request: pytest.FixtureRequest, pro: Built, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp(request.param), **asked) if (asked := VARIANTS[request.param]) else pro


@pytest.fixture(scope="module")
def pro(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("pro"))


@pytest.fixture(scope="module")
def real_window(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A global and a local layer of MobileLLM-Pro's window, and a chunk longer than it."""
    options = {"context": 640, "prefill_chunk": 520}
    return build(tmp_path_factory.mktemp("window"), num_hidden_layers=2, sliding_window=512, options=options)


@pytest.fixture(scope="module")
def one_local_layer(tmp_path_factory: pytest.TempPathFactory) -> Built:
    options = {"context": 1040, "prefill_chunk": 520}
    changes = {"num_hidden_layers": 1, "sliding_window": 512, "layer_types": ["sliding_attention"]}
    return build(tmp_path_factory.mktemp("local"), options=options, **changes, no_rope_layers=[1])


def test_logits_are_the_decoders(variant: Built) -> None:
    tokens = random_tokens(CONTEXT)
    check(variant, tokens, [1, 1, 5, 16, 15, 1, 1, 16, 7, 1])


def test_codes_and_scales_are_the_models(variant: Built) -> None:
    names = variant.model.weight_names()
    assert "head" in names and "embed" in names
    for name in names:
        weight = variant.model.weight(name)
        assert not read_weight("xnnpack", variant.bundle.pte, name, weight).differences(weight), name
    head = variant.model.weight("head")
    query = read_weight("xnnpack", variant.bundle.pte, "layers.0.q", variant.model.weight("layers.0.q"))
    assert query.differences(head)


def test_linears_over_the_same_rows_are_one(variant: Built) -> None:
    names = {key.partition("@")[0] for key in layout_of(variant.bundle.pte).named_data}
    last = variant.model.config.num_layers - 1
    expected = {"head", f"layers.{last}.q", f"layers.{last}.kv"}
    expected |= {f"layers.{layer}.qkv" for layer in range(last)}
    expected |= {f"layers.{layer}.{part}" for layer in range(last + 1) for part in ("gate_up", "o", "down")}
    assert names == expected | {f"{name}.scales" for name in expected}


def test_each_part_of_a_fused_weight_is_read_back(pro: Built, tmp_path: Path) -> None:
    """One code and one scale changed in each part: that part is another, and its neighbours are not."""
    parts, copied = ("layers.0.q", "layers.0.k", "layers.0.v", "layers.0.gate", "layers.0.up"), tmp_path / "copy.pte"
    layout, data = layout_of(pro.bundle.pte), pro.bundle.pte.read_bytes()
    for name in parts:
        fused = "layers.0.gate_up" if name.endswith(("gate", "up")) else "layers.0.qkv"
        before = parts[: parts.index(name)] if fused.endswith("qkv") else [n for n in ("layers.0.gate",) if n != name]
        skipped = sum(pro.model.weight(other).codes.shape[0] for other in before)
        weight = pro.model.weight(name)
        for suffix, row_bytes in (("", weight.codes.shape[1] // 2), (".scales", weight.scales.shape[1] * 2)):
            start, _ = layout.named_span(fused + suffix)
            for row in (skipped, skipped + weight.codes.shape[0] - 1):
                damaged = bytearray(data)
                damaged[start + row * row_bytes] ^= 1
                copied.write_bytes(damaged)
                found = {
                    n: read_weight("xnnpack", copied, n, w).differences(w) for n in parts if (w := pro.model.weight(n))
                }
                expected: dict[str, list[str]] = {n: [] for n in parts} | {name: ["scales" if suffix else "codes"]}
                assert found == expected, (name, suffix, row)


def test_files_with_a_weight_for_each_linear_are_read(pro: Built, tmp_path: Path, monkeypatch: Any) -> None:
    """As earlier releases wrote them, with and without a hash in the key; their answers are bit for bit the same."""

    together = graph_module.XnnpackOps._compute

    def apart(self: Any, layer: str, parts: Sequence[str], rows: Value) -> None:
        for part in parts:
            together(self, layer, (part,), rows)

    monkeypatch.setattr(graph_module.XnnpackOps, "_compute", apart)
    fused = emit(pro.model, tmp_path / "apart.pte", swapped=True)
    monkeypatch.setattr(subgraph_module, "weight_keys", lambda name, *_: (name, f"{name}.scales"))
    without_hash = emit(pro.model, tmp_path / "old.pte", swapped=True)
    monkeypatch.undo()
    tokens, counts = random_tokens(CONTEXT), [16, 1, 1, 16, 16, 14]
    for path in (fused, without_hash):
        assert "layers.0.qkv" not in {key.partition("@")[0] for key in layout_of(path).named_data}
        for name in pro.model.weight_names():
            if name != "embed":
                weight = pro.model.weight(name)
                assert not read_weight("xnnpack", path, name, weight).differences(weight), name
        old = ExecutorchSession(path)
        assert torch.equal(answers(old, tokens, counts), answers(pro.session(), tokens, counts))


def test_the_plan_is_what_comes_out(variant: Built) -> None:
    manifest, model = variant.bundle.manifest, variant.model
    promised = costs(model.config, model.scheme, manifest.context, built=variant)
    found = inspect_artifact(variant.bundle.pte)
    assert found.file_bytes <= promised.file_bytes <= found.file_bytes + 1_100_000
    assert (found.kv_cache_bytes, found.kv_scale_bytes) == (promised.kv_cache_bytes, promised.kv_scale_bytes)
    item = 1 if manifest.quantization["kv_cache"] == "int8" else 4
    assert found.kv_cache_bytes == model.config.kv_cache_bytes(CONTEXT, item)
    values = model.config.kv_cache_bytes(CONTEXT)
    assert found.kv_scale_bytes == (4 * values // model.config.head_dim if item == 1 else 0)


def test_one_delegate_call_and_only_operators_of_the_stock_runtimes(variant: Built) -> None:
    found = inspect_artifact(variant.bundle.pte)
    assert found.delegates == {"XnnpackBackend": 1}
    assert set(found.operators) <= ALLOWED_OPERATORS
    assert found.quantization["kv_cache"] == variant.bundle.manifest.quantization["kv_cache"]
    assert found.tied_weights_stored_once == variant.model.tied == variant.bundle.manifest.tied_weights_stored_once


def test_the_file_needs_the_runtime_that_the_manifest_says(variant: Built, request: pytest.FixtureRequest) -> None:
    """Told from the embedding's scales: bf16 ones abort before 1.5. Those a channel are fp32 and run everywhere."""
    scales = embedding_scales(variant.bundle.pte)
    if variant.model.scheme.group_size is None:
        assert scales == ScalarType.FLOAT
    else:
        old = "runtime-1.3" in request.node.callspec.params["variant"]
        assert scales == (ScalarType.HALF if old else ScalarType.BFLOAT16)
    least = {"executorch": "1.5" if scales == ScalarType.BFLOAT16 else "1.3"}
    assert least == variant.bundle.manifest.backend.min_runtime == inspect_artifact(variant.bundle.pte).runtimes


def test_variants_are_what_their_names_say(variant: Built, request: pytest.FixtureRequest) -> None:
    name, quantization = request.node.callspec.params["variant"], variant.bundle.manifest.quantization
    assert ("int8" in name) == (quantization["scheme"] == "int8-per-channel")
    assert ("accelerator" in name) == (quantization["scales"] == "learned")
    assert ("fp32-cache" in name) == (quantization["kv_cache"] == "fp32")


# Chunks


def test_the_comparison_can_fail(pro: Built) -> None:
    """A token that is another at a call's end, in its middle, a chunk before; a call at a wrong position; a window."""
    tokens, counts = random_tokens(CONTEXT), [16, 16, 16, 16]
    right = answers(pro.session(), tokens, counts)
    assert near(errors(pro, right, tokens, counts))
    for at in (15, 7, 31):
        other = [*tokens[:at], (tokens[at] + 1) % 300, *tokens[at + 1 :]]
        assert not near(errors(pro, answers(pro.session(), other, counts), tokens, counts))
    session = pro.session()
    session.forward(tokens[:16], 0)
    shifted = torch.stack([right[0], session.forward(tokens[16:32], 17), *right[2:]])
    assert not near(errors(pro, shifted, tokens, counts))
    checkpoint = pro.model.checkpoint
    for window in (7, 9):
        config = replace(checkpoint.config, window=window)
        wrong = replace(pro, model=replace(pro.model, checkpoint=replace(checkpoint, config=config)))
        assert not near(errors(wrong, right, tokens, counts))
    assert not near(errors(pro, right * float("nan"), tokens, counts))


@pytest.mark.parametrize(
    "counts",
    [
        [16, 16, 16, 16],
        [1] * 64,
        [9] * 7 + [1],  # window + 1
        [10] * 6 + [4],  # window + 2: where upstream's ring goes wrong
        [8] * 8,
        [7] * 9 + [1],
        [15, 1] * 4,
        [1, 16, 2, 15, 3, 14, 13],
        [16, 5, 16, 11, 16],
        [64 - 48, 12, 12, 12, 12],
    ],
    ids=str,
)
def test_prompts_may_be_split_anywhere(pro: Built, counts: list[int]) -> None:
    assert sum(counts) == CONTEXT  # so the last call ends in the last slot
    check(pro, random_tokens(CONTEXT), counts)


@pytest.mark.parametrize("seed", range(8))
def test_prompts_may_be_split_at_random(pro: Built, seed: int) -> None:
    choice = random.Random(seed)
    counts: list[int] = []
    while (left := CONTEXT - sum(counts)) > 0:
        counts.append(min(choice.randint(1, CHUNK), left))
    check(pro, random_tokens(CONTEXT, seed), counts)


@pytest.mark.parametrize("length", [1, 2, 8, 9, 15, 16])
def test_a_prompt_of_one_call_is_the_same_token_by_token(pro: Built, length: int) -> None:
    tokens = random_tokens(length, seed=length)
    at_once = check(pro, tokens, [length])[-1]
    by_steps = check(pro, tokens, [1] * length)[-1]
    assert float((at_once - by_steps).norm() / by_steps.norm()) <= 0.15


def test_calls_that_do_not_fit_are_refused_and_harm_nothing(pro: Built) -> None:
    tokens, session = random_tokens(CONTEXT), pro.session()
    first = answers(session, tokens, [16, 16, 16])
    for wrong, position in ((random_tokens(17), 0), ([], 0), ([1, 2], 63), ([1], 64), ([1], -1), ([320], 0), ([-1], 0)):
        with pytest.raises(InputError):
            session.forward(wrong, position)
    last = session.forward(tokens[48:], 48)
    assert torch.equal(torch.stack([*first, last]), answers(pro.session(), tokens, [16] * 4))


@pytest.mark.parametrize("chunk", [1, CONTEXT])
def test_the_shortest_and_the_longest_chunk(pro: Built, tmp_path: Path, chunk: int) -> None:
    bundle = export_model(pro.model, tmp_path / "b", prefill_chunk=chunk)
    built, tokens = Built(bundle, pro.model), random_tokens(CONTEXT)
    assert built.session().prefill_chunk == chunk == inspect_artifact(bundle.pte).prefill_chunk
    check(built, tokens, [1] * CONTEXT)
    if chunk == CONTEXT:
        for counts in ([CONTEXT], [1, 63], [63, 1], [40, 24], [10, 10, 44]):
            check(built, tokens, counts)
    else:
        with pytest.raises(InputError):
            built.session().forward([1, 2], 0)


@pytest.mark.parametrize(
    ("count", "position"), [(1, CONTEXT), (2, CONTEXT - 1), (CHUNK, CONTEXT - 4), (1, 2 * CONTEXT)]
)
def test_a_call_past_the_context_is_an_error_and_spoils_nothing(pro: Built, count: int, position: int) -> None:
    """Phones' runners make such calls: it must not end the process, as the operator that writes the caches would."""
    tokens = random_tokens(CONTEXT)
    session: Any = pro.session()
    expected = answers(pro.session(), tokens, [16, 16, 16, 15, 1])[-1]
    for start in range(0, CONTEXT - 1, CHUNK):
        session.forward(tokens[start : min(start + CHUNK, CONTEXT - 1)], start)
    with pytest.raises(RuntimeError, match="0x12"):
        session._forward.execute([torch.tensor([tokens[:count]]), torch.tensor([position])])
    assert torch.equal(session.forward(tokens[-1:], CONTEXT - 1), expected)


def test_the_smallest_context(pro: Built, tmp_path: Path) -> None:
    bundle = export_model(pro.model, tmp_path / "b", context=2, prefill_chunk=2, verify=True)
    check(Built(bundle, pro.model), random_tokens(2), [2])
    check(Built(bundle, pro.model), random_tokens(2), [1, 1])


# The window


@pytest.mark.parametrize(
    "counts",
    [
        [509, *[1] * 8],  # 510, 511, 512, 513, ... keys, token by token
        [511, 1, 1, 1, 520 - 514],
        [510, 2, 2, 2],
        [512, 1, 1, 100],
        [513, 1, 1, 100],
        [514, 1, 1, 100],
        [520, 120],  # chunks longer than the window + 1, to the last slot
        [100, 520, 19, 1],
    ],
    ids=str,
)
def test_a_window_of_512_keys(real_window: Built, counts: list[int]) -> None:
    check(real_window, random_tokens(640), counts)


@pytest.mark.parametrize(
    "counts",
    [
        [1] * 514,
        [511, 1, 1, 1],  # position 0 is in the ring
        [512, 1, 1],
        [2, 510, 1, 1],
        [512, 2],
        [513, 1],
    ],
    ids=lambda counts: str(counts[:4]),
)
def test_a_query_sees_511_keys_back_and_not_512(one_local_layer: Built, counts: list[int]) -> None:
    """In one layer, logits depend on the keys that the mask lets through, and not by a bit on others."""
    tokens = random_tokens(sum(counts))
    others = [tokens[0] + 1, *tokens[1:]]
    session = one_local_layer.session()
    differ = [
        not torch.equal(a, b) for a, b in zip(*(answers(session, t, counts) for t in (tokens, others)), strict=True)
    ]
    ends = [sum(counts[: n + 1]) - 1 for n in range(len(counts))]
    assert differ == [end < 512 for end in ends]
    assert False in differ


def test_rows_of_a_chunk_see_511_back_and_not_512(one_local_layer: Built) -> None:
    """The same where both stand in one chunk, or one in each of two that are longer than the window."""
    session = one_local_layer.session()
    for start in (0, 520):
        for length, changed, seen in ((512, 0, True), (513, 0, False), (513, 1, True), (520, 7, False), (520, 8, True)):
            tokens = random_tokens(start + length)
            others = [*tokens]
            others[start + changed] += 1
            counts = [start, length] if start else [length]
            one, other = (answers(session, t, counts)[-1] for t in (tokens, others))
            assert torch.equal(one, other) != seen, (start, length, changed)


def test_local_layers_keep_the_window_and_no_more(real_window: Built) -> None:
    config, found = real_window.model.config, inspect_artifact(real_window.bundle.pte)
    assert config.local_layers == (False, True)
    assert found.kv_cache_bytes == (640 + 512) * 2 * config.num_kv_heads * config.head_dim
    slots = {tensor.layer: tensor.slots for tensor in cache_tensors(config, 640, "int8")}
    assert slots == {0: 640, 1: 512}


# Slots that the delegate takes


def test_slots_are_passed_in_steps_and_all_of_them_at_last() -> None:
    assert [passed_slots(start, 100) for start in (0, 1, 63, 64, 65, 99)] == [1, 64, 64, 64, 100, 100]
    assert [passed_slots(start, 512) for start in (0, 448, 449, 511, 512, 513, 10_000)] == [1, 448, *[512] * 5]
    for slots in (1, 2, 5, 8, 63, 64, 65, 511, 512, 513):
        passed = [passed_slots(start, slots) for start in range(slots + 70)]
        assert all(max(1, min(start, slots)) <= count <= slots for start, count in enumerate(passed))
        assert len(set(passed)) <= slots // SLOT_STEP + 2  # shapes that XNNPACK meets


@pytest.mark.parametrize("context", [100, 65, 64, 63])
def test_contexts_that_are_no_multiple_of_the_step(pro: Built, tmp_path: Path, context: int) -> None:
    built = Built(export_model(pro.model, tmp_path / "b", context=context), pro.model)
    tokens = random_tokens(context)
    for counts in ([16] * (context // 16) + [context % 16] * (context % 16 > 0), [1] * context):
        check(built, tokens, counts)
    # The last slot is written, and read by nobody: one position further is refused.
    with pytest.raises(InputError):
        built.session().forward([1], context)


@pytest.mark.parametrize("window", [1, 2, 5, 63, 65, 130])
def test_windows_that_are_no_multiple_of_the_step(tmp_path: Path, window: int) -> None:
    options = {"context": 200, "prefill_chunk": 70}
    built = build(tmp_path, num_hidden_layers=2, sliding_window=window, options=options)
    tokens, choice = random_tokens(200, seed=window), random.Random(window)
    counts: list[int] = []
    while (left := 200 - sum(counts)) > 0:
        counts.append(min(choice.choice([1, 1, choice.randint(1, 70), 70]), left))
    for split in (counts, [62, 1, 1, 1, 1, 62, 1, 1, 1, 1, 68]):
        check(built, tokens, split)


@pytest.mark.parametrize("window", [511, 513])
def test_windows_beside_512(tmp_path: Path, window: int) -> None:
    """In one local layer: the key `window` - 1 back is seen, the next one is not, on either side of each step."""
    options = {"context": 660, "prefill_chunk": 130}
    changes = {"num_hidden_layers": 1, "sliding_window": window, "layer_types": ["sliding_attention"]}
    built = build(tmp_path, options=options, **changes, no_rope_layers=[1])
    session = built.session()
    counts = [130, 130, 130, 58, 1, 1, 60, *[1] * 6]  # 448, 449, 450, 510, ... 516
    tokens = random_tokens(sum(counts))
    check(built, tokens, counts, session)
    others = [tokens[0] + 1, *tokens[1:]]
    one, other = (answers(session, each, counts) for each in (tokens, others))
    ends = [sum(counts[: n + 1]) - 1 for n in range(len(counts))]
    assert [not torch.equal(a, b) for a, b in zip(one, other, strict=True)] == [end < window for end in ends]
    assert ends[-1] >= window


def test_slots_that_are_not_filled_cost_nothing_of_the_answer(
    real_window: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all slots passed at every call, as if the step were the context, the logits are the same, but for the order
    in which a softmax adds the zeros of masked slots.
    """
    monkeypatch.setattr(program_module, "SLOT_STEP", 10_000)
    whole = Built(export_model(real_window.model, tmp_path / "b", context=640, prefill_chunk=520), real_window.model)
    monkeypatch.undo()
    assert passed_slots(1, 640) == 64
    tokens, counts = random_tokens(640), [1, 62, 1, 1, 100, 347, 1, 1, 60, 66]
    assert sum(counts) == 640
    one, other = (answers(built.session(), tokens, counts) for built in (real_window, whole))
    apart = torch.linalg.vector_norm(one - other, dim=-1) / torch.linalg.vector_norm(other, dim=-1)
    assert torch.equal(one[0], other[0])
    assert near(apart)
    assert float(apart.median()) < 1e-5  # where no activation was rounded to the other side


# The order of conversions


def test_no_matmul_takes_codes_that_were_just_converted(variant: Built) -> None:
    """XNNPACK 1.5.1 rewrites int8 -> float -> batch matmul into a matmul on the codes, which reads the scales of an
    earlier, smaller call. A reshape between the two keeps it from that.
    """
    (payload,) = payloads_of(variant.bundle.pte)
    int8_cache = variant.bundle.manifest.quantization["kv_cache"] == "int8"
    assert rewritten_matmuls(payload) == []
    assert len(converts_to_float(payload)) == (2 * variant.model.config.num_layers if int8_cache else 0)


def test_the_order_of_conversions_is_checked(pro: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other order, float last, is found."""
    monkeypatch.setattr(Subgraph, "reshape", reshape_before_converting)
    subgraph = decoder_subgraph(pro.model, CONTEXT, CHUNK, "int8", Stage())
    (payload,) = parse_payloads([subgraph.serialize()[0]])
    assert len(rewritten_matmuls(payload)) == 2 * pro.model.config.num_layers


def test_calls_that_grow_are_those_of_a_fresh_session(real_window: Built) -> None:
    """What the rewrite gets wrong: keys after a small first call."""
    tokens = random_tokens(640)
    for counts in ([1, 7, 512, 100], [1, 520, 1], [7, 1, 500]):
        used = real_window.session()
        used.forward(tokens[:1], 0)
        used.forward(tokens[:7], 0)
        grown = answers(used, tokens, counts)
        assert torch.equal(grown, answers(real_window.session(), tokens, counts))
        # A session whose first call is the longest there is.
        longest = real_window.session()
        longest.forward(tokens[:520], 0)
        longest.forward(tokens[520:], 520)
        assert torch.equal(grown, answers(longest, tokens, counts))


def payloads_of(path: Path) -> list[Payload]:
    with mapped(path) as data:
        spans = read_layout(data, str(path)).payloads["XnnpackBackend"]
        return parse_payloads([bytes(data[span.offset : span.offset + span.size]) for span in spans])


def converts_to_float(payload: Payload) -> set[int]:
    """Values that are int8 codes converted to float."""
    tensors = [value["xvalue_union"] for value in payload.graph["xvalues"]]
    tensors = [tensor.get("tensor_value", tensor) for tensor in tensors]  # the quantized ones hold a tensor
    types = {tensor["id_out"]: tensor["datatype"] for tensor in tensors}
    return {
        node["xnode_union"]["output_id"]
        for node in payload.graph["xnodes"]
        if node["xnode_union_type"] == "XNNConvert"
        and types[node["xnode_union"]["input_id"]] == "xnn_datatype_qint8"
        and types[node["xnode_union"]["output_id"]] == "xnn_datatype_fp32"
    }


def rewritten_matmuls(payload: Payload) -> list[int]:
    """Results of batch matmuls that take such a value as it is: what XNNPACK's `rewrite_dequant_bmm` looks for."""
    converted = converts_to_float(payload)
    return [
        node["xnode_union"]["output_id"]
        for node in payload.graph["xnodes"]
        if node["xnode_union_type"] == "XNNBatchMatrixMultiply"
        and converted & {node["xnode_union"]["input1_id"], node["xnode_union"]["input2_id"]}
    ]


_reshape = Subgraph.reshape


def reshape_before_converting(graph: Subgraph, a: Value, shape: Sequence[int]) -> Value:
    """`Subgraph.reshape` that reshapes the codes where their floats were asked for."""
    last = graph._nodes[-1].xnode_union
    by_convert = isinstance(last, XNNConvert) and last.output_id == a.id
    source = last.input_id if by_convert else a.id
    if not by_convert or graph._values[source].datatype != XNNDatatype.xnn_datatype_qint8:
        return _reshape(graph, a, shape)
    graph._nodes.pop()
    return graph.to_float(_reshape(graph, Value(source, a.shape), shape))


# Stale caches


@pytest.mark.parametrize("family", ["pro", "real_window"])
def test_a_new_sequence_is_that_of_a_fresh_session(family: str, request: pytest.FixtureRequest) -> None:
    """What an old sequence left in the caches, in every slot, is never seen."""
    built: Built = request.getfixturevalue(family)
    context, chunk = built.bundle.manifest.context, built.bundle.manifest.prefill_chunk
    used = built.session()
    old = [chunk] * (context // chunk) + ([context % chunk] if context % chunk else [])
    answers(used, random_tokens(context, seed=1), old)
    for counts in ([1] * 12, [min(chunk, 16), 1, 1, 3], [5]):
        tokens = random_tokens(sum(counts), seed=2)
        assert torch.equal(answers(used, tokens, counts), answers(built.session(), tokens, counts))


@pytest.mark.parametrize(
    ("held", "back", "same"),
    [(8, 5, True), (8, 1, True), (20, 1, True), (33, 1, True), (20, 2, False), (33, 4, False)],
)
def test_how_far_a_sequence_can_go_back(pro: Built, held: int, back: int, same: bool) -> None:
    """What runtime/conversation.py relies on: anywhere before the ring of 8 wraps, then by a token, and no further."""
    old, new = random_tokens(held, seed=3), random_tokens(7, seed=4)
    start = held - back
    used, fresh = pro.session(), pro.session()
    answers(used, old, [1] * held)
    answers(fresh, old[:start], [1] * start)
    found = [session.forward(new, start) for session in (used, fresh)]
    assert torch.equal(*found) == same
    assert torch.equal(*[session.forward(new[:1], start + len(new)) for session in (used, fresh)]) or not same


# Tied weights, stored once


def emit(model: QuantizedModel, path: Path, *, swapped: bool, scales: torch.dtype = torch.bfloat16) -> Path:
    """The program before `share_constants`: with the head's bytes for an embedding, or with bytes of its own."""
    subgraph = decoder_subgraph(model, CONTEXT, CHUNK, "int8", Stage())
    embedding = EmbeddingTable.of(model.weight("embed"), scales, share_with_head=swapped)
    with path.open("wb") as file:
        emit_program(model.config, CONTEXT, CHUNK, "int8", embedding, subgraph).write_to_file(file)
    return path


Captured = tuple[Program, list[Any], list[Any]]  # what `repeat_layers` was given


@pytest.fixture(scope="module")
def emitted(pro: Built, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[bool, Path], Captured]:
    """Programs with head and embedding apart, by whether the embedding has the head's bytes; and what is in between."""
    folder, seen = tmp_path_factory.mktemp("unshared"), []

    def capture(program: Program, kinds: list[Any], caches: list[Any], other_results: int) -> None:
        seen.append((copy.deepcopy(program), kinds, caches))
        repeat_layers(program, kinds, caches, other_results)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_program, "repeat_layers", capture)
        paths = {swapped: emit(pro.model, folder / f"{swapped}.pte", swapped=swapped) for swapped in (True, False)}
    return paths, seen[0]


@pytest.fixture(scope="module")
def unshared(emitted: tuple[dict[bool, Path], Captured]) -> dict[bool, Path]:
    return emitted[0]


def layout_of(path: Path) -> PteLayout:
    with mapped(path) as data:
        return read_layout(data, str(path))


def table_bytes(model: QuantizedModel) -> int:
    """Codes of the embedding, int4."""
    return model.config.vocab_size * model.config.hidden_size // 2


def test_a_shared_files_logits_are_the_unshared_ones_bit_for_bit(
    pro: Built, unshared: dict[bool, Path], tmp_path: Path
) -> None:
    shared = tmp_path / "shared.pte"
    assert share_constants(unshared[True], shared, ["head", "head.scales"]) == ["head", "head.scales"]
    tokens, counts = random_tokens(CONTEXT), [1, 1, 16, 3, 15, 16, 5, 1, 6]
    right = answers(ExecutorchSession(unshared[False]), tokens, counts)
    assert torch.equal(answers(ExecutorchSession(unshared[True]), tokens, counts), right)
    assert torch.equal(answers(ExecutorchSession(shared), tokens, counts), right)
    assert torch.equal(answers(pro.session(), tokens, counts), right)
    assert float(right.std()) > 0.1  # and they say something


def test_a_shared_file_is_smaller_by_the_head(pro: Built, unshared: dict[bool, Path]) -> None:
    scales = pro.model.config.vocab_size * pro.model.config.hidden_size // GROUP_SIZE * 2
    saved = unshared[True].stat().st_size - pro.bundle.pte.stat().st_size
    assert abs(saved - table_bytes(pro.model) - scales) < 512  # segments begin at multiples of 128
    layout = layout_of(pro.bundle.pte)
    assert layout.segment_base + layout.segment_bytes == pro.bundle.pte.stat().st_size
    shared = {segment.name for segment in inspect_artifact(pro.bundle.pte).segments if segment.shared}
    assert shared == {"head", "head.scales", "constants"}
    assert not any(segment.shared for segment in inspect_artifact(unshared[True]).segments)


def test_the_head_is_read_from_the_embeddings_bytes(pro: Built) -> None:
    layout, program = layout_of(pro.bundle.pte), read_program(pro.bundle.pte)
    start, size = layout.named_span("head")
    assert size == table_bytes(pro.model)
    codes, scales = embedding_tensors(program)
    assert layout.segment_base + layout.constants[codes.data_buffer_idx] == start
    assert layout.segment_base + layout.constants[scales.data_buffer_idx] == layout.named_span("head.scales")[0]


def test_constants_that_differ_are_not_shared(unshared: dict[bool, Path], tmp_path: Path) -> None:
    """An embedding in its own nibble order: only the scales are equal."""
    copied = tmp_path / "copy.pte"
    assert share_constants(unshared[False], copied, ["head", "head.scales"]) == ["head.scales"]
    tokens = random_tokens(20)
    expected = answers(ExecutorchSession(unshared[False]), tokens, [16, 4])
    assert torch.equal(answers(ExecutorchSession(copied), tokens, [16, 4]), expected)
    assert not share_constants(unshared[False], tmp_path / "none.pte", ["layers.0.o", "layers.0.qkv"])
    assert torch.equal(answers(ExecutorchSession(tmp_path / "none.pte"), tokens, [16, 4]), expected)


def test_runtime_1_3_shares_the_codes_and_has_fp16_scales_beside(pro: Built, tmp_path: Path) -> None:
    bundle = export_model(pro.model, tmp_path / "b", runtime="1.3")
    shared = {segment.name for segment in inspect_artifact(bundle.pte).segments if segment.shared}
    assert shared == {"head", "constants"} and bundle.manifest.tied_weights_stored_once
    codes, scales = embedding_tensors(read_program(bundle.pte))
    assert scales.scalar_type == ScalarType.HALF and codes.scalar_type == ScalarType.BYTE
    tokens, counts = random_tokens(CONTEXT), [16, 1, 16, 16, 15]
    assert torch.equal(answers(ExecutorchSession(bundle.pte), tokens, counts), answers(pro.session(), tokens, counts))
    extra = bundle.pte.stat().st_size - pro.bundle.pte.stat().st_size
    assert abs(extra - 2 * scales.sizes[0] * scales.sizes[1]) < 512


def test_scales_that_fp16_cannot_hold_stay_exact(tmp_path: Path) -> None:
    """A row of very small weights: its bf16 scales are fp16 subnormals at best."""
    folder = small_model(tmp_path, num_hidden_layers=2).checkpoint.path
    tensors = {key: tensor.clone() for key, tensor in load_file(folder / "model.safetensors").items()}
    tensors["model.embed_tokens.weight"][7] *= 1e-6
    save_tensors(folder, tensors)
    checkpoint = read_checkpoint(folder, "int4-cpu")
    model = quantized(checkpoint, group_scheme(checkpoint.kind, checkpoint.config, None))
    weight = model.weight("embed")
    assert not torch.equal(weight.scales.half().float(), weight.scales.float())
    built = Built(export_model(model, tmp_path / "b", runtime="1.3"), model)
    assert embedding_scales(built.bundle.pte) == ScalarType.FLOAT
    assert inspect_artifact(built.bundle.pte).runtimes == {"executorch": "1.3"}
    assert built.bundle.manifest.tied_weights_stored_once
    assert not read_weight("xnnpack", built.bundle.pte, "embed", weight).differences(weight)
    check(built, [7, *random_tokens(15), 7, 7], [16, 1, 1])


# Bytes


def costs(
    config: ModelConfig,
    scheme: Scheme,
    context: int,
    *,
    built: Built | None = None,
    chunk: int = 128,
    kv_cache: Any = "int8",
    runtime: Any = "1.5",
) -> BuildPlan:
    """The plan for such an export, or for the one that made `built`."""
    if built is not None:
        manifest = built.bundle.manifest
        chunk, kv_cache = manifest.prefill_chunk, manifest.quantization["kv_cache"]
        runtime = manifest.backend.min_runtime["executorch"]
    return get_backend("xnnpack").compiler.plan(
        config, scheme, BuildOptions(context, chunk, XnnpackOptions(kv_cache), runtime)
    )


@pytest.mark.parametrize(("context", "mebibytes"), [(2000, 14.04), (4000, 22.83), (8000, 40.41)])
def test_mobilellm_pros_kv_cache_has_the_published_size(context: int, mebibytes: float) -> None:
    config = config_from_json(pro_json())
    expected = (9 * context + 21 * 512) * 512
    assert config.kv_cache_bytes(context) == expected
    assert round(expected / 2**20, 2) == mebibytes
    planned = costs(config, Scheme(4, GROUP_SIZE), context)
    assert planned.kv_cache_bytes == expected
    assert planned.kv_scale_bytes == expected // 64 * 4
    in_fp32 = costs(config, Scheme(4, GROUP_SIZE), context, kv_cache="fp32")
    assert (in_fp32.kv_cache_bytes, in_fp32.kv_scale_bytes) == (4 * expected, 0)


def test_mobilellm_pros_file_has_at_most_the_promised_size() -> None:
    config = config_from_json(pro_json())
    groups, channels = Scheme(4, GROUP_SIZE), Scheme(4, None, learned=True)
    table = config.vocab_size * config.hidden_size
    codes = config.num_parameters // 2  # the norms' few are in there too
    now = costs(config, groups, 8192).file_bytes
    assert codes * (1 + 2 * 2 / GROUP_SIZE) < now <= 612_000_000
    assert now < costs(config, groups, 8192, runtime="1.3").file_bytes <= 630_000_000
    assert costs(config, groups, 2048).file_bytes == now  # caches take no place in the file
    untied = costs(config_from_json(pro_json(tie_word_embeddings=False)), groups, 8192).file_bytes
    assert untied - now == table // 2 + table // GROUP_SIZE * 2
    # Embedding and head of the accelerator's checkpoint have scales of their own, and so codes.
    assert costs(config, channels, 8192).file_bytes > codes + table // 2


# Long contexts


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Built]:
    """A global and a local layer, at two contexts, the longest of them verified."""
    model = small_model(tmp_path_factory.mktemp("long"), num_hidden_layers=2)
    assert model.config.local_layers == (False, True)
    folder = tmp_path_factory.mktemp("long")
    return {
        context: Built(
            export_model(model, folder / str(context), context=context, verify=context > 100_000),
            model,
        )
        for context in (32768, 131072)
    }


def test_the_longest_context_exports_and_verifies(long: dict[int, Built]) -> None:
    manifest = long[131072].bundle.manifest
    assert manifest.context == 131072
    assert manifest.verification is not None and manifest.verification["passed"]
    passed = {entry["name"] for entry in manifest.verification["checks"] if entry["passed"]}
    assert {"logits: last slots", "logits: window edge", "window", "weights", "stock runner"} <= passed


def test_nothing_grows_with_the_square_of_the_context(long: dict[int, Built]) -> None:
    short, longest = long[32768], long[131072]

    def arenas(built: Built) -> int:
        return sum(forward(read_program(built.bundle.pte)).non_const_buffer_sizes)

    assert arenas(longest) <= 4.1 * arenas(short)
    assert arenas(longest) >= inspect_artifact(longest.bundle.pte).kv_cache_bytes
    assert longest.bundle.manifest.device_ram_bytes <= 4.1 * short.bundle.manifest.device_ram_bytes
    files = [built.bundle.pte.stat().st_size for built in (short, longest)]
    assert abs(files[1] - files[0]) < 4096
    config, scheme = config_from_json(pro_json()), Scheme(4, GROUP_SIZE)
    for kv_cache in ("int8", "fp32"):
        most, less = (costs(config, scheme, context, kv_cache=kv_cache) for context in (131072, 32768))
        assert most.device_ram_bytes <= 4.1 * less.device_ram_bytes
        assert most.peak_ram_bytes <= 4.1 * less.peak_ram_bytes


def test_a_context_of_131_072_at_mobilellm_pros_shape_is_planned(tmp_path: Path) -> None:
    config, scheme = config_from_json(pro_json()), Scheme(4, GROUP_SIZE)
    found = costs(config, scheme, 131072)
    assert found.kv_cache_bytes == (9 * 131072 + 21 * 512) * 512
    assert found.file_bytes <= 612_000_000


# The program's tables


def read_program(path: Path) -> Program:
    with mapped(path) as data:
        layout = read_layout(data, str(path))
        return flatbuffer_to_program(bytes(data[: layout.segment_base]))


def forward(program: Program) -> ExecutionPlan:
    return next(plan for plan in program.execution_plan if plan.name == "forward")


def kernels(plan: ExecutionPlan, name: str) -> list[KernelCall]:
    calls = [i.instr_args for i in plan.chains[0].instructions]
    return [c for c in calls if isinstance(c, KernelCall) and plan.operators[c.op_index].name.endswith(name)]


def embedding_tensors(program: Program) -> tuple[Tensor, Tensor]:
    plan = forward(program)
    (call,) = kernels(plan, "embedding_4bit") or kernels(plan, "embedding_byte")
    codes, scales = (plan.values[index].val for index in call.args[:2])
    assert isinstance(codes, Tensor) and isinstance(scales, Tensor)
    return codes, scales


def embedding_scales(path: Path) -> ScalarType:
    return embedding_tensors(read_program(path))[1].scalar_type


def test_every_layer_has_memory_of_its_own(variant: Built) -> None:
    """Caches live from call to call: none may share memory with another value of its arena."""
    plan = forward(read_program(variant.bundle.pte))
    written = {call.args[1] for call in kernels(plan, "update_cache_with_indices")}
    config, kv_cache = variant.model.config, variant.bundle.manifest.quantization["kv_cache"]
    assert len(written) == len(cache_tensors(config, CONTEXT, kv_cache))
    spans: dict[int, tuple[int, int, int]] = {}  # value -> arena, start, end
    for index, value in enumerate(plan.values):
        tensor = value.val
        if isinstance(tensor, Tensor) and tensor.allocation_info is not None:
            place = tensor.allocation_info
            start = (place.memory_offset_high << 32) + place.memory_offset_low
            size = math.prod(tensor.sizes) * ITEM_BYTES[tensor.scalar_type]
            spans[index] = (place.memory_id, start, start + size)
            assert start + size <= plan.non_const_buffer_sizes[place.memory_id]
    for cache in written:
        arena, start, end = spans[cache]
        others = [i for i, (a, s, e) in spans.items() if i != cache and a == arena and s < end and start < e]
        assert not others, (cache, others)


@pytest.fixture
def tables(emitted: tuple[dict[bool, Path], Captured]) -> Captured:
    """The program of one layer of each kind, its caches, and all caches."""
    program, kinds, caches = emitted[1]
    return copy.deepcopy(program), list(kinds), list(caches)


def delegate_call(plan: ExecutionPlan) -> DelegateCall:
    (call,) = [i.instr_args for i in plan.chains[0].instructions if isinstance(i.instr_args, DelegateCall)]
    return call


def test_layers_are_repeated(tables: Captured) -> None:
    program, kinds, caches = tables
    plan = forward(program)
    arguments, arenas = list(delegate_call(plan).args), list(plan.non_const_buffer_sizes)
    shared = len(arguments) - 2 * len(kinds) - 1
    repeat_layers(program, kinds, caches)
    repeated = delegate_call(plan).args
    assert len(repeated) == shared + 2 * len(caches) + 1
    assert repeated[:shared] == arguments[:shared]
    assert len(set(repeated[shared:])) == 2 * len(caches) + 1  # an argument and a result for each
    assert len(kernels(plan, "update_cache_with_indices")) == len(caches)
    assert sum(plan.non_const_buffer_sizes) > sum(arenas)
    # Every cache is written from the row that the delegate returned for it.
    rows = repeated[shared + len(caches) + 1 :]
    assert {call.args[0] for call in kernels(plan, "update_cache_with_indices")} == set(rows)


def test_a_model_of_the_templates_layers_is_left_as_it_is(tables: Captured) -> None:
    program, kinds, _ = tables
    before = copy.deepcopy(program)
    repeat_layers(program, kinds, kinds)
    assert program == before


def double_the_call(plan: ExecutionPlan) -> None:
    plan.chains[0].instructions.append(Instruction(delegate_call(plan)))


def drop_the_call(plan: ExecutionPlan) -> None:
    chain = plan.chains[0]
    chain.instructions = [i for i in chain.instructions if not isinstance(i.instr_args, DelegateCall)]


def drop_a_writer(plan: ExecutionPlan) -> None:
    writer = kernels(plan, "update_cache_with_indices")[-1]
    chain = plan.chains[0]
    chain.instructions = [i for i in chain.instructions if i.instr_args is not writer]


def rename_the_writers(plan: ExecutionPlan) -> None:
    plan.operators = [Operator("llama::update_cache", o.overload) for o in plan.operators]


def drop_an_argument(plan: ExecutionPlan) -> None:
    delegate_call(plan).args = delegate_call(plan).args[:3]


def add_a_chain(plan: ExecutionPlan) -> None:
    plan.chains.append(copy.deepcopy(plan.chains[0]))


def make_a_cache_a_number(plan: ExecutionPlan) -> None:
    for call in kernels(plan, "update_cache_with_indices"):
        plan.values[call.args[1]] = EValue(Int(1))


def unplan_the_caches(plan: ExecutionPlan) -> None:
    for call in kernels(plan, "update_cache_with_indices"):
        cache = plan.values[call.args[1]].val
        assert isinstance(cache, Tensor)
        cache.allocation_info = None


@pytest.mark.parametrize(
    "damage",
    [
        double_the_call,
        drop_the_call,
        drop_a_writer,
        rename_the_writers,
        drop_an_argument,
        add_a_chain,
        make_a_cache_a_number,
        unplan_the_caches,
    ],
    ids=lambda damage: damage.__name__,
)
def test_malformed_programs_are_refused(tables: Captured, damage: Callable[[ExecutionPlan], None]) -> None:
    program, kinds, caches = tables
    damage(forward(program))
    with pytest.raises(ValueError):  # noqa: PT011 - some are zip's
        repeat_layers(program, kinds, caches)


def test_malformed_templates_are_refused(tables: Captured) -> None:
    program, kinds, caches = tables
    with pytest.raises(ValueError, match="twice"):
        repeat_layers(copy.deepcopy(program), [*kinds[:-1], kinds[0]], caches)
    with pytest.raises(ValueError, match="in no layer"):
        repeat_layers(copy.deepcopy(program), kinds, [kind for kind in caches if kind != kinds[-1]])
    with pytest.raises(ValueError, match="not every row"):
        repeat_layers(copy.deepcopy(program), kinds[1:], caches[1:])


# Layouts


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("pack", "unpack"), [(pack_linear, unpack_linear), (pack_embedding, unpack_embedding)])
def test_codes_survive_their_layout(bits: int, pack: Any, unpack: Any) -> None:
    half = 1 << (bits - 1)
    codes = torch.randint(-half, half, (9, 64), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    codes[0, : 2 * min(half, 8)] = torch.arange(-min(half, 8), min(half, 8)).to(torch.int8)
    codes[1, :2] = torch.tensor([-half, half - 1])
    packed = pack(codes.clone(), bits)
    assert packed.numel() == codes.numel() * bits // 8
    assert torch.equal(unpack(packed, bits), codes)
    flipped = packed.clone()
    flipped.view(torch.uint8)[3, 5] ^= 1
    assert int((unpack(flipped, bits) != codes).sum()) == 1


def test_nibbles_stand_where_the_kernels_look_for_them() -> None:
    codes = torch.tensor([[1, -8, 7, 0]], dtype=torch.int8)  # with zero point 8: 9, 0, 15, 8
    assert pack_linear(codes, 4).tolist() == [[0x09, 0x8F]]
    assert pack_embedding(codes, 4).tolist() == [[0x90, 0xF8]]
    # One layout read as the other has each pair of columns swapped: what the program's flip makes good.
    assert unpack_embedding(pack_linear(codes, 4), 4).tolist() == [[-8, 1, 0, 7]]
    assert unpack_linear(pack_embedding(codes, 4), 4).tolist() == [[-8, 1, 0, 7]]


# Files that are none


@pytest.fixture(scope="module")
def other_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program without delegates or named data."""
    path = tmp_path_factory.mktemp("other") / "other.pte"
    return write_bigram(path, {1: 2}, vocab_size=320, eos_ids=[301])


def test_an_error_while_a_file_is_mapped_is_not_the_files(pro: Built) -> None:
    """A full disk under the copy that shares constants, which reads one file and writes another."""
    for error in (OSError(28, "No space left on device"), ValueError("another")):
        with pytest.raises(type(error)), mapped(pro.bundle.pte):
            raise error


def cuts(data: bytes) -> Iterator[int]:
    yield from (0, 1, 4, 7, 8, 12, 31, 32, 39, 40, 63, 64, 1000)
    yield from range(5000, len(data), 17_001)
    yield len(data) - 1


def test_files_cut_short_are_refused(pro: Built) -> None:
    data = pro.bundle.pte.read_bytes()
    read_layout(data)
    for length in cuts(data):
        with pytest.raises(InputError) as caught:
            read_layout(data[:length], "the file")
        assert "the file" in caught.value.message and caught.value.hint


@pytest.mark.parametrize("text", [b"", b"x", b"{}" * 500, bytes(5000), b"\xff" * 5000, b"PK\x03\x04" * 100])
def test_what_is_no_program_is_refused(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_layout(text)
    path = tmp_path / "model.pte"
    path.write_bytes(text)
    for use in (ExecutorchSession, inspect_artifact):
        with pytest.raises(InputError) as caught:
            use(path)
        assert "model.pte" in caught.value.message


def test_a_damaged_program_is_refused_or_read_but_never_anything_else(pro: Built) -> None:
    data, choice = pro.bundle.pte.read_bytes(), random.Random(0)
    base = layout_of(pro.bundle.pte).segment_base
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(choice.choice([1, 8, 64])):
            damaged[choice.randrange(base)] = choice.randrange(256)
        try:
            read_layout(damaged)
        except InputError:
            refused += 1
    assert 0 < refused < 400


def test_a_session_refuses_a_program_cut_short_or_missing(pro: Built, tmp_path: Path) -> None:
    data = pro.bundle.pte.read_bytes()
    for length in (100, len(data) // 2, len(data) - 1):
        path = tmp_path / "cut.pte"
        path.write_bytes(data[:length])
        with pytest.raises(InputError):
            ExecutorchSession(path)
    with pytest.raises(InputError):
        ExecutorchSession(tmp_path / "none.pte")


def test_another_program_has_no_weights_of_ours(other_program: Path, pro: Built) -> None:
    assert layout_of(other_program).named_data == {}
    for name in ("head", "embed", "layers.0.q"):
        with pytest.raises(InputError):
            read_weight("xnnpack", other_program, name, pro.model.weight(name))


def test_a_weight_of_another_size_is_refused(pro: Built) -> None:
    model = pro.model
    for name, like in (
        ("layers.0.o", "layers.0.k"),  # stored by itself
        ("layers.0.gate", "layers.0.q"),  # one of two that are alike
        ("layers.4.k", "layers.4.q"),
        ("layers.0.q", "layers.0.down"),  # of other columns
        ("layers.0.k", "layers.0.q"),  # higher than a third of the fused rows may be
        ("head", "layers.0.q"),
    ):
        with pytest.raises(InputError, match="does not fit"):
            read_weight("xnnpack", pro.bundle.pte, name, model.weight(like))


def test_the_pipelines_plan_is_the_backends(pro: Built, tmp_path: Path) -> None:
    options = ExportOptions(
        "xnnpack", str(pro.model.checkpoint.path), tmp_path / "b", context=CONTEXT, prefill_chunk=16
    )
    told, backends = plan(options), costs(pro.model.config, pro.model.scheme, CONTEXT, built=pro)
    assert (told.file_bytes, told.kv_cache_bytes, told.device_ram_bytes) == (
        backends.file_bytes,
        backends.kv_cache_bytes,
        backends.device_ram_bytes,
    )
