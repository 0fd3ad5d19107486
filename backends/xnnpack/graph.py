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
from mlp_export.models.numerics import SMALLEST_KV_SCALE
from mlp_export.models.tensors import weight_shapes
from mlp_export.program.cache import CacheTensor, KvCacheType, cache_tensors
from mlp_export.progress import Stage
from mlp_export.quantization.store import QuantizedModel

# Added per unit of distance outside the visible range. Finite: XNNPACK's softmax subtracts the maximum, and inf - inf
# is NaN.
_MASK_SLOPE = 1e9
_SMALLEST_SCALE = SMALLEST_KV_SCALE


def fused_name(layer: str, parts: Sequence[str]) -> str:
    """What the weight of several linears of `layer` is called: "layers.0.qkv", "layers.0.gate_up"."""
    separator = "_" if any(len(part) > 1 for part in parts) else ""
    return f"{layer}.{separator.join(parts)}"


@dataclass(frozen=True)
class CallInputs:
    """What the program computes once a call and every layer shares. All float32; positions are exact up to 2**24."""

    hidden: Value  # [S, D] embedded tokens
    cos: Value  # [S, 1, E] each frequency twice, for interleaved pairs
    sin: Value  # [S, 1, E]
    query_positions: Value  # [G * S, 1] the positions of the S rows, G times over
    last_position: Value  # [1, 1]
    last_row: Value  # [1, S] one-hot
    # [1, window + S] of each ring slot, then of the rows; FAR where a slot is not filled
    local_key_positions: Value | None
    global_key_positions: Value | None  # [1, filled + 1 + S]


def decoder_subgraph(model: QuantizedModel, context: int, chunk: int, kv_cache: KvCacheType, stage: Stage) -> Subgraph:
    """The subgraph of `model` for calls of up to `chunk` tokens. Arguments: CallInputs' fields, then the caches.

    Results: logits [1, vocabulary], then the rows to write into each cache, [K, S, 1, width].
    """
    return _Builder(model, context, chunk, kv_cache).build(stage)


class _Builder:
    def __init__(self, model: QuantizedModel, context: int, chunk: int, kv_cache: KvCacheType) -> None:
        self.model = model
        self.config = model.config
        self.chunk = chunk
        self.context = context
        self.kv_cache = kv_cache
        self.graph = Subgraph()
        self.shared: dict[str, Value] = {}
        self.rows_of = {name: shape[0] for name, shape in weight_shapes(self.config).items()}

    def build(self, stage: Stage) -> Subgraph:
        graph, config = self.graph, self.config
        inputs = self.declare_inputs()
        tensors = cache_tensors(config, self.context, self.kv_cache)
        caches: dict[int, list[tuple[CacheTensor, Value]]] = {layer: [] for layer in range(config.num_layers)}
        for tensor in tensors:
            caches[tensor.layer].append((tensor, graph.input(tensor.shape(config.num_kv_heads), tensor.dtype)))

        self.key_rotation = self.rotation_matrices(inputs)
        scale = config.head_dim**-0.5
        self.query_rotation = (
            self.key_rotation if config.qk_norm else graph.multiply(self.key_rotation, graph.scalar(scale))
        )
        self.masks = {
            is_local: self.attention_mask(inputs.query_positions, keys, is_local)
            for is_local, keys in self.key_positions(inputs).items()
        }
        hidden = inputs.hidden
        new_rows: list[Value] = []
        for layer in range(config.num_layers):
            hidden, rows = self.layer(layer, hidden, caches[layer], inputs)
            new_rows += rows
            stage.advance()
        hidden = self.rms_norm(hidden, "norm")
        graph.output(self.linear(hidden, "head"))
        for row in new_rows:
            graph.output(row)
        return graph

    def declare_inputs(self) -> CallInputs:
        graph, config, rows = self.graph, self.config, self.chunk
        any_local, any_global = any(config.local_layers), not all(config.local_layers)
        return CallInputs(
            hidden=graph.input((rows, config.hidden_size)),
            cos=graph.input((rows, 1, config.head_dim)),
            sin=graph.input((rows, 1, config.head_dim)),
            query_positions=graph.input((config.num_heads // config.num_kv_heads * rows, 1)),
            last_position=graph.input((1, 1)),
            last_row=graph.input((1, rows)),
            local_key_positions=graph.input((1, config.window + rows)) if any_local else None,
            global_key_positions=graph.input((1, self.context + rows)) if any_global else None,
        )

    @staticmethod
    def key_positions(inputs: CallInputs) -> dict[bool, Value]:
        """Key positions by whether the layer is local."""
        both = {True: inputs.local_key_positions, False: inputs.global_key_positions}
        return {is_local: keys for is_local, keys in both.items() if keys is not None}

    def rotation_matrices(self, inputs: CallInputs) -> Value:
        """[S, E, E] so that `x @ R` rotates each interleaved pair by its row's angle: RoPE as one matmul, no
        shuffling.
        """
        size = self.config.head_dim
        swap = torch.zeros(size, size)
        for even in range(0, size, 2):
            swap[even + 1, even], swap[even, even + 1] = -1.0, 1.0
        graph = self.graph
        return graph.add(
            graph.multiply(graph.constant(torch.eye(size)), inputs.cos),
            graph.multiply(graph.constant(swap), inputs.sin),
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

    def layer(
        self, layer: int, hidden: Value, caches: list[tuple[CacheTensor, Value]], inputs: CallInputs
    ) -> tuple[Value, list[Value]]:
        """One decoder layer: the hidden rows after it, and the cache rows to write."""
        graph, config = self.graph, self.config
        name = f"layers.{layer}"
        is_local = config.local_layers[layer]
        normed = self.rms_norm(hidden, f"{name}.attention_norm")
        query_rotation, mask = self.query_rotation, self.masks[is_local]
        if layer < config.num_layers - 1:
            query, key, value = self.fused_linear(normed, name, ("q", "k", "v"))
        else:  # behind the keys and values only the last row's logits are wanted
            key, value = self.fused_linear(normed, name, ("k", "v"))
            normed = graph.matmul(inputs.last_row, normed)
            hidden = graph.matmul(inputs.last_row, hidden)
            flat = graph.reshape(query_rotation, (0, config.head_dim**2))
            query_rotation = graph.reshape(graph.matmul(inputs.last_row, flat), (1, config.head_dim, config.head_dim))
            mask = self.attention_mask(inputs.last_position, self.key_positions(inputs)[is_local], is_local)
            (query,) = self.fused_linear(normed, name, ("q",))

        query = graph.matmul(self.heads(query, config.num_heads), query_rotation)
        key = graph.matmul(self.heads(key, config.num_kv_heads), self.key_rotation)
        value = self.heads(value, config.num_kv_heads)
        if config.qk_norm:
            query = graph.multiply(self.unit_rms(query), graph.scalar(config.head_dim**-0.5))
            key = self.unit_rms(key)
        if self.kv_cache == "int8":
            attended, rows = self.attend_int8(query, key, value, [value for _, value in caches], mask)
        else:
            attended, rows = self.attend_float(query, key, value, [value for _, value in caches], mask)

        hidden = graph.add(hidden, self.linear(attended, f"{name}.o"))
        gate, up = self.fused_linear(self.rms_norm(hidden, f"{name}.ffn_norm"), name, ("gate", "up"))
        activated = graph.multiply(graph.multiply(gate, graph.sigmoid(gate)), up)
        return graph.add(hidden, self.linear(activated, f"{name}.down")), rows

    def linear(self, rows: Value, name: str) -> Value:
        """The quantized linear `name` over rows that are quantized at the call."""
        weight = self.graph.weight(name, [self.model.weight(name)])
        return self.graph.linear(self.graph.quantize_rows(rows), weight)

    def fused_linear(self, rows: Value, layer: str, parts: tuple[str, ...]) -> list[Value]:
        """The results of several linears of a layer over the same rows, computed as one: XNNPACK then quantizes the
        rows and wakes its threads once.
        """
        graph, sizes = self.graph, [self.rows_of[f"{layer}.{part}"] for part in parts]
        weight = graph.weight(fused_name(layer, parts), (self.model.weight(f"{layer}.{part}") for part in parts))
        result = graph.linear(graph.quantize_rows(rows), weight)
        if len(parts) == 1:
            return [result]
        return [graph.slice(result, 1, sum(sizes[:n]), size) for n, size in enumerate(sizes)]

    def heads(self, rows: Value, count: int) -> Value:
        """[S, count * E] -> [S, count, E]"""
        return self.graph.reshape(rows, (0, count, self.config.head_dim))

    def mean_square(self, rows: Value) -> Value:
        """mean(x^2) + eps over the last dimension, as a product with a row of 1/n (there is no reduction): [.., 1]"""
        graph, size = self.graph, rows.shape[-1]
        name = f"mean.{size}"
        if name not in self.shared:
            self.shared[name] = graph.constant(torch.full((1, size), 1.0 / size))
        return graph.linear(graph.multiply(rows, rows), self.shared[name], graph.scalar(self.config.norm_eps))

    def unit_rms(self, rows: Value) -> Value:
        return self.graph.multiply(rows, self.graph.reciprocal_square_root(self.mean_square(rows)))

    def rms_norm(self, rows: Value, name: str) -> Value:
        return self.graph.multiply(self.unit_rms(rows), self.graph.constant(self.model.vector(name)))

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
