"""The program around a delegate of N static rows: what S tokens, 1 <= S <= N, become before it and behind it.

A delegate that needs static shapes is one graph of N rows, for prompts and for single tokens alike. The program pads S
tokens to N rows, computes what all layers share, and writes the rows of the S tokens alone to the caches. Rows behind
the last token are padding: they repeat that token, so that nothing overflows in them that would not in it, and are
masked out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from mlp_export.models.config import ModelConfig
from mlp_export.models.rope import rope_frequencies
from mlp_export.program.cache import CacheTensor
from mlp_export.program.embedding import EmbeddingTable
from mlp_export.program.text_program import CachedProgram


class StaticRowsProgram(CachedProgram):
    """What programs around such delegates share. RoPE is that of `half_rope`; a mask is added to scores."""

    row_numbers: torch.Tensor
    slots: torch.Tensor
    seen: torch.Tensor
    hidden: torch.Tensor

    def __init__(
        self,
        config: ModelConfig,
        context: int,
        rows: int,
        tensors: Sequence[CacheTensor],
        embedding: EmbeddingTable,
        hidden: float,
        delegate: torch.nn.Module,
    ) -> None:
        """`hidden`: what is added to the score of a key that is not seen."""
        super().__init__(config, context, tensors, embedding, delegate)
        self.rows = rows
        for number, rope in enumerate(config.ropes):
            self.register_buffer(f"frequencies_{number}", rope_frequencies(rope, config.head_dim))
        self.register_buffer("row_numbers", torch.arange(rows))
        self.register_buffer("slots", torch.arange(context))
        self.register_buffer("seen", torch.tensor(0.0))
        self.register_buffer("hidden", torch.tensor(hidden))

    def last_row(self, input_pos: torch.Tensor, count: int) -> torch.Tensor:
        """`count` - 1 as int64 [1]. A tensor made of the number alone would be a constant of the trace's example."""
        return input_pos + (count - 1) - input_pos

    def embedded(self, tokens: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """int64 [1, S] to float32 [N, hidden]; rows behind `last` are its."""
        return self.embedding(tokens.index_select(1, torch.minimum(self.row_numbers, last)))

    def rotations(self, input_pos: torch.Tensor) -> list[torch.Tensor]:
        """Cosines and sines float32 [N, head_dim] of each of the config's `ropes`, one behind the other: x * cos + (x
        with its halves swapped) * sin is x turned.
        """
        positions = (input_pos + self.row_numbers).to(torch.float32).view(-1, 1)
        turns = []
        for number in range(len(self.config.ropes)):
            angles = positions * getattr(self, f"frequencies_{number}")
            cos, sin = torch.cos(angles), torch.sin(angles)
            turns += [torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)]
        return turns

    def global_mask(self, input_pos: torch.Tensor) -> torch.Tensor:
        """float32 [context]: which slots of a global layer hold keys of this sequence."""
        return torch.where(self.slots < input_pos, self.seen, self.hidden)

    def local_mask(self, input_pos: torch.Tensor) -> torch.Tensor:
        """float32 [N, window]: which slots of a ring hold keys that a row sees."""
        filled = self.newest_in_ring(input_pos).view(1, -1)
        positions = (input_pos + self.row_numbers).view(-1, 1)
        in_use = torch.logical_and(filled >= 0, positions - filled < self.config.window)
        return torch.where(in_use, self.seen, self.hidden)

    def write_tokens(self, new_rows: Iterable[torch.Tensor], input_pos: torch.Tensor, count: int) -> None:
        """Put the first `count` of each cache's new rows [kv_heads, N, 1, width] into the caches."""
        # A slice [:, :count] would hold only for count < rows.
        valid = torch.arange(count)
        self.write((new.index_select(1, valid) for new in new_rows), valid + input_pos)
