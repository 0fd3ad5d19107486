"""The ExecuTorch program around the HTP's graph: the stock text runner's contract, in operators of the CPU.

`forward(tokens [1, S] int64, input_pos [1] int64) -> logits [1, 1, V]` float32 of the last token, 1 <= S <= N (see
`static_rows`). The delegate takes and returns caches as they are stored.
"""

from __future__ import annotations

import torch
from executorch.exir.lowered_backend_module import LoweredBackendModule

from mlp_export.backends.qnn.compiler import BACKEND_ID, compile_specs
from mlp_export.models.config import ModelConfig
from mlp_export.program.cache import CacheTensor, KvCacheType
from mlp_export.program.embedding import EmbeddingTable
from mlp_export.program.executorch_private import Cord, PTEFile, serialize_pte_binary
from mlp_export.program.static_rows import StaticRowsProgram
from mlp_export.program.text_program import delegate_stub, program_of_all_layers

KV_CACHE: KvCacheType = "int8-static"
# A context binary is mapped as it stands in the file, whose pages the HTP's driver wants whole.
_PAYLOAD_ALIGNMENT = 4096


class TextProgram(StaticRowsProgram):
    """The contract's `forward` around a delegate with the inputs and outputs of `decoder_graph`."""

    def forward(self, tokens: torch.Tensor, input_pos: torch.Tensor) -> torch.Tensor:
        config, count = self.config, tokens.shape[1]
        self.start(input_pos)
        last = self.last_row(input_pos, count)
        rows = [self.embedded(tokens, last), *self.rotations(input_pos)]
        shared = [x.view(1, 1, self.rows, -1) for x in rows]
        if not all(config.local_layers):
            shared.append(self.global_mask(input_pos).view(1, 1, 1, -1))
        if any(config.local_layers):
            shared.append(self.local_mask(input_pos).view(1, 1, self.rows, -1))
        shared.append(last.to(torch.int32))
        *new_rows, logits = self.delegate(*shared, *self.caches())
        self.write_tokens(new_rows, input_pos, count)
        return logits.view(1, 1, config.vocab_size)


def emit_program(
    config: ModelConfig, context: int, rows: int, embedding: EmbeddingTable, hidden: float, payload: bytes, soc: str
) -> Cord:
    """The finished program around the compiled graph `payload`, ready for `write_to_file`."""

    def around(traced: ModelConfig, tensors: list[CacheTensor]) -> TextProgram:
        signature = _delegate_signature(traced, context, rows, tensors)
        delegate = LoweredBackendModule(signature, BACKEND_ID, payload, compile_specs(soc), None)
        return TextProgram(traced, context, rows, tensors, embedding, hidden, delegate)

    program = program_of_all_layers(config, context, rows, KV_CACHE, around)
    return serialize_pte_binary(
        PTEFile(program=program), extract_delegate_segments=True, segment_alignment=_PAYLOAD_ALIGNMENT
    )


def _delegate_signature(
    config: ModelConfig, context: int, rows: int, tensors: list[CacheTensor]
) -> torch.export.ExportedProgram:
    """The delegate's arguments and results."""
    kv_heads = config.num_kv_heads

    class DelegateSignature(torch.nn.Module):
        def forward(self, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
            new = [torch.zeros(kv_heads, rows, 1, tensor.width, dtype=tensor.dtype) for tensor in tensors]
            return (*new, torch.zeros(1, 1, 1, config.vocab_size))

    arguments = [torch.zeros(1, 1, rows, config.hidden_size)]
    arguments += [torch.zeros(1, 1, rows, config.head_dim) for _ in range(2 * len(config.ropes))]
    if not all(config.local_layers):
        arguments.append(torch.zeros(1, 1, 1, context))
    if any(config.local_layers):
        arguments.append(torch.zeros(1, 1, rows, config.window))
    arguments.append(torch.zeros(1, dtype=torch.int32))
    arguments += [torch.zeros(tensor.shape(kv_heads), dtype=tensor.dtype) for tensor in tensors]
    return delegate_stub(DelegateSignature(), arguments)
