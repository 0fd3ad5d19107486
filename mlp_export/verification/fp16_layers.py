"""Each result of a function in float16 against the decoder's, both given what the function itself had before.

The decoder runs over the same tokens. At each result that the function shows, it is compared and then goes on with the
function's own. So between two comparisons lie a few operators, and the limit is what their roundings to float16 can do:
half a unit in the last place is `_HALF` of a value. What both compute by the same operators in the same order differs
where a float32 sum in another order falls to the other side of a tie, by one unit.

    linears       a unit, and the order of a float32 sum of n products: `summed(n)` of sqrt(n) times the row's root mean
                  square, which is about the sum of their magnitudes; half a unit of a bias, which is kept in float16
    hidden rows   a unit
    norms         eight roundings: of a division, of a square, of a mean, ... A value far below the row's largest, by
                  which it is divided first, is rounded to a multiple of float16's smallest there
    queries, keys a unit of cosine and sine, of two products and of their sum, in parts of the pair; with QK norm eight
                  more, and what that loses of small values. What has no position is not paired
    attention     a unit of each score is a part of its share, one more is the share's own: in parts of the sum of
                  shares times magnitudes of values
    values, embeddings: nothing
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from mlp_export.models.numerics import Numerics
from mlp_export.models.tensors import LINEARS, ROTATED
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import WeightSource
from mlp_export.program.layer_taps import TappedCall
from mlp_export.verification.bounded_ops import summed

_HALF = 2.0**-11
_SMALLEST = 2.0**-24  # of float16: below it, a unit is no part of a value
_LINEARS = (*LINEARS, "head")
_NORMS = ("attention_norm", "post_attention_norm", "ffn_norm", "post_ffn_norm", "norm")
_UNITS = {**dict.fromkeys(_NORMS, 8), "attention_sum": 2, "ffn_sum": 2, "activated": 4, "embed": 0}
_NORMED = ("embed", "attention_sum", "ffn_sum", "o", "down")  # what a norm may take: the last of them
_PAIR_UNITS, _PAIR_UNITS_WITH_NORM = 4, 12


def watched_calls(context: int, rows: int, until: int) -> list[tuple[int, int]]:
    """Positions and numbers of tokens, one call behind the other: a chunk, a part of one, chunks up to position
    `until`, single tokens.
    """
    calls: list[tuple[int, int]] = []
    counts = [rows, rows // 2 + 1, *[rows] * math.ceil(max(until - 2 * rows, 0) / rows), 1, 1]
    for count in counts:
        position = sum(calls[-1]) if calls else 0
        if position + count <= context:
            calls.append((position, count))
    return calls


class HalfLayerWatch:
    """A LayerWatch that is a Numerics, too: the decoder tells it each result."""

    def __init__(
        self,
        weights: WeightSource,
        numerics: Numerics,
        calls: Sequence[tuple[int, int]],
        tokens: Sequence[int],
        found: Sequence[TappedCall],
    ) -> None:
        """`found` is what the artifact answered to `calls`, which had `tokens` one behind the other."""
        self.config, self.numerics, self._weights = weights.config, numerics, weights
        self.sequence = TokenSequence(tokens, [position + count - 1 for position, count in calls])
        self.found = {name: torch.cat([call.results[name] for call in found]) for name in found[0].results}
        self.worst: dict[str, tuple[float, str]] = {}
        self._heads: dict[str, torch.Tensor] = {}  # queries ("q") and keys ("k") before norm and RoPE
        self._normed = self._scores = self._shares = self._values = torch.empty(0)

    # As a LayerWatch

    @property
    def runs(self) -> Sequence[tuple[TokenSequence, Numerics]]:
        return [(self.sequence, self)]

    def layer(self, weights: WeightSource, layer: int) -> None:
        pass

    def head(self, ids: torch.Tensor, rows: torch.Tensor) -> None:
        pass

    @property
    def passed(self) -> bool:
        return not self.found and all(ratio <= 1 for ratio, _ in self.worst.values())

    def summary(self) -> str:
        beyond = [f"{name}: {ratio:.3g} times its limit" for ratio, name in self.worst.values() if not ratio <= 1]
        if beyond or self.found:
            return "; ".join(beyond) or f"{', '.join(sorted(self.found)[:5])} were not compared"
        worst = ", ".join(f"{kind} {ratio:.2g}" for kind, (ratio, _) in self.worst.items())
        return f"{len(self.sequence.tokens)} rows of each layer; the worst part of a limit: {worst}"

    # As a Numerics

    def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
        return self.numerics.linear_input(rows)

    def cached(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        values = self.point(f"{name}.cached", rows)
        if name.endswith(".v"):
            self._values = values
        return values

    def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
        part = name.rpartition(".")[2]
        values = self.numerics.point(name, values)
        if part == "scores":
            self._scores = values
        elif part == "shares":
            self._shares = values
        elif name in self.found:
            found = self.found.pop(name)
            if part == "attended":  # [kv_heads, group, n, head_dim]
                found = found.unflatten(1, (*values.shape[:2], -1)).permute(1, 2, 0, 3)
            self._compare(name, found, values)
            if part in _NORMED:
                self._normed = found
            elif part in ROTATED:
                self._heads[part] = found.unflatten(-1, (-1, self.config.head_dim))
            return found
        return values

    def _compare(self, name: str, found: torch.Tensor, values: torch.Tensor) -> None:
        ratios = (found - values).abs() / (self._limit(name, values) + _SMALLEST)
        ratio = float(torch.where(ratios.isfinite(), ratios, math.inf).max())
        kind = name.split(".", 2)[-1] if name.startswith("layers.") else name
        if ratio >= self.worst.get(kind, (0.0, ""))[0]:
            self.worst[kind] = (ratio, name)

    def _limit(self, name: str, values: torch.Tensor) -> torch.Tensor:
        part = name.rpartition(".")[2]
        if part in ("scaled", "cached"):
            return torch.zeros(()) if ".v." in name else self._placed_limit(name, values)
        if part == "attended":  # [kv_heads, group, n, head_dim]
            magnitudes = self._shares @ self._values.abs().transpose(0, 1).unsqueeze(1)
            return 4 * _HALF * (1 + self._scores.abs().amax(-1, keepdim=True)) * magnitudes
        if part in _LINEARS:
            count = max(self.config.hidden_size, self.config.ffn_size, self.config.num_heads * self.config.head_dim)
            sums = summed(count) * math.sqrt(count) * values.pow(2).mean(-1, keepdim=True).sqrt()
            bias = self._weights.vector(f"{name}_bias").abs() if part in self.config.biases else 0.0
            return 2 * _HALF * values.abs() + sums + _HALF * bias
        limit = _UNITS[part] * _HALF * values.abs()
        return limit + self._lost_by_norm_of_rows(name) if part in _NORMS else limit

    def _placed_limit(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Of queries and keys [n, heads, head_dim] behind their norm and RoPE."""
        config, (prefix, part, _) = self.config, name.rsplit(".", 2)
        lost: torch.Tensor | float = 0.0
        if config.qk_norm:
            weight = self._weights.vector(f"{prefix}.{part}_norm") if config.qk_norm_weights else torch.ones(())
            of_values = _lost_by_norm(self._heads[part], config.norm_eps, weight).expand_as(values)
            lost = (config.softmax_scale if part == "q" else 1.0) * _by_pairs(of_values.unflatten(-1, (-1, 2)).sum(-1))
        magnitudes = values.abs()
        if config.rope(int(prefix.rpartition(".")[2])) is not None:
            magnitudes = _by_pairs(values.unflatten(-1, (-1, 2)).norm(dim=-1))
        return (_PAIR_UNITS_WITH_NORM if config.qk_norm else _PAIR_UNITS) * _HALF * magnitudes + lost

    def _lost_by_norm_of_rows(self, name: str) -> torch.Tensor:
        rows = self._normed if name != "norm" else self._normed[list(self.sequence.logit_indices)]
        eps = self.config.norm_eps if ".post_" in name else self.config.hidden_eps
        return _lost_by_norm(rows, eps, self._weights.vector(name))


def _lost_by_norm(rows: torch.Tensor, eps: float, weight: torch.Tensor) -> torch.Tensor:
    """What a norm may lose of values that are float16's subnormals once they are divided by their row's largest."""
    largest = rows.abs().amax(-1, keepdim=True)
    root = (rows.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    return _SMALLEST * largest / root * weight.abs()


def _by_pairs(values: torch.Tensor) -> torch.Tensor:
    """A value for each pair, for both of it."""
    return values.repeat_interleave(2, -1)
