"""The decoder as one static QNN graph of N rows: what the HTP runs, for prompts and for single tokens alike.

Inputs, in order: the embedded rows [1, 1, N, hidden], cosines and sines [1, 1, N, head_dim], the mask of the global
slots [1, 1, 1, C] and of the ring's [1, 1, N, W] (each only where the model has such layers), all float32; the index of
the last row, int32 [1]; and the caches, layer by layer, keys then values, int8 [kv_heads, slots, 1, head_dim]. Outputs:
the new rows of each cache, int8 [kv_heads, N, 1, head_dim], and the logits of the last row, float32 [1, 1, 1,
vocabulary].

RoPE turns the first half of a head against the second (see `half_rope`). All heads of a KV head's group are
rows of one matrix product. The residual stream is in float16. Results have the decoder's names, under which `Encodings`
has them.

Which rows hold tokens is not known to the graph: rows behind the last token are computed and have no say.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from mlp_export.backends.qnn.encodings import Encodings
from mlp_export.backends.qnn.graph import Graph, Value
from mlp_export.models.config import ModelConfig
from mlp_export.program.half_rope import graph_weight
from mlp_export.quantization.store import QuantizedModel


def decoder_graph(
    model: QuantizedModel,
    encodings: Encodings,
    context: int,
    rows: int,
    on_layer: Callable[[], object] = lambda: None,
) -> Graph:
    """The graph of all layers, the last norm and the head. `on_layer` is called after each layer.

    Holds the codes of all linears, a byte each. Raises KeyError where a result has no encoding.
    """
    masks = {"mask.global": encodings.mask, "mask.local": encodings.mask}
    graph = Graph({**encodings.points, **masks})
    config = model.config
    hidden = graph.half_input("embed", (1, 1, rows, config.hidden_size))
    cos = graph.float_input("cos", (1, 1, rows, config.head_dim))
    sin = graph.float_input("sin", (1, 1, rows, config.head_dim))
    seen = _masks(graph, config, encodings, context, rows)
    last = graph.index_input("last_row", (1,))
    caches = {}
    heads, size = config.num_kv_heads, config.head_dim
    for layer in range(config.num_layers):
        slots = config.cache_slots(layer, context)
        for name in (f"layers.{layer}.k", f"layers.{layer}.v"):
            # In the shape of the program's buffer, which the runtime compares.
            stored = graph.code_input(f"{name}.cached", (heads, slots, 1, size), encodings.points[f"{name}.cache"])
            caches[name] = graph.reshape(f"{name}.cached.heads", stored, (1, heads, slots, size))
    for layer in range(config.num_layers):
        writer = _LayerWriter(graph, model, layer)
        hidden = writer.write(hidden, cos, sin, seen[config.local_layers[layer]], caches)
        on_layer()
    final = graph.gather("last", hidden, last, axis=2)
    normed = graph.half_rms_norm("norm", final, model.vector("norm"), config.norm_eps)
    graph.float_output("logits", graph.linear("head", normed, graph_weight(model, "head")))
    return graph


def _masks(graph: Graph, config: ModelConfig, encodings: Encodings, context: int, rows: int) -> dict[bool, Value]:
    """For local and for global layers: [1, 1, group * N, slots + N], what is added to scores of slots and new rows."""
    groups = config.num_heads // config.num_kv_heads
    ahead = torch.triu(torch.full((rows, rows), encodings.hidden), 1).view(1, 1, rows, rows)
    new = graph.constant("mask.new", ahead, encodings.mask)
    masks = {}
    if not all(config.local_layers):
        slots = graph.float_input("mask.global", (1, 1, 1, context))
        slots = graph.repeat("mask.global.rows", slots, rows, axis=2)
        masks[False] = graph.concat("mask.global.all", [slots, new], axis=3)
    if any(config.local_layers):
        slots = graph.float_input("mask.local", (1, 1, rows, config.window))
        masks[True] = graph.concat("mask.local.all", [slots, new], axis=3)
    if groups > 1:
        for local, mask in masks.items():
            masks[local] = graph.concat(f"{mask.name}.groups", [mask] * groups, axis=2)
    return masks


class _LayerWriter:
    def __init__(self, graph: Graph, model: QuantizedModel, layer: int) -> None:
        self.graph, self.model, self.config = graph, model, model.config
        self.layer = f"layers.{layer}"

    def write(self, hidden: Value, cos: Value, sin: Value, mask: Value, caches: dict[str, Value]) -> Value:
        graph, layer = self.graph, self.layer
        normed = self.norm("attention_norm", hidden)
        attended = self.attention(normed, cos, sin, mask, caches)
        hidden = graph.half_add(f"{layer}.attention_sum", hidden, self.linear("o", attended))
        normed = self.norm("ffn_norm", hidden)
        gate = self.linear("gate", normed)
        silu = graph.multiply(f"{layer}.silu", gate, graph.sigmoid(f"{layer}.sigmoid", gate))
        activated = graph.multiply(f"{layer}.activated", silu, self.linear("up", normed))
        return graph.half_add(f"{layer}.ffn_sum", hidden, self.linear("down", activated))

    def attention(self, normed: Value, cos: Value, sin: Value, mask: Value, caches: dict[str, Value]) -> Value:
        graph, config, layer = self.graph, self.config, self.layer
        rows, size, kv_heads = normed.dims[2], config.head_dim, config.num_kv_heads
        query = self.rotated("q", self.heads("q", normed, config.num_heads), cos, sin)
        query = graph.multiply_by(f"{layer}.q.scaled", query, size**-0.5)
        query = graph.reshape(f"{layer}.q.groups", query, (1, kv_heads, config.num_heads // kv_heads * rows, size))
        keys = self.with_cache("k", self.rotated("k", self.heads("k", normed, kv_heads), cos, sin), caches)
        values = self.with_cache("v", self.heads("v", normed, kv_heads), caches)
        scores = graph.matmul(f"{layer}.scores", query, keys, transpose_b=True)
        shares = graph.softmax(f"{layer}.shares", graph.add(f"{layer}.masked", scores, mask))
        attended = graph.matmul(f"{layer}.attended", shares, values)
        attended = graph.reshape(f"{layer}.attended.heads", attended, (1, config.num_heads, rows, size))
        attended = graph.transpose(f"{layer}.attended.rows", attended, (0, 2, 1, 3))
        return graph.reshape(f"{layer}.attended.flat", attended, (1, 1, rows, config.num_heads * size))

    def norm(self, name: str, x: Value) -> Value:
        full = f"{self.layer}.{name}"
        return self.graph.half_rms_norm(full, x, self.model.vector(full), self.config.norm_eps)

    def linear(self, name: str, x: Value) -> Value:
        full = f"{self.layer}.{name}"
        return self.graph.linear(full, x, graph_weight(self.model, full))

    def heads(self, name: str, normed: Value, heads: int) -> Value:
        """[1, heads, N, head_dim]"""
        flat, rows = self.linear(name, normed), normed.dims[2]
        split = self.graph.reshape(f"{self.layer}.{name}.split", flat, (1, rows, heads, self.config.head_dim))
        return self.graph.transpose(f"{self.layer}.{name}.heads", split, (0, 2, 1, 3))

    def rotated(self, name: str, x: Value, cos: Value, sin: Value) -> Value:
        graph, config, full = self.graph, self.config, f"{self.layer}.{name}"
        half = config.head_dim // 2
        first = graph.slice_last(f"{full}.first", x, 0, half)
        second = graph.slice_last(f"{full}.second", x, half, config.head_dim)
        swapped = graph.concat(f"{full}.swapped", [second, first], axis=3)
        along = graph.multiply(f"{full}.cos", x, cos)
        across = graph.multiply(f"{full}.sin", swapped, sin)
        turned = graph.add(f"{full}.rotated", along, across)
        if not config.qk_norm:
            return turned
        # Rows of one matrix: the compiler fails on a norm over heads that is converted to 8 bits.
        flat = graph.reshape(f"{full}.flat", turned, (1, 1, x.dims[1] * x.dims[2], config.head_dim))
        normed = graph.rms_norm(f"{full}.normed", flat, torch.ones(config.head_dim), config.norm_eps)
        return graph.reshape(f"{full}.normed.heads", normed, x.dims)

    def with_cache(self, name: str, new: Value, caches: dict[str, Value]) -> Value:
        """The cache's slots, then the new rows, which are an output."""
        full = f"{self.layer}.{name}"
        rows = self.graph.convert(f"{full}.cache", new)
        self.graph.code_output(f"{full}.new", rows, (new.dims[1], new.dims[2], 1, new.dims[3]))
        return self.graph.concat(f"{full}.all", [caches[full], rows], axis=2)
