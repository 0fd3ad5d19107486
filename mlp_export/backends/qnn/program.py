"""The ExecuTorch program around the HTP's graph: the stock text runner's contract, in operators of the CPU.

`forward(tokens [1, S] int64, input_pos [1] int64) -> logits [1, 1, V]` float32 of the last token, 1 <= S <= N. The
program pads S tokens to N rows, looks up the embedding, computes what all layers share (rotations, masks), calls the
delegate and writes the S new rows to the caches, which the delegate takes and returns as they are stored.
"""

from __future__ import annotations

import torch
from executorch.exir._serialize._cord import Cord
from executorch.exir._serialize._program import PTEFile, serialize_pte_binary
from executorch.exir.lowered_backend_module import LoweredBackendModule

from mlp_export.backends.cache import CacheTensor, KvCacheType, cache_tensors
from mlp_export.backends.embedding import EmbeddingTable
from mlp_export.backends.qnn.compiler import BACKEND_ID, compile_specs
from mlp_export.backends.repeat_layers import repeat_layers
from mlp_export.backends.text_program import (
    CachedProgram,
    one_layer_of_each_kind,
    runner_metadata,
    stand_in,
    trace_forward,
)
from mlp_export.config import ModelConfig
from mlp_export.decoder import rope_frequencies

KV_CACHE: KvCacheType = "int8-static"
# A context binary is mapped as it stands in the file, whose pages the HTP's driver wants whole.
_PAYLOAD_ALIGNMENT = 4096


class TextProgram(CachedProgram):
    """The contract's `forward` around a delegate with the inputs and outputs of `decoder_graph`."""

    frequencies: torch.Tensor
    row_numbers: torch.Tensor
    slots: torch.Tensor
    seen: torch.Tensor
    hidden: torch.Tensor

    def __init__(
        self,
        config: ModelConfig,
        context: int,
        rows: int,
        embedding: EmbeddingTable,
        hidden: float,
        delegate: torch.nn.Module,
    ) -> None:
        """`hidden` is what the masks add to scores of keys that are not seen."""
        super().__init__(config, context, cache_tensors(config, context, KV_CACHE), embedding, delegate)
        self.rows = rows
        self.register_buffer("frequencies", rope_frequencies(config).float())
        self.register_buffer("row_numbers", torch.arange(rows))
        self.register_buffer("slots", torch.arange(context))
        self.register_buffer("seen", torch.tensor(0.0))
        self.register_buffer("hidden", torch.tensor(hidden))

    def forward(self, tokens: torch.Tensor, input_pos: torch.Tensor) -> torch.Tensor:
        config, count = self.config, tokens.shape[1]
        self.start(input_pos)
        padded = torch.cat([tokens, torch.zeros(1, self.rows, dtype=torch.int64)], 1)[:, : self.rows]
        positions = input_pos + self.row_numbers
        angles = positions.to(torch.float32).view(-1, 1) * self.frequencies
        cos, sin = torch.cos(angles), torch.sin(angles)
        shared = [
            self.embedding(padded).view(1, 1, self.rows, -1),
            torch.cat([cos, cos], -1).view(1, 1, self.rows, -1),
            torch.cat([-sin, sin], -1).view(1, 1, self.rows, -1),
        ]
        if not all(config.local_layers):
            shared.append(torch.where(self.slots < input_pos, self.seen, self.hidden).view(1, 1, 1, -1))
        if any(config.local_layers):
            filled = self.newest_in_ring(input_pos).view(1, -1)
            in_use = torch.logical_and(filled >= 0, positions.view(-1, 1) - filled < config.window)
            shared.append(torch.where(in_use, self.seen, self.hidden).view(1, 1, self.rows, -1))
        shared.append((input_pos + (count - 1) - input_pos).to(torch.int32))

        *new_rows, logits = self.delegate(*shared, *self.caches())
        # A slice [:, :count] would hold only for count < rows.
        valid = torch.arange(count)
        self.write((new.index_select(1, valid) for new in new_rows), valid + input_pos)
        return logits.view(1, 1, config.vocab_size)


def emit_program(
    config: ModelConfig, context: int, rows: int, embedding: EmbeddingTable, hidden: float, payload: bytes, soc: str
) -> Cord:
    """The finished program around the compiled graph `payload`, ready for `write_to_file`."""
    one_of_each = one_layer_of_each_kind(config)
    template = cache_tensors(one_of_each, context, KV_CACHE)
    border = _delegate_border(one_of_each, context, rows, template)
    delegate = LoweredBackendModule(border, BACKEND_ID, payload, compile_specs(soc), None)
    module = TextProgram(one_of_each, context, rows, embedding, hidden, delegate)
    program = trace_forward(module, rows, runner_metadata(config, context, rows))
    caches = cache_tensors(config, context, KV_CACHE)
    repeat_layers(program, [tensor.kind for tensor in template], [tensor.kind for tensor in caches])
    return serialize_pte_binary(
        PTEFile(program=program), extract_delegate_segments=True, segment_alignment=_PAYLOAD_ALIGNMENT
    )


def _delegate_border(
    config: ModelConfig, context: int, rows: int, tensors: list[CacheTensor]
) -> torch.export.ExportedProgram:
    """The delegate's arguments and results."""
    kv_heads = config.num_kv_heads

    class Border(torch.nn.Module):
        def forward(self, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
            new = [torch.zeros(kv_heads, rows, 1, tensor.width, dtype=tensor.dtype) for tensor in tensors]
            return (*new, torch.zeros(1, 1, 1, config.vocab_size))

    arguments = [
        torch.zeros(1, 1, rows, config.hidden_size),
        torch.zeros(1, 1, rows, config.head_dim),
        torch.zeros(1, 1, rows, config.head_dim),
    ]
    if not all(config.local_layers):
        arguments.append(torch.zeros(1, 1, 1, context))
    if any(config.local_layers):
        arguments.append(torch.zeros(1, 1, rows, config.window))
    arguments.append(torch.zeros(1, dtype=torch.int32))
    arguments += [torch.zeros(tensor.shape(kv_heads), dtype=tensor.dtype) for tensor in tensors]
    return stand_in(Border(), arguments)
