"""The whole decoder, from the embedded tokens to the logits, as ONE XNNPACK subgraph.

What makes one delegate enough is that no layer writes its cache before the next one runs: a layer attends over its
cached slots and, behind them, the call's own keys and values, which the subgraph returns; the program around it
writes them after the last layer. So a local layer needs exactly `window` slots, and a chunk of any length is right.

Shapes: S rows (the call's tokens), D hidden, H query and K key/value heads of E elements, G = H / K,
T cached slots + S.

int8 caches hold symmetric codes with one scale a token and head; the call's own rows are used in that quantized form
too, or logits would depend on where a prompt is split. Exactly: scores = (q . codes) * scale, output = (p * scale) @
codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mlp_export.backends.xnnpack.subgraph import Subgraph, Value
from mlp_export.models.eager import GELU_TANH
from mlp_export.models.layer import decode
from mlp_export.models.numerics import SMALLEST_KV_SCALE
from mlp_export.program.cache import KvCacheType, cache_tensors
from mlp_export.progress import Stage
from mlp_export.quantization.store import QuantizedModel

# Added per unit of distance outside the visible range. Finite: XNNPACK's softmax subtracts the maximum, and inf - inf
# is NaN.
_MASK_SLOPE = 1e9
_SMALLEST_SCALE = SMALLEST_KV_SCALE
# Linears of a layer that take the same rows.
_FUSED = (("q", "k", "v"), ("gate", "up"))


def fused_name(layer: str, parts: Sequence[str]) -> str:
    """What the weight of several linears of `layer` is called: "layers.0.qkv", "layers.0.gate_up"."""
    separator = "_" if any(len(part) > 1 for part in parts) else ""
    return f"{layer}.{separator.join(parts)}"


@dataclass(frozen=True)
class CallInputs:
    """What the program computes once a call and every layer shares. All float32; positions are exact up to 2**24."""

    hidden: Value  # [S, D] embedded tokens
    # Cosines and sines [S, 1, E] for each of the config's `ropes`: each frequency twice, for interleaved pairs
    turns: tuple[tuple[Value, Value], ...]
    query_positions: Value  # [G * S, 1] the positions of the S rows, G times over
    last_position: Value  # [1, 1]
    last_row: Value  # [1, S] one-hot
    # [1, window + S] of each ring slot, then of the rows; FAR where a slot is not filled
    local_key_positions: Value | None
    global_key_positions: Value | None  # [1, filled + 1 + S]

    def key_positions(self) -> dict[bool, Value]:
        """Key positions by whether the layer is local."""
        both = {True: self.local_key_positions, False: self.global_key_positions}
        return {is_local: keys for is_local, keys in both.items() if keys is not None}


def decoder_subgraph(model: QuantizedModel, context: int, chunk: int, kv_cache: KvCacheType, stage: Stage) -> Subgraph:
    """The subgraph of `model` for calls of up to `chunk` tokens. Arguments: CallInputs' fields, then the caches.

    Results: logits [1, vocabulary], then the rows to write into each cache, [K, S, 1, width].
    """
    ops = XnnpackOps(model, context, chunk, kv_cache)
    logits = decode(ops, model.config, stage.advance)
    for value in (logits, *ops.new_rows):
        ops.graph.output(value)
    return ops.graph


class XnnpackOps:
    """`Ops` that write the nodes of one subgraph.

    q, k and v of a layer are one linear, gate and up another: asked for the first, the others are computed with it and
    wait. Behind the keys and values of the last layer only the last row's logits are wanted, so rows are cut there.
    """

    def __init__(self, model: QuantizedModel, context: int, chunk: int, kv_cache: KvCacheType) -> None:
        graph = self.graph = Subgraph()
        config = self.config = model.config
        self.model, self.kv_cache = model, kv_cache
        self.inputs = self._declare_inputs(context, chunk)
        self.caches: dict[int, list[Value]] = {layer: [] for layer in range(config.num_layers)}
        for tensor in cache_tensors(config, context, kv_cache):
            self.caches[tensor.layer].append(graph.input(tensor.shape(config.num_kv_heads), tensor.dtype))
        self.new_rows: list[Value] = []
        self._means: dict[int, Value] = {}
        self._waiting: dict[str, Value] = {}  # results of linears that were computed with another
        self._late_norms: dict[int, tuple[str | None, float]] = {}  # of heads, by the id of what they norm
        self._cut: dict[int, Value] = {}  # hidden rows by the id of what they were cut from
        self.key_turns = [self.rotation_matrices(cos, sin) for cos, sin in self.inputs.turns]
        self.query_turns = self.key_turns
        if not (config.qk_norm and not config.qk_norm_before_rope):
            self.query_turns = [graph.multiply(turn, graph.scalar(config.softmax_scale)) for turn in self.key_turns]
        self.masks = {
            is_local: self.attention_mask(self.inputs.query_positions, keys, is_local)
            for is_local, keys in self.inputs.key_positions().items()
        }

    def _declare_inputs(self, context: int, rows: int) -> CallInputs:
        graph, config = self.graph, self.config
        any_local, any_global = any(config.local_layers), not all(config.local_layers)
        turn = (rows, 1, config.head_dim)
        return CallInputs(
            hidden=graph.input((rows, config.hidden_size)),
            turns=tuple((graph.input(turn), graph.input(turn)) for _ in config.ropes),
            query_positions=graph.input((config.num_heads // config.num_kv_heads * rows, 1)),
            last_position=graph.input((1, 1)),
            last_row=graph.input((1, rows)),
            local_key_positions=graph.input((1, config.window + rows)) if any_local else None,
            global_key_positions=graph.input((1, context + rows)) if any_global else None,
        )

    def rotation_matrices(self, cos: Value, sin: Value) -> Value:
        """[S, E, E] so that `x @ R` rotates each interleaved pair by its row's angle: RoPE as one matmul, no
        shuffling.
        """
        size = self.config.head_dim
        swap = torch.zeros(size, size)
        for even in range(0, size, 2):
            swap[even + 1, even], swap[even, even + 1] = -1.0, 1.0
        graph = self.graph
        return graph.add(
            graph.multiply(graph.constant(torch.eye(size)), cos),
            graph.multiply(graph.constant(swap), sin),
        )

    def attention_mask(self, query_positions: Value, key_positions: Value, is_local: bool) -> Value:
        """[rows, T]: 0 where a key is visible, at most -_MASK_SLOPE where not. A query sees itself and, locally,
        window - 1 back.
        """
        graph = self.graph
        distance = graph.subtract(query_positions, key_positions)
        if is_local:
            distance = graph.minimum(distance, graph.subtract(graph.scalar(float(self.config.window - 1)), distance))
        return graph.multiply(graph.minimum(distance, graph.scalar(0.0)), graph.scalar(_MASK_SLOPE))

    # Ops

    def embedding(self, name: str) -> Value:
        return self.inputs.hidden

    def rms_norm(self, name: str, rows: Value, weight: str | None, eps: float) -> Value:
        if len(rows.shape) == 3 and not self.config.qk_norm_before_rope:
            # Queries and keys are normed where the attention takes them.
            self._late_norms[rows.id] = (weight, eps)
            return rows
        if name == f"layers.{self.config.num_layers - 1}.attention_norm":
            self._uncut = rows
        return self._normed(rows, weight, eps)

    def linear(self, name: str, rows: Value) -> Value:
        layer, _, part = name.rpartition(".")
        if name in self._waiting:
            return self._waiting.pop(name)
        parts = next((parts for parts in _FUSED if part in parts), (part,))
        if part == "q" and layer == f"layers.{self.config.num_layers - 1}":
            self._compute(layer, ("k", "v"), rows)
            rows, parts = self._cut_to_last_row(rows), ("q",)
        self._compute(layer, parts, rows)
        return self._waiting.pop(name)

    def heads(self, name: str, rows: Value, count: int) -> Value:
        return self.graph.reshape(rows, (0, count, self.config.head_dim))

    def rope(self, name: str, rows: Value, layer: int) -> Value:
        rope = self.config.rope(layer)
        if rope is None:
            raise ValueError(f"layer {layer} has no position embeddings")
        is_query = name.split(".")[2] == "q"
        turn = (self.query_turns if is_query else self.key_turns)[self.config.ropes.index(rope)]
        if is_query and layer == self.config.num_layers - 1:
            turn = self._last_turn
        return self.graph.matmul(rows, turn)

    def attention(self, name: str, query: Value, key: Value, value: Value, layer: int) -> Value:
        graph, config = self.graph, self.config
        if query.id in self._late_norms:
            query = self._normed(query, *self._late_norms[query.id])
            query = graph.multiply(query, graph.scalar(config.softmax_scale))
        elif config.rope(layer) is None:
            query = graph.multiply(query, graph.scalar(config.softmax_scale))
        if key.id in self._late_norms:
            key = self._normed(key, *self._late_norms[key.id])
        mask = self._last_mask if layer == config.num_layers - 1 else self.masks[config.local_layers[layer]]
        attend = self.attend_int8 if self.kv_cache == "int8" else self.attend_float
        attended, rows = attend(query, key, value, self.caches[layer], mask)
        self.new_rows += rows
        return attended

    def activation(self, name: str, rows: Value) -> Value:
        graph, argument = self.graph, rows
        if self.config.activation == "gelu_tanh":
            linear, cubic = GELU_TANH
            slope = graph.add(graph.multiply(graph.multiply(rows, rows), graph.scalar(cubic)), graph.scalar(linear))
            argument = graph.multiply(rows, slope)
        return graph.multiply(rows, graph.sigmoid(argument))

    def multiply(self, name: str, a: Value, b: Value) -> Value:
        return self.graph.multiply(a, b)

    def residual_add(self, name: str, hidden: Value, rows: Value) -> Value:
        return self.graph.add(self._cut.get(hidden.id, hidden), rows)

    def last_row(self, name: str, hidden: Value) -> Value:
        return hidden  # cut in the last layer

    # What they are made of

    def _compute(self, layer: str, parts: tuple[str, ...], rows: Value) -> None:
        """Linears over the same rows, computed as one: XNNPACK then quantizes the rows and wakes its threads once."""
        graph = self.graph
        names = [f"{layer}.{part}" if layer else part for part in parts]
        whole = fused_name(layer, parts) if layer else parts[0]
        weight = graph.weight(whole, (self.model.weight(name) for name in names))
        bias = None
        if any(part in self.config.biases for part in parts):
            vectors = [self._bias(name) for name in names]
            bias = graph.constant(torch.cat(vectors))
        result = graph.linear(graph.quantize_rows(rows), weight, bias)
        sizes = [self.model.shape(name)[0] for name in names]
        for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
            alone = len(names) == 1
            self._waiting[name] = result if alone else graph.slice(result, 1, sum(sizes[:number]), size)

    def _bias(self, name: str) -> torch.Tensor:
        if name.rpartition(".")[2] in self.config.biases:
            return self.model.vector(f"{name}_bias")
        return torch.zeros(self.model.shape(name)[0])

    def _cut_to_last_row(self, normed: Value) -> Value:
        """The last row of what q takes in the last layer; with it, of the hidden rows, the rotation and the mask."""
        graph, config, inputs = self.graph, self.config, self.inputs
        layer, size = config.num_layers - 1, config.head_dim
        normed = graph.matmul(inputs.last_row, normed)
        self._cut[self._uncut.id] = graph.matmul(inputs.last_row, self._uncut)
        if (rope := config.rope(layer)) is not None:
            flat = graph.reshape(self.query_turns[config.ropes.index(rope)], (0, size**2))
            self._last_turn = graph.reshape(graph.matmul(inputs.last_row, flat), (1, size, size))
        is_local = config.local_layers[layer]
        self._last_mask = self.attention_mask(inputs.last_position, inputs.key_positions()[is_local], is_local)
        return normed

    def _normed(self, rows: Value, weight: str | None, eps: float) -> Value:
        """RMS norm, its mean of squares as a product with a row of 1/n: there is no reduction."""
        graph, size = self.graph, rows.shape[-1]
        if size not in self._means:
            self._means[size] = graph.constant(torch.full((1, size), 1.0 / size))
        mean = graph.linear(graph.multiply(rows, rows), self._means[size], graph.scalar(eps))
        unit = graph.multiply(rows, graph.reciprocal_square_root(mean))
        return unit if weight is None else graph.multiply(unit, graph.constant(self.model.vector(weight)))

    def attend_int8(
        self, query: Value, key: Value, value: Value, caches: list[Value], mask: Value
    ) -> tuple[Value, list[Value]]:
        graph, kv_heads = self.graph, self.config.num_kv_heads
        # Keys and values are quantized together: [2K, S, E] -> codes of the same shape and scales [2K, S, 1]
        both = graph.transpose(graph.concatenate(key, value, axis=1), (1, 0, 2))
        largest = graph.row_maximum(graph.absolute(both), at_least=127 * _SMALLEST_SCALE)
        scales = graph.multiply(largest, graph.scalar(1 / 127))
        codes = graph.round_to_int8(graph.divide(both, scales))
        rows: list[Value] = []
        all_codes, all_scales = [], []
        for half in (0, 1):
            new_codes = self.cache_rows(graph.slice(codes, 0, half * kv_heads, kv_heads))
            new_scales = self.cache_rows(graph.slice(scales, 0, half * kv_heads, kv_heads))
            rows += [new_codes, new_scales]
            old_codes, old_scales = caches[2 * half : 2 * half + 2]
            all_codes.append(graph.concatenate(old_codes, new_codes, axis=1))  # [K, T, 1, E]
            scales_of_half = graph.concatenate(old_scales, new_scales, axis=1)
            all_scales.append(graph.reshape(scales_of_half, (kv_heads, 1, 0)))  # [K, 1, T]
        key_scales, value_scales = all_scales
        # Keys are transposed as codes: a quarter of the bytes, and XNNPACK packs the right operand of a matmul for less
        # where it is not transposed. Codes become floats BEFORE the reshape: a convert that feeds a matmul is rewritten
        # by XNNPACK into a matmul on codes, which answers wrong in 1.5.1.
        key_codes = graph.to_float(graph.transpose(all_codes[0], (0, 3, 2, 1)))  # [K, E, 1, T]
        key_codes = graph.reshape(key_codes, (kv_heads, self.config.head_dim, 0))
        value_codes = self.slots_matrix(graph.to_float(all_codes[1]))
        scores = graph.matmul(self.grouped_queries(query), key_codes)
        weights = graph.softmax(graph.add(graph.multiply(scores, key_scales), mask))
        return self.merged_heads(graph.matmul(graph.multiply(weights, value_scales), value_codes)), rows

    def attend_float(
        self, query: Value, key: Value, value: Value, caches: list[Value], mask: Value
    ) -> tuple[Value, list[Value]]:
        graph = self.graph
        rows = [self.cache_rows(graph.transpose(new, (1, 0, 2))) for new in (key, value)]
        keys, values = (
            self.slots_matrix(graph.concatenate(old, new, axis=1)) for old, new in zip(caches, rows, strict=True)
        )
        scores = graph.matmul(self.grouped_queries(query), keys, transpose_b=True)
        return self.merged_heads(graph.matmul(graph.softmax(graph.add(scores, mask)), values)), rows

    def cache_rows(self, rows: Value) -> Value:
        """[K, S, width] -> [K, S, 1, width], as the cache update operators take them"""
        return self.graph.reshape(rows, (rows.shape[0], 0, 1, rows.shape[2]))

    def slots_matrix(self, slots: Value) -> Value:
        """[K, T, 1, E] -> [K, T, E]"""
        return self.graph.reshape(slots, (slots.shape[0], 0, slots.shape[3]))

    def grouped_queries(self, query: Value) -> Value:
        """[S, H, E] -> [K, G * S, E]: the G heads that share a KV head become rows of one matmul"""
        by_head = self.graph.transpose(query, (1, 0, 2))
        return self.graph.reshape(by_head, (self.config.num_kv_heads, 0, self.config.head_dim))

    def merged_heads(self, attended: Value) -> Value:
        """[K, G * S, E] -> [S, H * E]"""
        config = self.config
        by_row = self.graph.transpose(self.graph.reshape(attended, (config.num_heads, 0, config.head_dim)), (1, 0, 2))
        return self.graph.reshape(by_row, (0, config.num_heads * config.head_dim))
