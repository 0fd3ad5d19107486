"""An open artifact, whatever its backend: `logits = session.forward(tokens, position)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch


class Session(Protocol):
    """One loaded `.pte` with its KV caches. Calls share the caches: position 0 starts a new sequence."""

    context: int  # tokens the caches hold
    prefill_chunk: int  # most tokens one call takes
    vocab_size: int

    def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
        """Logits [vocab_size] float32 of the last of `tokens`, which stand at `position`, `position` + 1, ...

        Raises InputError where 1 <= len(tokens) <= prefill_chunk or position + len(tokens) <= context does not hold.
        """
        ...
