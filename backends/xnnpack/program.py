"""The ExecuTorch program around the delegate: the stock text runner's contract.

`forward(tokens [1, S] int64, input_pos [1] int64) -> logits [1, 1, V]` float32 of the last token. The program looks
up the embedding, computes what all layers share (rotations, positions), calls the delegate and writes the new cache
rows. Only this small program goes through torch.export; the delegate's payload is made by `graph`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from executorch.exir.lowered_backend_module import LoweredBackendModule
from torch.export import Dim

from mlp_export.backends.xnnpack.payload import BACKEND_ID
from mlp_export.backends.xnnpack.subgraph import Subgraph
from mlp_export.models.config import ModelConfig
from mlp_export.models.rope import rope_frequencies
from mlp_export.program.cache import CacheTensor, KvCacheType
from mlp_export.program.embedding import EmbeddingTable
from mlp_export.program.executorch_private import Cord, PTEFile, serialize_pte_binary
from mlp_export.program.text_program import (
    CachedProgram,
    delegate_stub,
    program_of_all_layers,
)

# Where a key that is not there stands: further away than any position, so every mask hides it. Exact in float32.
_FAR = 1e9
# The delegate takes the filled slots of a cache in steps of so many, the rest masked. XNNPACK plans its memory anew
# whenever a shape changes, and zeroes a larger workspace than any before: so once in that many tokens, not at each.
SLOT_STEP = 64


def passed_slots(start: int, slots: int) -> int:
    """How many of a cache's `slots` the delegate takes when `start` positions are filled: those that are, rounded up
    to a step; at least one, since a slice may not be empty. Traced or not.
    """
    filled = torch.sym_min((start + (SLOT_STEP - 1)) // SLOT_STEP * SLOT_STEP, slots)
    return torch.sym_max(filled, 1)


class TextProgram(CachedProgram):
    """The contract's `forward` around a delegate that takes `graph.CallInputs` and the caches."""

    far: torch.Tensor

    def __init__(
        self,
        config: ModelConfig,
        context: int,
        tensors: Sequence[CacheTensor],
        embedding: EmbeddingTable,
        delegate: torch.nn.Module,
    ) -> None:
        super().__init__(config, context, tensors, embedding, delegate)
        for number, rope in enumerate(config.ropes):
            frequencies = rope_frequencies(rope, config.head_dim).repeat_interleave(2)
            self.register_buffer(f"frequencies_{number}", frequencies)
        self.register_buffer("far", torch.tensor(_FAR))

    def forward(self, tokens: torch.Tensor, input_pos: torch.Tensor) -> torch.Tensor:
        config = self.config
        start, rows = self.start(input_pos), tokens.shape[1]
        positions = torch.arange(rows) + input_pos
        float_positions = positions.to(torch.float32)
        groups = config.num_heads // config.num_kv_heads
        turns = [float_positions.view(-1, 1, 1) * getattr(self, f"frequencies_{n}") for n in range(len(config.ropes))]
        shared = [
            self.embedding(tokens),
            *(part for angles in turns for part in (torch.cos(angles), torch.sin(angles))),
            torch.cat([float_positions] * groups, 0).view(-1, 1),
            (input_pos + (rows - 1)).to(torch.float32).view(1, 1),
            (torch.arange(rows) == rows - 1).to(torch.float32).view(1, -1),
        ]
        passed: dict[bool, int] = {}  # slots of local and of global layers' caches
        if any(config.local_layers):
            passed[True] = self.slots(start, config.window)
            newest = self.newest_in_ring(input_pos)
            cached = torch.where(newest >= 0, newest.to(torch.float32), self.far)
            cached = torch.ops.aten.slice_copy.Tensor(cached, 0, 0, passed[True])
            shared.append(torch.cat([cached, float_positions]).view(1, -1))
        if not all(config.local_layers):
            passed[False] = self.slots(start, self.context)
            slots = torch.arange(passed[False])
            cached = torch.where(slots < input_pos, slots.to(torch.float32), self.far)
            shared.append(torch.cat([cached, float_positions]).view(1, -1))

        filled_caches = [
            torch.ops.aten.slice_copy.Tensor(cache, 1, 0, passed[tensor.is_local])
            for tensor, cache in zip(self.tensors, self.caches(), strict=True)
        ]
        logits, *new_rows = self.delegate(*shared, *filled_caches)
        self.write(new_rows, positions)
        return logits.view(1, 1, config.vocab_size)

    def slots(self, start: int, slots: int) -> int:
        """`passed_slots`, with the bounds that the memory planning needs."""
        passed = passed_slots(start, slots)
        torch._check(passed >= 1)
        torch._check(passed <= slots)
        return passed


def emit_program(
    config: ModelConfig,
    context: int,
    chunk: int,
    kv_cache: KvCacheType,
    embedding: EmbeddingTable,
    subgraph: Subgraph,
) -> Cord:
    """The finished program, ready for `write_to_file`. `chunk` is the most tokens a call takes."""
    payload, named_data = subgraph.serialize()

    def around(traced: ModelConfig, tensors: list[CacheTensor]) -> TextProgram:
        signature = _delegate_signature(traced, context, tensors)
        delegate = LoweredBackendModule(signature, BACKEND_ID, payload, [], None)
        return TextProgram(traced, context, tensors, embedding, delegate)

    program = program_of_all_layers(config, context, chunk, kv_cache, around)
    # The payload stays inside the program: as a segment the runtime would free it, with the constants in it.
    return serialize_pte_binary(PTEFile(program=program, named_data=named_data), extract_delegate_segments=False)


def _delegate_signature(config: ModelConfig, context: int, tensors: list[CacheTensor]) -> torch.export.ExportedProgram:
    """The delegate's arguments and results, of any number of rows and filled slots."""
    kv_heads = config.num_kv_heads

    class DelegateSignature(torch.nn.Module):
        def forward(self, hidden: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
            rows = hidden.shape[0]
            new = [torch.zeros(kv_heads, rows, 1, tensor.width, dtype=tensor.dtype) for tensor in tensors]
            return (torch.zeros(1, config.vocab_size), *new)

    rows, in_ring, filled = 2, 7, 5  # any sizes that no other dimension has
    groups = config.num_heads // kv_heads
    arguments = [
        (torch.zeros(rows, config.hidden_size), {0: Dim.AUTO}),
        *[(torch.zeros(rows, 1, config.head_dim), {0: Dim.AUTO})] * (2 * len(config.ropes)),
        (torch.zeros(groups * rows, 1), {0: Dim.AUTO}),
        (torch.zeros(1, 1), None),
        (torch.zeros(1, rows), {1: Dim.AUTO}),
    ]
    if any(config.local_layers):
        arguments.append((torch.zeros(1, in_ring + rows), {1: Dim.AUTO}))
    if not all(config.local_layers):
        arguments.append((torch.zeros(1, filled + rows), {1: Dim.AUTO}))
    for tensor in tensors:
        slots = in_ring if tensor.is_local else filled
        cache = torch.zeros(kv_heads, slots, 1, tensor.width, dtype=tensor.dtype)
        arguments.append((cache, {1: Dim.AUTO}))
    return delegate_stub(
        DelegateSignature(),
        [argument for argument, _ in arguments],
        (arguments[0][1], tuple(dynamic for _, dynamic in arguments[1:])),
    )
