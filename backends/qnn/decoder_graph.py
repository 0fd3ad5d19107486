"""The decoder as one static QNN graph of N rows: what the HTP runs, for prompts and for single tokens alike.

Inputs, in order: the embedded rows [1, 1, N, hidden], cosines and sines [1, 1, N, head_dim] of each of the config's
`ropes`, the mask of the global slots [1, 1, 1, C] and of the ring's [1, 1, N, W] (each only where the model has such
layers), all float32; the index of the last row, int32 [1]; and the caches, layer by layer, keys then values, int8
[kv_heads, slots, 1, head_dim]. Outputs: the new rows of each cache, int8 [kv_heads, N, 1, head_dim], and the logits of
the last row, float32 [1, 1, 1, vocabulary].

RoPE turns the first half of a head against the second (see `half_rope`). All heads of a KV head's group are rows of one
matrix product. Hidden rows, and what norms behind attention and FFN add to them, are in float16. Results have the
recipe's names, under which `Encodings` has them.

Which rows hold tokens is not known to the graph: padding rows behind the last token are computed and masked out.
"""

from __future__ import annotations

import torch

from mlp_export.backends.qnn.encodings import Encodings, is_half
from mlp_export.backends.qnn.graph import Graph, Value
from mlp_export.models.config import ModelConfig
from mlp_export.models.eager import GELU_TANH, rope_names
from mlp_export.models.layer import decode
from mlp_export.program.half_rope import graph_vector, graph_weight
from mlp_export.quantization.store import QuantizedModel


def decoder_graph(model: QuantizedModel, encodings: Encodings, context: int, rows: int) -> Graph:
    """The graph of all layers, the last norm and the head.

    Holds the codes of all linears, a byte each. Raises KeyError where a result has no encoding.
    """
    ops = QnnOps(model, encodings, context, rows)
    ops.graph.float_output("logits", decode(ops, model.config))
    return ops.graph


class QnnOps:
    """`Ops` that write the operators of a graph. Rows are [1, 1, N, features], heads [1, heads, N, head_dim]."""

    def __init__(self, model: QuantizedModel, encodings: Encodings, context: int, rows: int) -> None:
        config, size = model.config, model.config.head_dim
        self.graph = Graph({**encodings.points, "mask.global": encodings.mask, "mask.local": encodings.mask})
        self.model, self.config = model, config
        self.embedded = self.graph.half_input("embed", (1, 1, rows, config.hidden_size))
        turned = [layer for layer in range(config.num_layers) if config.rope(layer) is not None]
        names = dict.fromkeys(name for layer in turned for name in rope_names(config, layer))
        self.rotations = {name: self.graph.float_input(name, (1, 1, rows, size)) for name in names}
        self.masks = _masks(self.graph, config, encodings, context, rows)
        self.last = self.graph.index_input("last_row", (1,))
        self.caches = {}
        for layer in range(config.num_layers):
            slots = config.cache_slots(layer, context)
            for name in (f"layers.{layer}.k", f"layers.{layer}.v"):
                # In the shape of the program's buffer, which the runtime compares.
                dims, encoding = (config.num_kv_heads, slots, 1, size), encodings.points[f"{name}.cache"]
                stored = self.graph.code_input(f"{name}.cached", dims, encoding)
                heads = (1, config.num_kv_heads, slots, size)
                self.caches[name] = self.graph.reshape(f"{name}.cached.heads", stored, heads)

    def embedding(self, name: str) -> Value:
        return self.embedded

    def rms_norm(self, name: str, rows: Value, weight: str | None, eps: float) -> Value:
        graph = self.graph
        gain = torch.ones(rows.dims[-1]) if weight is None else graph_vector(self.model, weight)
        if rows.encoding is None:
            return graph.quantize(name, graph.half_rms_norm(f"{name}.half", rows, gain, eps))
        if is_half(name):
            return graph.half_rms_norm(name, graph.half(f"{name}.input", rows), gain, eps)
        # Rows of one matrix: the compiler fails on a norm over heads that is converted to 8 bits.
        flat_dims = (1, 1, rows.dims[1] * rows.dims[2], rows.dims[3])
        flat = graph.reshape(f"{name.rpartition('.')[0]}.flat", rows, flat_dims)
        return graph.reshape(f"{name}.heads", graph.rms_norm(name, flat, gain, eps), rows.dims)

    def linear(self, name: str, rows: Value) -> Value:
        biased = name.rpartition(".")[2] in self.config.biases
        bias = graph_vector(self.model, f"{name}_bias") if biased else None
        return self.graph.linear(name, rows, graph_weight(self.model, name), bias)

    def heads(self, name: str, rows: Value, count: int) -> Value:
        dims = (1, rows.dims[2], count, self.config.head_dim)
        split = self.graph.reshape(f"{name.rpartition('.')[0]}.split", rows, dims)
        return self.graph.transpose(name, split, (0, 2, 1, 3))

    def rope(self, name: str, rows: Value, layer: int) -> Value:
        graph, size, part = self.graph, self.config.head_dim, name.rpartition(".")[0]
        cos, sin = (self.rotations[rotation] for rotation in rope_names(self.config, layer))
        first = graph.slice_last(f"{part}.first", rows, 0, size // 2)
        second = graph.slice_last(f"{part}.second", rows, size // 2, size)
        swapped = graph.concat(f"{part}.swapped", [second, first], axis=3)
        along = graph.multiply(f"{part}.cos", rows, cos)
        return graph.add(name, along, graph.multiply(f"{part}.sin", swapped, sin))

    def attention(self, name: str, query: Value, key: Value, value: Value, layer: int) -> Value:
        graph, config, prefix = self.graph, self.config, name.rpartition(".")[0]
        rows, size, kv_heads = query.dims[2], config.head_dim, config.num_kv_heads
        query = graph.multiply_by(f"{prefix}.q.scaled", query, config.softmax_scale)
        query = graph.reshape(f"{prefix}.q.groups", query, (1, kv_heads, config.num_heads // kv_heads * rows, size))
        keys, values = self._with_cache(f"{prefix}.k", key), self._with_cache(f"{prefix}.v", value)
        scores = graph.matmul(f"{prefix}.scores", query, keys, transpose_b=True)
        masked = graph.add(f"{prefix}.masked", scores, self.masks[config.local_layers[layer]])
        attended = graph.matmul(name, graph.softmax(f"{prefix}.shares", masked), values)
        attended = graph.reshape(f"{name}.heads", attended, (1, config.num_heads, rows, size))
        attended = graph.transpose(f"{name}.rows", attended, (0, 2, 1, 3))
        return graph.reshape(f"{name}.flat", attended, (1, 1, rows, config.num_heads * size))

    def activation(self, name: str, rows: Value) -> Value:
        graph, argument = self.graph, rows
        if self.config.activation == "gelu_tanh":
            linear, cubic = GELU_TANH
            square = graph.multiply(f"{name}.square", rows, rows)
            slope = graph.multiply_add(f"{name}.slope", square, cubic, linear)
            argument = graph.multiply(f"{name}.argument", rows, slope)
        return graph.multiply(name, rows, graph.sigmoid(f"{name.rpartition('.')[0]}.sigmoid", argument))

    def multiply(self, name: str, a: Value, b: Value) -> Value:
        return self.graph.multiply(name, a, b)

    def residual_add(self, name: str, hidden: Value, rows: Value) -> Value:
        return self.graph.half_add(name, hidden, self.graph.half(f"{name}.half", rows))

    def last_row(self, name: str, hidden: Value) -> Value:
        return self.graph.gather(name, hidden, self.last, axis=2)

    def _with_cache(self, name: str, new: Value) -> Value:
        """The cache's slots, then the new rows, which are an output."""
        rows = self.graph.convert(f"{name}.cache", new)
        self.graph.code_output(f"{name}.new", rows, (new.dims[1], new.dims[2], 1, new.dims[3]))
        return self.graph.concat(f"{name}.all", [self.caches[name], rows], axis=2)


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
