"""The operators that a decoder is made of, for whoever computes it: PyTorch, or a delegate's graph.

An implementation lays values out as it likes, keeps what it needs of a call, and may compute several operators as one.
Names are those of results and parameters: "layers.3.gate" is both a linear and what it gives. Operators that have
results within them name these by the same prefix ("layers.3.scores"); `eager` is where they are defined.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

Rows = TypeVar("Rows")


class Ops(Protocol[Rows]):
    """What the recipe of `layer` calls. Rows are one or more tokens' values: hidden rows [n, hidden], heads [n, heads,
    head_dim].
    """

    def embedding(self, name: str) -> Rows:
        """The tokens' rows of the embedding: [n, hidden]."""
        ...

    def rms_norm(self, name: str, rows: Rows, weight: str | None, eps: float) -> Rows:
        """x / sqrt(mean(x^2) + eps) over the last dimension, times the parameter `weight` where there is one."""
        ...

    def linear(self, name: str, rows: Rows) -> Rows:
        """rows [n, in] times the weight `name` [out, in], plus its bias where the model has one: [n, out]."""
        ...

    def heads(self, name: str, rows: Rows, count: int) -> Rows:
        """[n, count * head_dim] as [n, count, head_dim]."""
        ...

    def rope(self, name: str, rows: Rows, layer: int) -> Rows:
        """Heads turned by their positions, as layer `layer` turns them."""
        ...

    def attention(self, name: str, query: Rows, key: Rows, value: Rows, layer: int) -> Rows:
        """Queries over the layer's cached keys and values and the call's own, which are cached: [n, heads * head_dim].

        softmax(softmax_scale * q k + mask) v, where a local layer's queries see the last `window` keys.
        """
        ...

    def activation(self, name: str, rows: Rows) -> Rows:
        """The FFN's non-linearity."""
        ...

    def multiply(self, name: str, a: Rows, b: Rows) -> Rows:
        """Element by element."""
        ...

    def residual_add(self, name: str, hidden: Rows, rows: Rows) -> Rows:
        """Hidden rows and what a layer adds to them."""
        ...

    def last_row(self, name: str, hidden: Rows) -> Rows:
        """The rows whose logits are asked for, of all hidden rows."""
        ...
