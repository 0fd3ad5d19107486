"""The decoder as one static Core ML function of N rows: what the Neural Engine runs, for prompts and single tokens.

Layout: [1, channels, 1, rows], with linears as 1 x 1 convolutions. It is what Apple published for its engine
("Deploying Transformers on the Apple Neural Engine", 2022, principle 1). The last axis is padded to 64 bytes there,
which are 32 values of float16, so N is 32 or a multiple of it where nothing forbids it.

Inputs, all float16, in order: the embedded rows [1, hidden, 1, N]; cosines and sines [1, 1, head_dim, N] of each of the
config's `ropes`; what is added to the scores of the global slots [1, 1, C, 1] and of the ring's [1, 1, W, N] (each only
where the model has such layers); which row is the last, as 0 and 1, [1, 1, 1, N]; and the caches, layer by layer, keys
then values, as the program stores them: [kv_heads, slots, 1, head_dim]. Outputs: the new rows of each cache [kv_heads,
N, 1, head_dim], and the logits of the last row in pieces [1, n, 1, 1].

What float16 (largest value 65,504) asks for:

* RMS norm squares what was divided by the row's largest magnitude, so that no square and no sum overflows, whatever
  the row. epsilon is divided by the same, squared.
* Masks are finite: infinity minus infinity is NaN. A masked score is `MASK_VALUE` + score, and its exponential is zero
  as long as scores stay within 14,000.
* The head is cut into pieces that no limit of the engine forbids (see `placement`).

Which rows hold tokens is not known to the graph: padding rows behind the last token are computed and masked out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from mlp_export.backends.base import backends_for_any_chip
from mlp_export.backends.coreml.targets import MOST_DIMENSION
from mlp_export.backends.coreml.tools import Builder as mb  # noqa: N813  as all of Core ML's documentation calls it
from mlp_export.backends.coreml.tools import Function, Program, Var, coremltools, types
from mlp_export.errors import InputError
from mlp_export.models.config import ModelConfig
from mlp_export.models.eager import rope_names
from mlp_export.models.layer import decode
from mlp_export.models.quantized_weight import QuantizedWeight
from mlp_export.program.cache import cache_tensors
from mlp_export.program.half_rope import graph_vector, graph_weight
from mlp_export.quantization.store import QuantizedModel

MASK_VALUE = -30000.0  # added to the score of a key that is not seen
_LEAST_MAGNITUDE = 2.0**-14  # of a row's largest value: the smallest normal number
_ROW_ALIGNMENT = 32
_INT4, _INT8 = types.np_int4_dtype, np.int8


def mil_name(name: str) -> str:
    """A name of the decoder's as MIL can have it: "layers.3.gate" is "layers_3_gate"."""
    return name.replace(".", "_")


def head_pieces(vocabulary: int) -> list[tuple[int, int]]:
    """First row and end of each piece of the head: pieces of equal size but for the last."""
    count = math.ceil(vocabulary / MOST_DIMENSION)
    size = math.ceil(vocabulary / count / _ROW_ALIGNMENT) * _ROW_ALIGNMENT
    return list(pairwise([*range(0, vocabulary, size), vocabulary]))


def piece_names(vocabulary: int) -> list[str]:
    """Names of the head's pieces."""
    return [f"head_{n}" for n in range(len(head_pieces(vocabulary)))]


def decoder_program(
    model: QuantizedModel, context: int, rows: int, on_layer: Callable[[], object] = lambda: None
) -> Program:
    """The MIL program of all layers, the last norm and the head, in operators of iOS 18. `on_layer` is called after
    each layer. Holds the codes of all linears, a byte each.
    """
    shapes = input_shapes(model.config, context, rows)
    placeholders = {name: mb.placeholder(shape, dtype=types.fp16) for name, shape in shapes.items()}
    program = Program()
    with Function(placeholders, opset_version=coremltools.target.iOS18) as function:
        ops = CoremlOps(model, function.inputs, rows)
        logits = decode(ops, model.config, on_layer).pieces
        function.set_outputs([*ops.new_rows, *logits])
        program.add_function("main", function)
    return program


def input_shapes(config: ModelConfig, context: int, rows: int) -> dict[str, tuple[int, ...]]:
    """The function's inputs, in order."""
    shapes: dict[str, tuple[int, ...]] = {"embed": (1, config.hidden_size, 1, rows)}
    for layer in range(config.num_layers):
        if config.rope(layer) is not None:
            shapes |= {mil_name(turn): (1, 1, config.head_dim, rows) for turn in rope_names(config, layer)}
    if not all(config.local_layers):
        shapes["mask_global"] = (1, 1, context, 1)
    if any(config.local_layers):
        shapes["mask_local"] = (1, 1, config.window, rows)
    shapes["last_row"] = (1, 1, 1, rows)
    for tensor in cache_tensors(config, context, "fp16"):
        shapes[f"layers_{tensor.layer}_{tensor.part[0]}_cached"] = tensor.shape(config.num_kv_heads)
    return shapes


class Rows:
    """A result of the decoder: hidden rows [1, channels, 1, N] or heads [1, heads, head_dim, N]; logits in pieces.

    Its operators are written when `pieces` or `var` is first asked for. So the function has queries, keys and values
    each beside what the attention does with them, though the recipe asks for all three before it.
    """

    def __init__(self, write: Callable[[], list[Var]]) -> None:
        self._write = write

    @cached_property
    def pieces(self) -> list[Var]:
        return self._write()

    @property
    def var(self) -> Var:
        """The value where there is one piece: of everything but the logits."""
        (piece,) = self.pieces
        return piece


class CoremlOps:
    """`Ops` that writes MIL into the function that is being built (see mlp_export.models.ops)."""

    def __init__(self, model: QuantizedModel, inputs: dict[str, Var], rows: int) -> None:
        self.model, self.config, self.inputs, self.rows = model, model.config, inputs, rows
        self.new_rows: list[Var] = []  # of the caches, layer by layer, keys then values
        self._masks = self._write_masks()

    def embedding(self, name: str) -> Rows:
        return Rows(lambda: [self.inputs[name]])

    def rms_norm(self, name: str, rows: Rows, weight: str | None, eps: float) -> Rows:
        def write() -> list[Var]:
            axis = 1 if rows.var.shape[2] == 1 else 2  # of hidden rows, of heads
            normed = rms_norm(rows.var, axis, eps)
            return [normed if weight is None else mb.mul(x=normed, y=self._vector(weight, axis))]

        return Rows(write)

    def linear(self, name: str, rows: Rows) -> Rows:
        return Rows(lambda: self._head(rows.var) if name == "head" else [self._linear(name, rows.var)])

    def heads(self, name: str, rows: Rows, count: int) -> Rows:
        return Rows(lambda: [mb.reshape(x=rows.var, shape=[1, count, self.config.head_dim, self.rows])])

    def rope(self, name: str, rows: Rows, layer: int) -> Rows:
        def write() -> list[Var]:
            x, half = rows.var, self.config.head_dim // 2
            cos, sin = (self.inputs[mil_name(turn)] for turn in rope_names(self.config, layer))
            part = [int(x.shape[0]), int(x.shape[1]), half, int(x.shape[3])]
            first = mb.slice_by_size(x=x, begin=[0, 0, 0, 0], size=part)
            second = mb.slice_by_size(x=x, begin=[0, 0, half, 0], size=part)
            swapped = mb.concat(values=[second, first], axis=2)
            return [mb.add(x=mb.mul(x=x, y=cos), y=mb.mul(x=swapped, y=sin))]

        return Rows(write)

    def attention(self, name: str, query: Rows, key: Rows, value: Rows, layer: int) -> Rows:
        def write() -> list[Var]:
            config, rows, size = self.config, self.rows, self.config.head_dim
            kv_heads, groups = config.num_kv_heads, config.num_heads // config.num_kv_heads
            scaled = mb.mul(x=query.var, y=np.float16(config.softmax_scale))
            # Queries that share a KV head stand beside each other, as columns of one product.
            columns = mb.reshape(x=scaled, shape=[kv_heads, groups, size, rows])
            columns = mb.transpose(x=columns, perm=[0, 2, 1, 3])
            columns = mb.reshape(x=columns, shape=[1, kv_heads, size, groups * rows])
            keys = self._with_cache(f"layers.{layer}.k", key.var)
            values = self._with_cache(f"layers.{layer}.v", value.var)
            mask = self._masks[config.local_layers[layer]]
            scores = mb.add(x=mb.matmul(x=keys, y=columns), y=mask)  # [1, kv_heads, slots + N, groups * N]
            shares = mb.softmax(x=scores, axis=2)
            attended = mb.matmul(x=values, y=shares, transpose_x=True)  # [1, kv_heads, head_dim, groups * N]
            attended = mb.reshape(x=attended, shape=[kv_heads, size, groups, rows])
            attended = mb.transpose(x=attended, perm=[0, 2, 1, 3])
            return [mb.reshape(x=attended, shape=[1, config.num_heads * size, 1, rows])]

        return Rows(write)

    def activation(self, name: str, rows: Rows) -> Rows:
        if self.config.activation == "gelu_tanh":
            return Rows(lambda: [mb.gelu(x=rows.var, mode="TANH_APPROXIMATION")])
        return Rows(lambda: [mb.silu(x=rows.var)])

    def multiply(self, name: str, a: Rows, b: Rows) -> Rows:
        return Rows(lambda: [mb.mul(x=a.var, y=b.var)])

    def residual_add(self, name: str, hidden: Rows, rows: Rows) -> Rows:
        total = mb.add(x=hidden.var, y=rows.var, name=mil_name(name))  # at once: progress is told layer by layer
        return Rows(lambda: [total])

    def last_row(self, name: str, hidden: Rows) -> Rows:
        return Rows(
            lambda: [mb.reduce_sum(x=mb.mul(x=hidden.var, y=self.inputs["last_row"]), axes=[3], keep_dims=True)]
        )

    def _write_masks(self) -> dict[bool, Var]:
        """For local and for global layers: what is added to the scores [1, 1, slots + N, group * N]."""
        rows, groups = self.rows, self.config.num_heads // self.config.num_kv_heads
        ahead = np.tril(np.full((rows, rows), MASK_VALUE, np.float16), -1)  # key below, query beside
        new = mb.const(val=ahead.reshape(1, 1, rows, rows), name="mask_new")
        slots = {}
        if "mask_global" in self.inputs:
            slots[False] = mb.tile(x=self.inputs["mask_global"], reps=[1, 1, 1, rows])
        if "mask_local" in self.inputs:
            slots[True] = self.inputs["mask_local"]
        return {
            local: mb.tile(x=mb.concat(values=[mask, new], axis=2), reps=[1, 1, 1, groups])
            for local, mask in slots.items()
        }

    def _with_cache(self, name: str, new: Var) -> Var:
        """[1, kv_heads, slots + N, head_dim]: the cache's slots, then the new rows, which are an output."""
        kv_heads, size = self.config.num_kv_heads, self.config.head_dim
        new = mb.transpose(x=new, perm=[0, 1, 3, 2])
        stored = [kv_heads, self.rows, 1, size]
        self.new_rows.append(mb.reshape(x=new, shape=stored, name=f"{mil_name(name)}_new"))
        cached = self.inputs[f"{mil_name(name)}_cached"]
        slots = mb.reshape(x=cached, shape=[1, kv_heads, int(cached.shape[1]), size])
        return mb.concat(values=[slots, new], axis=2)

    def _linear(self, name: str, x: Var) -> Var:
        bias = None
        if name.rpartition(".")[2] in self.config.biases:
            bias = mb.const(val=self._half(f"{name}_bias"), name=mil_name(f"{name}_bias"))
        return _convolution(mil_name(name), x, graph_weight(self.model, name), bias)

    def _head(self, x: Var) -> list[Var]:
        """Logits in pieces [1, n, 1, 1]."""
        head, vocabulary = self.model.weight("head"), self.config.vocab_size
        return [
            _convolution(name, x, _rows(head, first, end))
            for name, (first, end) in zip(piece_names(vocabulary), head_pieces(vocabulary), strict=True)
        ]

    def _vector(self, name: str, axis: int) -> Var:
        """A norm's weight, along `axis` of four."""
        shape = [-1 if n == axis else 1 for n in range(4)]
        return mb.const(val=self._half(name).reshape(shape), name=f"{mil_name(name)}_weight")

    def _half(self, name: str) -> np.ndarray:
        """A norm's weight or a bias in float16. Raises InputError where it does not fit."""
        exact = graph_vector(self.model, name)
        if exact.abs().max() > torch.finfo(torch.float16).max:
            what = f"values of {name!r} are" if name.endswith("_bias") else f"the weight of {name!r} is"
            raise InputError(f"{what} beyond float16's 65,504", f"{backends_for_any_chip()} keeps it in float32")
        return exact.numpy().astype(np.float16)


def rms_norm(x: Var, axis: int, epsilon: float) -> Var:
    """x / sqrt(mean(x^2) + epsilon) along `axis`, in float16 for any x that float16 holds."""
    largest = mb.reduce_max(x=mb.abs(x=x), axes=[axis], keep_dims=True)
    largest = mb.maximum(x=largest, y=np.float16(_LEAST_MAGNITUDE))
    scaled = mb.real_div(x=x, y=largest)  # within -1 and 1
    mean = mb.reduce_mean(x=mb.mul(x=scaled, y=scaled), axes=[axis], keep_dims=True)
    root = mb.real_div(x=np.float16(epsilon**0.5), y=largest)
    inverse = mb.rsqrt(x=mb.add(x=mean, y=mb.mul(x=root, y=root)), epsilon=np.float16(0))
    return mb.mul(x=scaled, y=inverse)


def quantized_constant(name: str, weight: QuantizedWeight) -> Var:
    """Codes and scales as a weight [out, in, 1, 1] of a convolution, which the engine takes compressed.

    `constexpr_blockwise_shift_scale`, symmetric: code * scale, with a scale an output channel.
    """
    dtype: Any = _INT4 if weight.bits == 4 else _INT8
    codes = weight.codes.numpy().astype(dtype).reshape(*weight.codes.shape, 1, 1)
    scales = weight.scales.numpy().reshape(*weight.scales.shape, 1, 1)
    return mb.constexpr_blockwise_shift_scale(data=codes, scale=scales, name=name)


def _convolution(name: str, x: Var, weight: QuantizedWeight, bias: Var | None = None) -> Var:
    constant = quantized_constant(f"{name}_weight", weight)
    if bias is None:
        return mb.conv(x=x, weight=constant, name=name)
    return mb.conv(x=x, weight=constant, bias=bias, name=name)


def _rows(weight: QuantizedWeight, first: int, end: int) -> QuantizedWeight:
    return QuantizedWeight(weight.codes[first:end], weight.scales[first:end], weight.bits, weight.group_size)
