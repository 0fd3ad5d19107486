"""Each layer of an artifact, given its own input, against the reference's layer: what finds faults of a per cent.

Whole models cannot be compared closely: activations are rounded to int8 at each linear, a difference in the last place
flips roundings, and thirty layers carry that to a tenth of the logits' norm. A layer alone can: the recipe runs over
`BoundedOps`, and at each result that the artifact shows it is compared and goes on with the artifact's own. Between two
such results lies at most one rounding to int8, so that a flip goes nowhere; keys and values are those of the artifact's
cache.

Rows are computed one by one, so a few rows of each call say what all do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mlp_export.models.config import ModelConfig
from mlp_export.models.eager import attend, grouped_heads, merged_heads
from mlp_export.models.layer import decode_layer, final_norm
from mlp_export.models.numerics import Numerics, kv_scales
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import WeightSource
from mlp_export.program.layer_taps import TAPS, CachedRows, TappedCall
from mlp_export.verification.bounded_ops import EPS, FEW, Bounded, BoundedOps, LinearInput, summed

_SMALLEST = 1e-30  # XNNPACK's exponentials are zero where torch's are denormal
_LONGEST_CONTEXT = 8192  # up to which the last slot is looked at


@dataclass(frozen=True)
class LayerCall:
    """One call of the artifact: `count` tokens at `position`."""

    position: int
    count: int

    def rows(self) -> list[int]:
        """Those that are looked at: the first, one within, the last two."""
        return sorted({0, self.count // 2, max(self.count - 2, 0), self.count - 1})


def layer_calls(config: ModelConfig, context: int, most_rows: int) -> list[LayerCall]:
    """What to run so that each layer meets a chunk, a part of one, single tokens, and both sides of its window.

    Calls may leave slots out, since each layer is given the caches as they are. Queries with `window` keys behind them
    follow where the ones at the window's edge were fed, so that a key too few or too many changes something.
    """
    calls: list[LayerCall] = []

    def call(position: int, count: int) -> None:
        start = max(position, calls[-1].position + calls[-1].count if calls else 0)
        count = min(count, most_rows, context - start)
        if count > 0:
            calls.append(LayerCall(start, count))

    call(0, most_rows)
    call(0, most_rows // 2 + 1)
    if config.window:
        call(config.window, most_rows)
    call(0, 1)
    call(0, 1)
    if config.window:  # once more around the ring: the farthest key is one of the third call's
        call(2 * config.window + 2, 1)
        call(0, 1)
    if context <= _LONGEST_CONTEXT:
        call(context - 1, 1)
    return calls


@dataclass
class Worst:
    """The worst of one kind of result so far."""

    ratio: float = 0.0  # of a difference to its limit
    name: str = ""  # "layers.3.attended"
    position: int = 0
    rows: int = 0  # that were compared


class LayerCheck:
    """A LayerWatch over float32 layers whose linears take rows rounded to int8 (`DynamicNumerics`)."""

    def __init__(
        self,
        weights: WeightSource,
        numerics: Numerics,
        calls: Sequence[LayerCall],
        tokens: Sequence[Sequence[int]],
        found: Sequence[TappedCall],
        shipped: Sequence[torch.Tensor],
    ) -> None:
        """`found` is what the artifact answered to `calls`, which had `tokens`, in a session of its own; `shipped` are
        the logits [vocabulary] that the file as it is shipped answers.
        """
        self.calls, self.found = calls, found
        self.rows = [call.rows() for call in calls]  # which are looked at
        self.last = torch.tensor([len(rows) for rows in self.rows]).cumsum(0) - 1
        self.worst: dict[str, Worst] = {}
        self.flips = 0
        self._weights, self._numerics = weights, numerics
        self._positions = torch.tensor([call.position + row for call in calls for row in call.rows()])
        self.tokens = torch.tensor([ids[row] for ids, rows in zip(tokens, self.rows, strict=True) for row in rows])
        self._hidden = self._ops(weights).embedding("embed")
        self._head_input: LinearInput | None = None
        self._same = all(torch.equal(one.logits, other) for one, other in zip(found, shipped, strict=True))

    @property
    def runs(self) -> Sequence[tuple[TokenSequence, Numerics]]:
        return ()

    @property
    def passed(self) -> bool:
        return self._same and bool(self.worst) and all(worst.ratio <= 1 for worst in self.worst.values())

    def summary(self) -> str:
        if not self._same:
            return "the program that shows its layers gives other logits than the shipped one, expected equal bits"
        beyond = [
            f"{worst.name} at position {worst.position}: {worst.ratio:.3g} times its limit"
            for worst in self.worst.values()
            if not worst.ratio <= 1
        ]
        if beyond:
            return "; ".join(beyond)
        ratios = ", ".join(f"{kind} {worst.ratio:.2g}" for kind, worst in self.worst.items())
        rows = self.worst[TAPS[0]].rows
        return f"{rows} rows of layers, {self.flips} of whose roundings may flip; the worst part of a limit: {ratios}"

    # As a WeightVisitor

    def layer(self, weights: WeightSource, layer: int) -> None:
        """Compare all that `layer` computed."""
        ops = self._ops(weights)
        self._hidden = decode_layer(ops, weights.config, layer, self._hidden)
        self.flips += ops.flips

    def head(self, ids: torch.Tensor, rows: torch.Tensor) -> None:
        """Compare the logits of `ids`."""
        if self._head_input is None:
            ops = self._ops(self._weights)
            hidden = final_norm(ops, self._weights.config, ops.last_row("last", self._hidden))
            self._head_input = ops.linear_input(hidden)
            self.flips += ops.flips
        self.compare("head", torch.stack([call.logits for call in self.found])[:, ids], self._head_input.times(rows))

    def _ops(self, weights: WeightSource) -> _LayerOps:
        return _LayerOps(self, weights, self._numerics, self._positions)

    # Comparisons

    def shown(self, name: str, rows: Bounded) -> Bounded:
        """What the artifact has for result `name`, compared with `rows`; these where it does not show it."""
        if _kind(name) not in TAPS:
            return rows
        found = torch.cat([call.results[name] for call in self.found])
        self.compare(name, found, rows)
        return Bounded.exact(found)

    def compare(self, name: str, found: torch.Tensor, rows: Bounded) -> None:
        """`found` are the artifact's values for the same rows: all that are looked at, or the last of each call."""
        ratios = ((found - rows.values).abs() / (rows.total + _SMALLEST)).flatten(1)
        ratios = torch.where(ratios.isfinite(), ratios, math.inf).amax(-1)
        worst = self.worst.setdefault(_kind(name), Worst())
        worst.rows += len(ratios)
        if float(ratios.max()) > worst.ratio:
            row = int(ratios.argmax())
            worst.ratio, worst.name = float(ratios[row]), name
            worst.position = int((self._positions if len(ratios) > len(self.last) else self._positions[self.last])[row])

    def compare_cached(self, name: str, rows: Bounded, cached: Sequence[CachedRows]) -> None:
        """Keys or values [n, kv_heads, head_dim], and what the artifact put in its cache."""
        found = [part[some] for part, some in zip(cached, self.rows, strict=True)]
        values = torch.cat([part.values for part in found])
        if any(part.scales is None for part in found):
            self.compare(f"{name}.cached", values, rows)
            return
        scales = kv_scales(rows.values)
        scale_limit = rows.total.amax(-1, keepdim=True) / 127 + FEW * EPS * scales
        found_scales = torch.cat([part.scales for part in found if part.scales is not None])
        self.compare(f"{name}.scales", found_scales, Bounded.of(scales, scale_limit))
        exact = rows.values / scales  # a code is within a half of it
        limit = (rows.total + exact.abs() * scale_limit) / scales + FEW * EPS * exact.abs()
        beyond = ((values - exact).abs() - 0.5).clamp_min(0)
        self.compare(f"{name}.cached", beyond, Bounded.of(torch.zeros_like(limit), limit))


def _kind(name: str) -> str:
    """The same for all layers: "attended" for "layers.3.attended"."""
    return name.split(".", 2)[2] if name.startswith("layers.") else name


class _LayerOps(BoundedOps):
    """The rows that a check looks at, with the artifact's cache behind them."""

    def __init__(self, check: LayerCheck, weights: WeightSource, numerics: Numerics, positions: torch.Tensor) -> None:
        super().__init__(weights, numerics, positions, check.shown)
        self._check = check

    def embedding(self, name: str) -> Bounded:
        return Bounded.exact(self.weights.rows(name, self._check.tokens))

    def attention(self, name: str, query: Bounded, key: Bounded, value: Bounded, layer: int) -> Bounded:
        """Each call's queries over what the artifact's cache holds, and the call's own keys and values there. Of the
        last layer, those of each call's last row.
        """
        check, config, prefix = self._check, self.config, name.rpartition(".")[0]
        is_last, scale = layer == config.num_layers - 1, config.softmax_scale
        scaled = query.values * scale
        query = Bounded(scaled, query.limit * scale + EPS * scaled.abs(), query.factor)
        query = check.shown(f"{prefix}.q.scaled", query[check.last] if is_last else query)
        check.compare_cached(f"{prefix}.k", key, [call.keys[layer] for call in check.found])
        check.compare_cached(f"{prefix}.v", value, [call.values[layer] for call in check.found])
        attended: list[Bounded] = []
        end = max(call.position + call.count for call in check.calls)
        cache = _Cache(config.window if config.local_layers[layer] else end, config)
        at = 0
        for call, found, rows in zip(check.calls, check.found, check.rows, strict=True):
            asked = rows[-1:] if is_last else rows
            new = found.keys[layer].dequantize(), found.values[layer].dequantize()
            old_keys, old_values, old_positions = cache.read(call.position)
            positions = torch.cat([old_positions, call.position + torch.arange(call.count)])
            distance = (call.position + torch.tensor(asked))[:, None] - positions
            queries = query[torch.arange(at, at + len(asked))]
            keys, values = torch.cat([old_keys, new[0]]), torch.cat([old_values, new[1]])
            attended.append(self._attend(layer, queries, keys, values, distance))
            at += len(asked)
            cache.write(call.position, *new)
        limit = torch.cat([part.limit for part in attended])
        return self.found(name, Bounded.of(torch.cat([part.values for part in attended]), limit))

    def _attend(
        self, layer: int, query: Bounded, keys: torch.Tensor, values: torch.Tensor, distance: torch.Tensor
    ) -> Bounded:
        """Queries over keys and values [T, kv_heads, head_dim] that stand `distance` [n, T] before them."""
        config = self.config
        result, scores, shares = attend(config, layer, query.values, keys, values, distance, self.numerics)
        per_element = summed(config.head_dim) * query.values.abs() + query.total
        off = grouped_heads(config, per_element) @ keys.abs().transpose(0, 1).unsqueeze(1).transpose(-1, -2)
        off = off + FEW * EPS * scores.abs()
        largest = torch.where(shares > 0, scores, -math.inf).amax(-1, keepdim=True)
        off = off + EPS * (largest - scores).clamp_min(0)  # of an exponent, so a part of the share
        off = off + (shares * off).sum(-1, keepdim=True) + summed(len(keys)) + FEW * EPS
        return Bounded.of(result, merged_heads((shares * off) @ values.abs().transpose(0, 1).unsqueeze(1)))

    def residual_add(self, name: str, hidden: Bounded, rows: Bounded) -> Bounded:
        if len(rows.values) < len(hidden.values):  # behind the attention of the last layer
            hidden = self.last_row(name, hidden)
        return super().residual_add(name, hidden, rows)

    def last_row(self, name: str, hidden: Bounded) -> Bounded:
        return hidden if len(hidden.values) == len(self._check.last) else hidden[self._check.last]


class _Cache:
    """What the slots of one layer's cache hold after some calls, in float32; a ring where `slots` are the window's."""

    def __init__(self, slots: int, config: ModelConfig) -> None:
        self.keys = torch.zeros(slots, config.num_kv_heads, config.head_dim)
        self.values = torch.zeros_like(self.keys)

    def read(self, start: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keys, values and positions of the newest slots before `start`."""
        positions = torch.arange(max(start - len(self.keys), 0), start)
        slots = positions % len(self.keys)
        return self.keys[slots], self.values[slots], positions

    def write(self, start: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Rows from position `start` on; of those that fall on one slot the last stays."""
        for row in range(max(len(keys) - len(self.keys), 0), len(keys)):
            slot = (start + row) % len(self.keys)
            self.keys[slot], self.values[slot] = keys[row], values[row]
