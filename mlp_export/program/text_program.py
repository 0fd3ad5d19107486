"""What the programs around all delegates share: caches and who writes them, the stock text runner's constants, and the
way through ExecuTorch into a file.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401  registers the llama:: operators
import torch
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, ExecutorchBackendConfig, to_edge
from executorch.exir.passes.memory_planning_pass import MemoryPlanningPass
from executorch.exir.passes.sym_shape_eval_pass import ConstraintBasedSymShapeEvalPass
from executorch.exir.schema import Program
from torch.export import Dim

from mlp_export.models.config import ModelConfig
from mlp_export.program.cache import CacheTensor, KvCacheType, cache_tensors
from mlp_export.program.embedding import Embedding, EmbeddingTable
from mlp_export.program.executorch_private import Cord
from mlp_export.program.repeat_layers import repeat_layers

# It checks shapes that are data-dependent here, and orders dimensions that no tensor here has in another order.
_EDGE_CONFIG = EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True)


class CachedProgram(torch.nn.Module):
    """The parts of the contract's `forward` that no delegate changes: the embedding, and the caches as buffers."""

    ring_slots: torch.Tensor
    nothing: torch.Tensor

    def __init__(
        self,
        config: ModelConfig,
        context: int,
        tensors: Sequence[CacheTensor],
        embedding: EmbeddingTable,
        delegate: torch.nn.Module,
    ) -> None:
        super().__init__()
        self.config, self.context, self.tensors = config, context, tensors
        self.embedding = Embedding(embedding, config.hidden_size)
        self.delegate = delegate
        self.register_buffer("ring_slots", torch.arange(config.window))
        self.register_buffer("nothing", torch.zeros(1, dtype=torch.int64))
        for tensor in tensors:
            self.register_buffer(tensor.name, torch.zeros(tensor.shape(config.num_kv_heads), dtype=tensor.dtype))

    def caches(self) -> list[torch.Tensor]:
        """The buffers, in the order of `tensors`."""
        return [getattr(self, tensor.name) for tensor in self.tensors]

    def start(self, input_pos: torch.Tensor) -> int:
        """`input_pos` as a number within the context."""
        start: int = input_pos[0].item()  # type: ignore[assignment]
        torch._check(start >= 0)
        torch._check(start < self.context)
        return start

    def newest_in_ring(self, input_pos: torch.Tensor) -> torch.Tensor:
        """The newest position before `input_pos` that falls on each slot of a ring, int64 [window]; below 0 where
        there is none yet. Operands of % stay >= 0: the runtime's truncates.
        """
        last = input_pos - 1
        return last - (last + self.config.window - self.ring_slots) % self.config.window

    def write(self, new_rows: Iterable[torch.Tensor], positions: torch.Tensor) -> None:
        """Put each cache's new rows [kv_heads, S, 1, width] at the slots of `positions` int64 [S]."""
        heads, window = self.config.num_kv_heads, max(self.config.window, 1)
        # The operator that writes ends the process where a slot is past the cache. A look-up past a table of one entry
        # is an error instead; within the context it adds zeros.
        positions = positions + torch.index_select(self.nothing, 0, (positions >= self.context).to(torch.int64))
        # The operator wants the slots once a KV head.
        global_slots = torch.cat([positions.view(1, -1)] * heads, 0)
        ring_slots = torch.cat([(positions % window).view(1, -1)] * heads, 0)
        for tensor, cache, new in zip(self.tensors, self.caches(), new_rows, strict=True):
            slots = ring_slots if tensor.is_local else global_slots
            torch.ops.llama.update_cache_with_indices(new, cache, 0, slots)


def runner_metadata(config: ModelConfig, context: int, chunk: int) -> dict[str, object]:
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


def one_layer_of_each_kind(config: ModelConfig) -> ModelConfig:
    """`config` with a local and a global layer, or one where all are alike: what `repeat_layers` makes all of."""
    kinds = tuple(dict.fromkeys(config.local_layers))
    return replace(config, num_layers=len(kinds), local_layers=kinds, nope_layers=())


def trace(
    module: torch.nn.Module,
    arguments: Sequence[torch.Tensor],
    dynamic_shapes: Any = None,
    metadata: Mapping[str, Any] | None = None,
) -> EdgeProgramManager:
    """`module` as ExecuTorch's passes take it, with `metadata` as constant methods."""
    exported = _exported(module, arguments, dynamic_shapes)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        constants = None if metadata is None else dict(metadata)
        return to_edge(exported, compile_config=_EDGE_CONFIG, constant_methods=constants)


def delegate_stub(
    module: torch.nn.Module, arguments: Sequence[torch.Tensor], dynamic_shapes: Any = None
) -> torch.export.ExportedProgram:
    """The program of a module with a delegate's arguments and results. ExecuTorch takes the tensor specs of the
    signature from it and nothing else, so that its operators may stay as they are: no pass of ExecuTorch has to run.
    """
    return _exported(module, arguments, dynamic_shapes)


def _exported(
    module: torch.nn.Module, arguments: Sequence[torch.Tensor], dynamic_shapes: Any
) -> torch.export.ExportedProgram:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.export warns about its own internals; none of it is for our user
        return torch.export.export(module, tuple(arguments), dynamic_shapes=dynamic_shapes, strict=False)


def trace_forward(module: torch.nn.Module, chunk: int, metadata: Mapping[str, Any]) -> Program:
    """The program of the contract's method: `forward(tokens int64 [1, 1 to chunk], input_pos int64 [1])`."""
    example = (torch.ones(1, min(chunk, 2), dtype=torch.long), torch.tensor([0]))
    shapes = ({1: Dim("rows", min=1, max=chunk) if chunk > 1 else Dim.STATIC}, {0: Dim.STATIC})
    edge = trace(module, example, shapes, metadata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manager = edge.to_executorch(
            ExecutorchBackendConfig(
                extract_delegate_segments=True,
                sym_shape_eval_pass=ConstraintBasedSymShapeEvalPass(),
                memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
            )
        )
    return manager.executorch_program


def program_of_all_layers(
    config: ModelConfig,
    context: int,
    chunk: int,
    kv_cache: KvCacheType,
    around: Callable[[ModelConfig, list[CacheTensor]], CachedProgram],
    other_results: int = 1,
) -> Program:
    """The program of the contract's method, traced for one layer of each kind and repeated for all of `config`.

    `around` makes the traced module, its delegate included, for a config of few layers and their cache tensors;
    `other_results` is what the delegate returns beside the caches' new rows.
    """
    one_of_each = one_layer_of_each_kind(config)
    template = cache_tensors(one_of_each, context, kv_cache)
    program = trace_forward(around(one_of_each, template), chunk, runner_metadata(config, context, chunk))
    caches = cache_tensors(config, context, kv_cache)
    repeat_layers(program, [tensor.kind for tensor in template], [tensor.kind for tensor in caches], other_results)
    return program


def write_durably(program: Cord, path: Path) -> None:
    """The serialized program as a file that is on the disk when this returns."""
    with path.open("wb") as file:
        program.write_to_file(file)
        file.flush()
        os.fsync(file.fileno())
