"""The ExecuTorch program around the Core ML function: the stock text runner's contract, in operators of the CPU.

`forward(tokens [1, S] int64, input_pos [1] int64) -> logits [1, 1, V]` float32 of the last token, 1 <= S <= N (see
`static_rows`). All arguments and results of the delegate are float16, so that no conversion is left to it; caches
are taken and returned as they are stored.
"""

from __future__ import annotations

import torch
from executorch.exir.lowered_backend_module import LoweredBackendModule

from mlp_export.backends.coreml.decoder_graph import MASK_VALUE, head_pieces, input_shapes
from mlp_export.backends.coreml.package import compile_specs
from mlp_export.backends.coreml.payload import BACKEND_ID
from mlp_export.models.config import ModelConfig
from mlp_export.program.cache import CacheTensor
from mlp_export.program.embedding import EmbeddingTable
from mlp_export.program.executorch_private import Cord, PTEFile, serialize_pte_binary
from mlp_export.program.static_rows import StaticRowsProgram
from mlp_export.program.text_program import delegate_stub, program_of_all_layers


class TextProgram(StaticRowsProgram):
    """The contract's `forward` around a delegate with the inputs and outputs of `decoder_graph`."""

    def forward(self, tokens: torch.Tensor, input_pos: torch.Tensor) -> torch.Tensor:
        config, count = self.config, tokens.shape[1]
        self.start(input_pos)
        rotations = self.rotations(input_pos)
        last = self.last_row(input_pos, count)
        # Rows are the last axis there.
        shared = [
            self.embedded(tokens, last).t().to(torch.float16).view(1, -1, 1, self.rows),
            *(turn.t().to(torch.float16).view(1, 1, -1, self.rows) for turn in rotations),
        ]
        if not all(config.local_layers):
            shared.append(self.global_mask(input_pos).to(torch.float16).view(1, 1, -1, 1))
        if any(config.local_layers):
            shared.append(self.local_mask(input_pos).t().to(torch.float16).view(1, 1, -1, self.rows))
        shared.append((self.row_numbers == last).to(torch.float16).view(1, 1, 1, -1))
        results = self.delegate(*shared, *self.caches())
        new_rows, pieces = results[: len(self.tensors)], results[len(self.tensors) :]
        self.write_tokens(new_rows, input_pos, count)
        logits = torch.cat([piece.view(-1) for piece in pieces])
        return logits.to(torch.float32).view(1, 1, config.vocab_size)


def emit_program(
    config: ModelConfig, context: int, rows: int, embedding: EmbeddingTable, payload: bytes, compute_unit: str
) -> Cord:
    """The finished program around the package in `payload`, ready for `write_to_file`."""

    def around(traced: ModelConfig, tensors: list[CacheTensor]) -> TextProgram:
        signature = _delegate_signature(traced, context, rows, tensors)
        delegate = LoweredBackendModule(signature, BACKEND_ID, payload, compile_specs(compute_unit), None)
        return TextProgram(traced, context, rows, tensors, embedding, MASK_VALUE, delegate)

    program = program_of_all_layers(config, context, rows, "fp16", around, len(head_pieces(config.vocab_size)))
    return serialize_pte_binary(PTEFile(program=program), extract_delegate_segments=True)


def _delegate_signature(
    config: ModelConfig, context: int, rows: int, tensors: list[CacheTensor]
) -> torch.export.ExportedProgram:
    """The delegate's arguments and results."""
    kv_heads = config.num_kv_heads

    def half(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float16)

    class DelegateSignature(torch.nn.Module):
        def forward(self, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
            new = [half(kv_heads, rows, 1, tensor.width) for tensor in tensors]
            return (*new, *(half(1, end - first, 1, 1) for first, end in head_pieces(config.vocab_size)))

    return delegate_stub(DelegateSignature(), [half(*shape) for shape in input_shapes(config, context, rows).values()])
