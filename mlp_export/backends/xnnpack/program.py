"""The ExecuTorch program around the delegate: the stock text runner's contract.

`forward(tokens [1, S] int64, input_pos [1] int64) -> logits [1, 1, V]` float32 of the last token. The program looks
up the embedding, computes what all layers share (rotations, positions), calls the delegate and writes the new cache
rows. Only this small program goes through torch.export; the delegate's payload is made by `graph`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import executorch.extension.llm.custom_ops.custom_ops
import executorch.kernels.quantized  # noqa: F401  registers quantized_decomposed's out variants
import torch
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, ExecutorchBackendConfig, to_edge
from executorch.exir._serialize._cord import Cord
from executorch.exir._serialize._program import PTEFile, serialize_pte_binary
from executorch.exir.lowered_backend_module import LoweredBackendModule
from executorch.exir.passes.memory_planning_pass import MemoryPlanningPass
from executorch.exir.passes.sym_shape_eval_pass import ConstraintBasedSymShapeEvalPass
from executorch.exir.schema import Program
from torch.export import Dim

from mlp_export.backends.repeat_layers import repeat_layers
from mlp_export.backends.xnnpack.cache import CacheTensor, KvCacheType, cache_tensors
from mlp_export.backends.xnnpack.layout import pack_embedding, pack_linear
from mlp_export.backends.xnnpack.subgraph import Subgraph
from mlp_export.config import ModelConfig
from mlp_export.decoder import rope_frequencies
from mlp_export.quantization import QuantizedWeight

BACKEND_ID = "XnnpackBackend"
# Where a key that is not there stands: further away than any position, so every mask hides it. Exact in float32.
_FAR = 1e9


@dataclass(frozen=True)
class EmbeddingTable:
    """The embedding as the program stores it. `swapped`: the bytes are the head's, so each pair of columns comes
    out swapped.
    """

    packed: torch.Tensor
    scales: torch.Tensor
    bits: int
    swapped: bool

    @staticmethod
    def of(weight: QuantizedWeight, scale_dtype: torch.dtype, share_with_head: bool) -> EmbeddingTable:
        """`scale_dtype` is what the runtime's kernel reads; the scales must survive it exactly."""
        scales = weight.scales.to(scale_dtype)
        if not torch.equal(scales.float(), weight.scales.float()):
            scales = weight.scales.float()
        swapped = share_with_head and weight.bits == 4
        packed = pack_linear(weight.codes, 4) if swapped else pack_embedding(weight.codes, weight.bits)
        return EmbeddingTable(packed, scales, weight.bits, swapped)


class TextProgram(torch.nn.Module):
    """The contract's `forward` around a delegate that takes `graph.CallInputs` and the caches."""

    frequencies: torch.Tensor
    ring_slots: torch.Tensor
    far: torch.Tensor

    def __init__(
        self,
        config: ModelConfig,
        context: int,
        kv_cache: KvCacheType,
        embedding: EmbeddingTable,
        delegate: torch.nn.Module,
    ) -> None:
        super().__init__()
        self.config = config
        self.context = context
        self.embedding = embedding
        self.delegate = delegate
        self.tensors = cache_tensors(config, context, kv_cache)
        self.register_buffer("embedding_codes", embedding.packed)
        self.register_buffer("embedding_scales", embedding.scales)
        self.register_buffer("frequencies", rope_frequencies(config).float().repeat_interleave(2))
        self.register_buffer("ring_slots", torch.arange(config.window))
        self.register_buffer("far", torch.tensor(_FAR))
        for tensor in self.tensors:
            self.register_buffer(tensor.name, torch.zeros(tensor.shape(config.num_kv_heads), dtype=tensor.dtype))

    def forward(self, tokens: torch.Tensor, input_pos: torch.Tensor) -> torch.Tensor:
        config = self.config
        start, rows = input_pos[0].item(), tokens.shape[1]
        torch._check(start >= 0)
        torch._check(start < self.context)
        positions = torch.arange(rows) + input_pos
        float_positions = positions.to(torch.float32)
        angles = float_positions.view(-1, 1, 1) * self.frequencies
        groups = config.num_heads // config.num_kv_heads
        shared = [
            self.embed(tokens),
            torch.cos(angles),
            torch.sin(angles),
            torch.cat([float_positions] * groups, 0).view(-1, 1),
            (input_pos + (rows - 1)).to(torch.float32).view(1, 1),
            (torch.arange(rows) == rows - 1).to(torch.float32).view(1, -1),
        ]
        if any(config.local_layers):
            # The newest position before `start` that falls on each slot. Operands of % stay >= 0: the runtime's
            # truncates.
            last = input_pos - 1
            filled = last - (last + config.window - self.ring_slots) % config.window
            cached = torch.where(filled >= 0, filled.to(torch.float32), self.far)
            shared.append(torch.cat([cached, float_positions]).view(1, -1))
        if not all(config.local_layers):
            # One slot past the filled ones, so that the slice is never empty; it is masked.
            slots = torch.arange(start + 1)
            cached = torch.where(slots < input_pos, slots.to(torch.float32), self.far)
            shared.append(torch.cat([cached, float_positions]).view(1, -1))

        caches = [getattr(self, tensor.name) for tensor in self.tensors]
        filled_caches = [
            cache if tensor.is_local else torch.ops.aten.slice_copy.Tensor(cache, 1, 0, start + 1)
            for tensor, cache in zip(self.tensors, caches, strict=True)
        ]
        logits, *new_rows = self.delegate(*shared, *filled_caches)
        # The operator wants the slots once a KV head.
        global_slots = torch.cat([positions.view(1, -1)] * config.num_kv_heads, 0)
        ring_slots = torch.cat([(positions % max(config.window, 1)).view(1, -1)] * config.num_kv_heads, 0)
        for tensor, cache, new in zip(self.tensors, caches, new_rows, strict=True):
            slots = ring_slots if tensor.is_local else global_slots
            torch.ops.llama.update_cache_with_indices(new, cache, 0, slots)
        return logits.view(1, 1, config.vocab_size)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """[1, S] -> [S, D]"""
        hidden = self.config.hidden_size
        if self.embedding.bits == 4:
            rows = torch.ops.quantized_decomposed.embedding_4bit.dtype(
                self.embedding_codes, self.embedding_scales, None, -8, 7, tokens, dtype=torch.float32
            )
        else:
            rows = torch.ops.quantized_decomposed.embedding_byte.dtype(
                self.embedding_codes, self.embedding_scales, None, -128, 127, tokens, dtype=torch.float32
            )
        if self.embedding.swapped:
            rows = rows.view(1, -1, hidden // 2, 2).flip(-1)
        return rows.view(-1, hidden)


def emit_program(
    config: ModelConfig,
    context: int,
    chunk: int,
    kv_cache: KvCacheType,
    embedding: EmbeddingTable,
    subgraph: Subgraph,
) -> Cord:
    """The finished program, ready for `write_to_file`. `chunk` is the most tokens a call takes."""
    one_of_each = _one_layer_of_each_kind(config)
    template = cache_tensors(one_of_each, context, kv_cache)
    payload, named_data = subgraph.serialize()
    with _quiet(), torch.no_grad():
        delegate = LoweredBackendModule(_delegate_border(config, context, template), BACKEND_ID, payload, [], None)
        rows = Dim("rows", min=1, max=chunk) if chunk > 1 else Dim.STATIC
        exported = torch.export.export(
            TextProgram(one_of_each, context, kv_cache, embedding, delegate),
            (torch.ones(1, min(chunk, 2), dtype=torch.long), torch.tensor([0])),
            dynamic_shapes=({1: rows}, {0: Dim.STATIC}),
            strict=False,
        )
        metadata = _runner_metadata(config, context, chunk)
        program = _to_executorch(to_edge(exported, compile_config=_edge_config(), constant_methods=metadata))
    caches = cache_tensors(config, context, kv_cache)
    repeat_layers(program, [tensor.kind for tensor in template], [tensor.kind for tensor in caches])
    return serialize_pte_binary(PTEFile(program=program, named_data=named_data), extract_delegate_segments=True)


def _one_layer_of_each_kind(config: ModelConfig) -> ModelConfig:
    kinds = tuple(dict.fromkeys(config.local_layers))
    return replace(config, num_layers=len(kinds), local_layers=kinds)


def _delegate_border(config: ModelConfig, context: int, tensors: list[CacheTensor]) -> torch.export.ExportedProgram:
    """A stand-in with the delegate's arguments and result shapes; ExecuTorch takes the border's tensor specs from
    it.
    """
    kv_heads = config.num_kv_heads

    class Border(torch.nn.Module):
        def forward(self, hidden: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
            rows = hidden.shape[0]
            new = [torch.zeros(kv_heads, rows, 1, tensor.width, dtype=tensor.dtype) for tensor in tensors]
            return (torch.zeros(1, config.vocab_size), *new)

    rows, filled = 2, 5  # any sizes that no other dimension has
    groups = config.num_heads // kv_heads
    arguments = [
        (torch.zeros(rows, config.hidden_size), {0: Dim.AUTO}),
        (torch.zeros(rows, 1, config.head_dim), {0: Dim.AUTO}),
        (torch.zeros(rows, 1, config.head_dim), {0: Dim.AUTO}),
        (torch.zeros(groups * rows, 1), {0: Dim.AUTO}),
        (torch.zeros(1, 1), None),
        (torch.zeros(1, rows), {1: Dim.AUTO}),
    ]
    if any(config.local_layers):
        arguments.append((torch.zeros(1, config.window + rows), {1: Dim.AUTO}))
    if not all(config.local_layers):
        arguments.append((torch.zeros(1, filled + rows), {1: Dim.AUTO}))
    for tensor in tensors:
        slots = tensor.slots if tensor.is_local else filled
        cache = torch.zeros(kv_heads, slots, 1, tensor.width, dtype=tensor.dtype)
        arguments.append((cache, None if tensor.is_local else {1: Dim.AUTO}))
    exported = torch.export.export(
        Border(),
        tuple(argument for argument, _ in arguments),
        dynamic_shapes=(arguments[0][1], tuple(dynamic for _, dynamic in arguments[1:])),
        strict=False,
    )
    return to_edge(exported, compile_config=_edge_config()).exported_program()


def _edge_config() -> EdgeCompileConfig:
    return EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True)


def _to_executorch(edge: EdgeProgramManager) -> Program:
    manager = edge.to_executorch(
        ExecutorchBackendConfig(
            extract_delegate_segments=True,
            sym_shape_eval_pass=ConstraintBasedSymShapeEvalPass(),
            memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
        )
    )
    return manager.executorch_program


def _runner_metadata(config: ModelConfig, context: int, chunk: int) -> dict[str, object]:
    """Constant methods of the stock runner (executorch/extension/llm/runner/constants.h)."""
    return {
        "get_max_seq_len": chunk,
        "get_max_context_len": context,
        "get_vocab_size": config.vocab_size,
        "get_bos_id": config.bos_id,
        "get_eos_ids": list(config.eos_ids),
        "get_n_layers": config.num_layers,
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": True,
        "enable_dynamic_shape": True,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.export warns about its own internals; none of it is for our user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
