"""What the programs around all delegates share: the stock text runner's constants, and the way through ExecuTorch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401  registers the llama:: operators
import torch
from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge
from executorch.exir.passes.memory_planning_pass import MemoryPlanningPass
from executorch.exir.passes.sym_shape_eval_pass import ConstraintBasedSymShapeEvalPass
from executorch.exir.schema import Program
from torch.export import Dim

from mlp_export.config import ModelConfig

# It checks shapes that are data-dependent here, and orders dimensions that no tensor here has in another order.
EDGE_CONFIG = EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True)


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
    return replace(config, num_layers=len(kinds), local_layers=kinds)


def trace_forward(module: torch.nn.Module, chunk: int, metadata: Mapping[str, Any]) -> Program:
    """The program of the contract's method: `forward(tokens int64 [1, 1 to chunk], input_pos int64 [1])`."""
    with quiet_export(), torch.no_grad():
        exported = torch.export.export(
            module,
            (torch.ones(1, min(chunk, 2), dtype=torch.long), torch.tensor([0])),
            dynamic_shapes=({1: Dim("rows", min=1, max=chunk) if chunk > 1 else Dim.STATIC}, {0: Dim.STATIC}),
            strict=False,
        )
        edge = to_edge(exported, compile_config=EDGE_CONFIG, constant_methods=dict(metadata))
        manager = edge.to_executorch(
            ExecutorchBackendConfig(
                extract_delegate_segments=True,
                sym_shape_eval_pass=ConstraintBasedSymShapeEvalPass(),
                memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
            )
        )
    return manager.executorch_program


@contextmanager
def quiet_export() -> Iterator[None]:
    """torch.export warns about its own internals; none of it is for our user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
