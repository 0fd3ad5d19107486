"""A `.pte` that follows the stock runner's contract and answers each token with a chosen next one, exported in seconds.

pte = write_bigram(tmp_path / "model.pte", {65: 66, 66: 301}, vocab_size=320, eos_ids=[301])
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from executorch.exir import ExecutorchBackendConfig, to_edge
from executorch.exir.passes.sym_shape_eval_pass import ConstraintBasedSymShapeEvalPass
from torch.export import Dim


class Bigram(torch.nn.Module):
    """logits(token) = one row of a table; the position is read and changes nothing."""

    def __init__(self, successors: Mapping[int, int], vocab_size: int) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(vocab_size, vocab_size)
        rows = torch.zeros(vocab_size, vocab_size)
        for token, successor in successors.items():
            rows[token, successor] = 10.0
        self.table.weight = torch.nn.Parameter(rows, requires_grad=False)
        self.register_buffer("last", torch.zeros(1, dtype=torch.long))

    def forward(self, tokens: torch.Tensor, input_pos: torch.Tensor) -> torch.Tensor:
        rows = self.table(tokens)[:, -1:, :]
        return rows + 0.0 * input_pos.to(torch.float32).view(1, 1, 1)


def write_bigram(
    path: Path,
    successors: Mapping[int, int],
    *,
    vocab_size: int,
    eos_ids: Sequence[int],
    bos_id: int = 300,
    context: int = 64,
    prefill_chunk: int = 8,
) -> Path:
    """Export the model to `path`."""
    rows = Dim("rows", min=1, max=prefill_chunk)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = torch.export.export(
            Bigram(successors, vocab_size),
            (torch.ones(1, 2, dtype=torch.long), torch.tensor([0])),
            dynamic_shapes=({1: rows}, {0: Dim.STATIC}),
            strict=False,
        )
        constants = {
            "get_max_seq_len": prefill_chunk,
            "get_max_context_len": context,
            "get_vocab_size": vocab_size,
            "get_bos_id": bos_id,
            "get_eos_ids": list(eos_ids),
            "use_kv_cache": True,
            "use_sdpa_with_kv_cache": True,
            "enable_dynamic_shape": True,
        }
        program = to_edge(exported, constant_methods=constants).to_executorch(
            ExecutorchBackendConfig(sym_shape_eval_pass=ConstraintBasedSymShapeEvalPass())
        )
    path.write_bytes(program.buffer)
    return path
