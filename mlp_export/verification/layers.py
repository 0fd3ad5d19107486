"""Each layer of an artifact, given its own input, against the reference's layer: what finds faults of a per cent.

Whole models cannot be compared closely: activations are rounded to int8 at each linear, a difference in the last place
flips roundings, and thirty layers carry that to a tenth of the logits' norm. A layer alone can: it is given what the
artifact's own layer was given, its own cached keys and values among it. Between two results that are looked at lies at
most one rounding to int8, so that a flip goes nowhere.

What is left is the order of float32 sums and products, and its limit is computed beside each value:

* A sum of n products may differ by eps (4 + sqrt n) sum |a b|. The worst case is n eps / 2; roundings are as good as
  independent, so they grow with sqrt n (Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis",
  2019). Terms of one sign are the worst of those: there the standard deviation is eps sqrt(n) / 6 of the sum.
* A value may be rounded to another int8 code where, before rounding, it lies within `_TIE` eps of itself of the middle
  between two codes. Each such value adds its step times its weights' magnitudes to the limit of its row, and is
  counted. Rows without one, which are most, have the float limit alone.
* What follows within a piece (RoPE, QK norm, the product of gate and up) carries the limit along.

Rows are computed one by one, so a few rows of each call say what all do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mlp_export.models.config import ModelConfig
from mlp_export.models.eager import Layer, rms_norm
from mlp_export.models.numerics import Numerics, kv_scales
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import WeightSource
from mlp_export.program.layer_taps import TAPS, CachedRows, TappedCall

_EPS = 2.0**-23
_TIE = 8  # roundings, of half an eps each, between a row and its codes: two products, the range, its division; twice
_FEW = 8  # roundings of a few operators one behind another
_SMALLEST = 1e-30  # XNNPACK's exponentials are zero where torch's are denormal
_SMALLEST_STEP = _EPS  # torchao rounds no finer than that; XNNPACK does
_LONGEST_CONTEXT = 8192  # up to which the last slot is looked at


def summed(count: int) -> float:
    """How far a float32 sum of `count` products may differ from another order's, as a part of the sum of magnitudes."""
    return _EPS * (4 + math.sqrt(count))


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
class _Piece:
    """The worst of one kind of piece so far."""

    ratio: float = 0.0
    layer: str = ""
    position: int = 0
    rows: int = 0


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
        self.config, self.numerics = weights.config, numerics
        self._calls, self._found = calls, found
        self._rows = [call.rows() for call in calls]
        self._positions = torch.tensor([call.position + row for call in calls for row in call.rows()])
        self._last = torch.tensor([len(rows) for rows in self._rows]).cumsum(0) - 1
        picked = [ids[row] for ids, rows in zip(tokens, self._rows, strict=True) for row in rows]
        self._hidden = weights.rows("embed", torch.tensor(picked))
        self._norm = weights.vector("norm")
        self._head_input: _LinearInput | None = None
        self._same = all(torch.equal(one.logits, other) for one, other in zip(found, shipped, strict=True))
        self.pieces: dict[str, _Piece] = {}
        self.flips = 0

    @property
    def runs(self) -> Sequence[tuple[TokenSequence, Numerics]]:
        return ()

    @property
    def passed(self) -> bool:
        return self._same and bool(self.pieces) and all(piece.ratio <= 1 for piece in self.pieces.values())

    def summary(self) -> str:
        if not self._same:
            return "the program that shows its layers gives other logits than the shipped one, expected equal bits"
        beyond = [
            f"{kind} of {piece.layer} at position {piece.position}: {piece.ratio:.3g} times its limit"
            for kind, piece in self.pieces.items()
            if not piece.ratio <= 1
        ]
        if beyond:
            return "; ".join(beyond)
        worst = ", ".join(f"{kind} {piece.ratio:.2g}" for kind, piece in self.pieces.items())
        rows = self.pieces["query"].rows
        return f"{rows} rows of layers, {self.flips} of whose roundings may flip; the worst part of a limit: {worst}"

    # As a WeightVisitor

    def layer(self, layer: Layer) -> None:
        """Compare all that `layer` computed."""
        numerics = self.numerics
        last = layer.number == self.config.num_layers - 1
        picked = self._last if last else torch.arange(len(self._positions))
        found_query, found_attended, found_sum, found_activated, found_hidden = (
            torch.cat([call.results[f"{layer.name}.{name}"] for call in self._found]) for name in TAPS
        )
        taken = self._input(layer.attention_input(self._hidden, numerics), normed=True)
        projections = [self._linear(layer, part, taken) for part in "qkv"]
        q, k, v = (values for values, _ in projections)
        query, key, value = layer.rotated(q, k, v, self._positions, numerics)
        query_limit, key_limit, value_limit = self._rotated_limits(projections, (query, key))
        self._compare("query", layer, picked, found_query, query[picked], query_limit[picked])
        for kind, rows, limit, cached in (
            ("keys", key, key_limit, [call.keys[layer.number] for call in self._found]),
            ("values", value, value_limit, [call.values[layer.number] for call in self._found]),
        ):
            self._compare_cached(kind, layer, rows, limit, cached)

        self._compare("attention", layer, picked, found_attended, *self._attend(layer, found_query))
        after = self._sum(layer, "o", self._input(found_attended), self._hidden[picked])
        self._compare("o", layer, picked, found_sum, *after)
        taken = self._input(layer.ffn_input(found_sum, numerics), normed=True)
        activated = self._activated(layer, self._linear(layer, "gate", taken), self._linear(layer, "up", taken))
        self._compare("gate and up", layer, picked, found_activated, *activated)
        after = self._sum(layer, "down", self._input(found_activated), found_sum)
        self._compare("down", layer, picked, found_hidden, *after)
        self._hidden = found_hidden

    def head(self, ids: torch.Tensor, rows: torch.Tensor) -> None:
        """Compare the logits of `ids`."""
        if self._head_input is None:
            normed = rms_norm(self._hidden, self._norm, self.config.norm_eps)
            self._head_input = self._input(normed, normed=True)
        taken = self._head_input
        logits = torch.stack([call.logits for call in self._found])[:, ids]
        values = self.numerics.linear_input(taken.rows) @ rows.T
        self._compare("head", None, self._last, logits, values, taken.limit(rows, values))

    # Pieces: values, and how far they may be off

    def _input(self, rows: torch.Tensor, normed: bool = False) -> _LinearInput:
        found = _LinearInput.of(rows, self.numerics, normed)
        self.flips += int(found.flips.sum())
        return found

    def _linear(self, layer: Layer, part: str, taken: _LinearInput) -> tuple[torch.Tensor, torch.Tensor]:
        values = layer.linear(part, taken.rows, self.numerics)
        return values, taken.limit(getattr(layer, part), values)

    def _sum(
        self, layer: Layer, part: str, taken: _LinearInput, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        values, limit = self._linear(layer, part, taken)
        return hidden + values, limit + 2 * _EPS * (hidden.abs() + values.abs())

    def _activated(
        self, layer: Layer, gate: tuple[torch.Tensor, torch.Tensor], up: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        values = layer.activated(gate[0], up[0], self.numerics)
        silu_limit = 1.1 * gate[1]  # the largest slope of SiLU
        silu = torch.nn.functional.silu(gate[0]).abs()
        carried = silu_limit * (up[0].abs() + up[1]) + silu * up[1]
        return values, carried + 2 * _FEW * _EPS * values.abs()

    def _rotated_limits(
        self,
        projections: Sequence[tuple[torch.Tensor, torch.Tensor]],
        rotated: tuple[torch.Tensor, torch.Tensor],
    ) -> list[torch.Tensor]:
        """Limits of queries, keys and values [n, heads, head_dim]."""
        size = self.config.head_dim
        limits = []
        for (values, limit), turned, scale in zip(projections, rotated, (size**-0.5, 1.0), strict=False):
            # Either of a pair takes at most all of both; sine and cosine are off by some eps of one.
            one = (limit + _FEW * _EPS * values.abs()).unflatten(-1, (-1, size // 2, 2))
            both = one.sum(-1, keepdim=True).expand(*one.shape).flatten(-2)
            if self.config.qk_norm:
                before = values.unflatten(-1, (-1, size))
                root = (before.pow(2).mean(-1, keepdim=True) + self.config.norm_eps).sqrt()
                unit = turned.abs() / scale
                both = both / root + unit * (both.pow(2).mean(-1, keepdim=True).sqrt() / root + summed(size))
            limits.append(both * scale + _FEW * _EPS * turned.abs())
        return [*limits, projections[2][1].unflatten(-1, (-1, size))]

    def _attend(self, layer: Layer, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Each call's queries over what the artifact's cache holds, and the call's own keys and values."""
        attended, limits = [], []
        end = max(call.position + call.count for call in self._calls)
        cache = _Cache(self.config.window if layer.is_local else end, self.config)
        at = 0
        for call, found, rows in zip(self._calls, self._found, self._rows, strict=True):
            count = 1 if layer.number == self.config.num_layers - 1 else len(rows)
            query, positions = queries[at : at + count], call.position + torch.tensor(rows[-count:])
            at += count
            new = found.keys[layer.number].dequantize(), found.values[layer.number].dequantize()
            keys, values, key_positions = cache.read(call.position)
            keys, values = torch.cat([keys, new[0]]), torch.cat([values, new[1]])
            key_positions = torch.cat([key_positions, call.position + torch.arange(call.count)])
            distance = positions[:, None] - key_positions
            result, scores, shares = layer.attend(query, keys, values, distance, self.numerics)
            magnitudes = layer.grouped(query.abs()) @ keys.abs().transpose(0, 1).unsqueeze(1).transpose(-1, -2)
            off = summed(self.config.head_dim) * magnitudes + _FEW * _EPS * scores.abs()
            largest = torch.where(shares > 0, scores, -math.inf).amax(-1, keepdim=True)
            off = off + _EPS * (largest - scores).clamp_min(0)  # of an exponent, so a part of the share
            off = off + (shares * off).sum(-1, keepdim=True) + summed(len(keys)) + _FEW * _EPS
            attended.append(result)
            limits.append(layer.merged((shares * off) @ values.abs().transpose(0, 1).unsqueeze(1)))
            cache.write(call.position, *new)
        return torch.cat(attended), torch.cat(limits)

    # Comparisons

    def _compare(
        self,
        kind: str,
        layer: Layer | None,
        picked: torch.Tensor,
        found: torch.Tensor,
        values: torch.Tensor,
        limit: torch.Tensor,
    ) -> None:
        """`picked` are the rows' numbers among all that are looked at."""
        ratios = ((found - values).abs() / (limit + _SMALLEST)).flatten(1)
        ratios = torch.where(ratios.isfinite(), ratios, math.inf).amax(-1)
        piece = self.pieces.setdefault(kind, _Piece())
        piece.rows += len(ratios)
        if float(ratios.max()) > piece.ratio:
            worst = int(ratios.argmax())
            piece.ratio = float(ratios[worst])
            piece.layer = "the model" if layer is None else layer.name
            piece.position = int(self._positions[picked[worst]])

    def _compare_cached(
        self, kind: str, layer: Layer, rows: torch.Tensor, limit: torch.Tensor, cached: Sequence[CachedRows]
    ) -> None:
        """Keys or values [n, kv_heads, head_dim], and what the artifact put in its cache."""
        picked = torch.arange(len(rows))
        found = [part[some] for part, some in zip(cached, self._rows, strict=True)]
        values = torch.cat([part.values for part in found])
        if any(part.scales is None for part in found):
            self._compare(kind, layer, picked, values, rows, limit)
            return
        scales = kv_scales(rows)
        scale_limit = limit.amax(-1, keepdim=True) / 127 + _FEW * _EPS * scales
        found_scales = torch.cat([part.scales for part in found if part.scales is not None])
        self._compare(f"scales of {kind}", layer, picked, found_scales, scales, scale_limit)
        exact = rows / scales  # a code is within a half of it
        limit = (limit + exact.abs() * scale_limit) / scales + _FEW * _EPS * exact.abs()
        beyond = ((values - exact).abs() - 0.5).clamp_min(0)
        self._compare(kind, layer, picked, torch.where(beyond.isfinite(), beyond, math.inf), torch.zeros(1), limit)


@dataclass(frozen=True)
class _LinearInput:
    """Rows float32 [n, in] that linears take, and which of their int8 codes are uncertain."""

    rows: torch.Tensor
    quantized: torch.Tensor
    steps: torch.Tensor  # [n, 1] between two codes
    offsets: torch.Tensor  # [n, 1] |zero point| times the step: kernels add it and take it off again
    flips: torch.Tensor  # bool [n, in]
    own_limit: float  # how far a whole row may be off, as a part of itself

    @staticmethod
    def of(rows: torch.Tensor, numerics: Numerics, normed: bool) -> _LinearInput:
        """`normed`: the rows are the reference's, a norm of the artifact's rows; otherwise they are the artifact's."""
        quantized = numerics.linear_input(rows)
        low, high = rows.amin(-1, keepdim=True).clamp_max(0), rows.amax(-1, keepdim=True).clamp_min(0)
        steps = (high - low) / 255
        codes = torch.where(steps > 0, rows / steps, 0.0)
        flips = _near_tie(codes)
        zero_points = torch.where(steps > 0, -128 - low / steps, 0.0)
        # Where the zero point may be another one, so may be the codes at either end, which are clamped.
        ends = ((rows - low) < 1.5 * steps) | ((high - rows) < 1.5 * steps)
        flips = flips | (_near_tie(zero_points) & ends)
        coarse = steps < _SMALLEST_STEP
        flips = flips | (coarse & (rows != 0))
        # A common factor of a row, as the root of its mean square is, moves no code.
        own = summed(rows.shape[1]) if normed else 0.0
        return _LinearInput(rows, quantized, steps.clamp_min(_SMALLEST_STEP), zero_points.abs() * steps, flips, own)

    def limit(self, weight: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """How far a kernel's `values` [n, out], these rows times `weight` [out, in], may be off."""
        magnitudes, order = weight.abs(), summed(weight.shape[1])
        per_element = order * self.quantized.abs() + self.flips * self.steps
        return (
            per_element @ magnitudes.T
            + order * self.offsets * magnitudes.sum(-1)
            + (self.own_limit + _FEW * _EPS) * values.abs()
        )


def _near_tie(codes: torch.Tensor) -> torch.Tensor:
    """Which values, in units of the step, may be rounded up or down."""
    return ((codes - codes.floor()) - 0.5).abs() <= _TIE * _EPS * codes.abs()


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
