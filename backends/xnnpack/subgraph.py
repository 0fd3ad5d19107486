"""An XNNPACK subgraph in the serialized form ExecuTorch's XNNPACK delegate loads.

The delegate's payload is a flatbuffer of values and nodes (executorch/backends/xnnpack/serialization/schema.fbs) that
the runtime replays as `xnn_define_*` calls. Writing that graph directly, instead of tracing a module and partitioning
it, is what makes an export take seconds: no graph pass ever sees the thirty layers.

Where a constant stands decides whether the file runs on a phone. Quantized weights are named data, which the runtime
frees once they are packed. Float constants stand inside the payload, because XNNPACK keeps pointers to operands of
binary operators and reads them at every call (see `payload`).

Shapes given here are upper bounds. XNNPACK propagates the true ones from the inputs at every call, so a dimension that
follows the chunk or the position is simply written at its largest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema
from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import serialize_xnnpack_binary

from mlp_export.backends.xnnpack.payload import NAMED_OFFSET, weight_keys
from mlp_export.models.quantized_weight import QuantizedWeight
from mlp_export.program.executorch_private import NamedDataStore, NamedDataStoreOutput
from mlp_export.program.layout import pack_linear, tensor_bytes
from mlp_export.scratch import library_temporaries

_INVALID = 0xFFFFFFFF  # XNN_INVALID_VALUE_ID
_EXTERNAL_INPUT, _EXTERNAL_OUTPUT = 1, 2  # XNN_VALUE_FLAG_*
_TRANSPOSE_B = 1  # XNN_FLAG_TRANSPOSE_B
_ALIGNMENT = 64
_CONSTANT_ALIGNMENT = 16  # of the payload's own constants (CONSTANT_TENSOR_ALIGNMENT)

_F32 = schema.XNNDatatype.xnn_datatype_fp32
_INT8 = schema.XNNDatatype.xnn_datatype_qint8
_DYNAMIC_INT8 = schema.XNNDatatype.xnn_datatype_qdint8
_GROUP_INT4 = schema.XNNDatatype.xnn_datatype_qbint4
_CHANNEL_INT4 = schema.XNNDatatype.xnn_datatype_qcint4
_CHANNEL_INT8 = schema.XNNDatatype.xnn_datatype_qcint8


@dataclass(frozen=True)
class Value:
    """A tensor of the subgraph: its id and its largest shape."""

    id: int
    shape: tuple[int, ...]


class Subgraph:
    """Collects values, nodes and constants; every method that computes returns the `Value` it made."""

    def __init__(self) -> None:
        self._values: list[schema.XNNTensorValue] = []
        self._quantization: dict[int, schema.XNNQuantParams] = {}
        self._nodes: list[schema.XNode] = []
        self._constants = [schema.ConstantDataOffset(0, 0)]  # index 0 means "not constant"
        self._scalars: dict[float, Value] = {}
        self._floats = bytearray()  # the payload's own constants
        self._store = NamedDataStore()
        self._inputs = 0
        self._outputs: list[int] = []

    # Values

    def _value(
        self,
        shape: Sequence[int],
        datatype: schema.XNNDatatype = _F32,
        quantization: schema.XNNQuantParams | None = None,
        constant: int = 0,
        external: int = _INVALID,
    ) -> Value:
        value_id = len(self._values)
        self._values.append(
            schema.XNNTensorValue(
                datatype=datatype,
                num_dims=len(shape),
                dims=list(shape),
                constant_buffer_idx=constant,
                external_id=external,
                flags=0 if external == _INVALID else _EXTERNAL_INPUT,
                id_out=value_id,
            )
        )
        if quantization is not None:
            self._quantization[value_id] = quantization
        return Value(value_id, tuple(shape))

    def _like(self, source: Value, shape: Sequence[int], external: int = _INVALID) -> Value:
        datatype = self._values[source.id].datatype
        return self._value(shape, datatype, self._quantization.get(source.id), external=external)

    def _named_data(self, name: str, data: bytes) -> int:
        self._store.add_named_data(name, data, alignment=_ALIGNMENT)
        self._constants.append(schema.ConstantDataOffset(NAMED_OFFSET, len(data), name))
        return len(self._constants) - 1

    def input(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Value:
        """The delegate's next argument: float32, or int8 codes of scale 1."""
        external, self._inputs = self._inputs, self._inputs + 1
        if dtype == torch.int8:
            return self._value(shape, _INT8, schema.PerTensorQuant(1.0, 0), external=external)
        return self._value(shape, external=external)

    def output(self, value: Value) -> None:
        """Make `value` the delegate's next result."""
        self._values[value.id].flags = _EXTERNAL_OUTPUT
        self._outputs.append(value.id)

    def constant(self, tensor: torch.Tensor) -> Value:
        """A float32 constant, stored inside the payload."""
        data = tensor_bytes(tensor.float())
        # The runtime asks whether a key is there, so an empty one would be looked up.
        self._constants.append(schema.ConstantDataOffset(len(self._floats), len(data), None))
        self._floats += data + bytes(-len(data) % _CONSTANT_ALIGNMENT)
        return self._value(tensor.shape, constant=len(self._constants) - 1)

    def scalar(self, number: float) -> Value:
        """A float32 constant of one element; equal ones are stored once."""
        if number not in self._scalars:
            self._scalars[number] = self.constant(torch.tensor([number]))
        return self._scalars[number]

    def weight(self, name: str, parts: Iterable[QuantizedWeight]) -> Value:
        """A quantized [out, in] weight, the rows of `parts` one below the other, stored as named data under
        `payload.weight_keys` of `name`. Each part is let go before the next one is asked for.
        """
        packed: list[bytes] = []
        packed_scales: list[bytes] = []
        rows = bits = in_features = group_size = 0
        for part in parts:
            if rows and (part.bits, part.codes.shape[1], part.group_size) != (bits, in_features, group_size):
                raise AssertionError(f"the parts of {name} are not quantized alike")
            bits, in_features, group_size = part.bits, part.codes.shape[1], part.group_size
            scales = part.scales.to(torch.float32 if group_size == in_features else torch.bfloat16)
            if not torch.equal(scales.float(), part.scales.float()):
                raise AssertionError(f"the scales of {name} do not survive the format's dtype {scales.dtype}")
            packed.append(tensor_bytes(pack_linear(part.codes, part.bits)))
            packed_scales.append(tensor_bytes(scales))
            rows += part.codes.shape[0]
            del part
        per_channel = group_size == in_features
        scale_count = rows * (in_features // group_size)
        codes_bytes, scales_bytes = b"".join(packed), b"".join(packed_scales)
        del packed, packed_scales
        codes_key, scales_key = weight_keys(name, codes_bytes, scales_bytes)
        codes_index = self._named_data(codes_key, codes_bytes)
        scales_index = self._named_data(scales_key, scales_bytes)
        quantization: schema.XNNQuantParams
        if per_channel:
            datatype = _CHANNEL_INT4 if bits == 4 else _CHANNEL_INT8
            quantization = schema.PerChannelQuant(
                scale=[], channel_dim=0, scale_buffer_idx=scales_index, num_scales=scale_count
            )
        else:
            datatype = _GROUP_INT4
            quantization = schema.PerChannelGroupQuant(
                scale=[],
                channel_dim=0,
                group_size=group_size,
                scale_buffer_idx=scales_index,
                num_scales=scale_count,
            )
        return self._value((rows, in_features), datatype, quantization, codes_index)

    # Nodes

    def _node(
        self, kind: type, output: Value, *inputs: Value, clamp_min: float | None = None, **fields: object
    ) -> Value:
        names = [field.name for field in dataclasses.fields(kind)]
        slots = [name for name in names if name.endswith("_id") and name != "output_id"]
        ids = [value.id for value in inputs] + [_INVALID] * (len(slots) - len(inputs))
        arguments = dict(zip(slots, ids, strict=True)) | {"output_id": output.id, "flags": 0} | fields
        bounds = None if clamp_min is None else schema.OutputMinMax(clamp_min, "inf")
        self._nodes.append(schema.XNode(kind(**arguments), debug_handle=0, output_min_max=bounds))
        return output

    def _binary(self, kind: type, a: Value, b: Value) -> Value:
        shape = torch.broadcast_shapes(a.shape, b.shape)
        return self._node(kind, self._value(shape), a, b)

    def _unary(self, kind: type, a: Value) -> Value:
        return self._node(kind, self._value(a.shape), a)

    def add(self, a: Value, b: Value) -> Value:
        return self._binary(schema.XNNAdd, a, b)

    def subtract(self, a: Value, b: Value) -> Value:
        return self._binary(schema.XNNSubtract, a, b)

    def multiply(self, a: Value, b: Value) -> Value:
        return self._binary(schema.XNNMultiply, a, b)

    def divide(self, a: Value, b: Value) -> Value:
        return self._binary(schema.XNNDiv, a, b)

    def minimum(self, a: Value, b: Value) -> Value:
        return self._binary(schema.XNNMinimum, a, b)

    def absolute(self, a: Value) -> Value:
        return self._unary(schema.XNNAbs, a)

    def reciprocal_square_root(self, a: Value) -> Value:
        return self._unary(schema.XNNReciprocalSquareRoot, a)

    def sigmoid(self, a: Value) -> Value:
        return self._unary(schema.XNNSigmoid, a)

    def softmax(self, a: Value) -> Value:
        """Over the last dimension."""
        return self._unary(schema.XNNSoftmax, a)

    def quantize_rows(self, a: Value) -> Value:
        """Float rows to int8, asymmetric, a scale and zero point a row, chosen at every call (XNNPACK's qd8)."""
        rows = self._value(a.shape, _DYNAMIC_INT8, schema.PerTokenDynamicQuant(num_nonbatch_dims=1))
        return self._node(schema.XNNConvert, rows, a)

    def round_to_int8(self, a: Value) -> Value:
        """Floats to int8 codes of scale 1: round half to even, clamp to [-128, 127]."""
        return self._node(schema.XNNConvert, self._value(a.shape, _INT8, schema.PerTensorQuant(1.0, 0)), a)

    def to_float(self, a: Value) -> Value:
        """int8 codes of scale 1 to floats."""
        return self._node(schema.XNNConvert, self._value(a.shape), a)

    def linear(self, a: Value, weight: Value, bias: Value | None = None) -> Value:
        """`a` [rows, in] times `weight` [out, in] transposed, plus `bias`: float32 [rows, out]."""
        result = self._value((*a.shape[:-1], weight.shape[0]))
        return self._node(schema.XNNFullyConnected, result, a, weight, *([bias] if bias else []))

    def matmul(self, a: Value, b: Value, *, transpose_b: bool = False) -> Value:
        """Batched [.., n, k] @ [.., k, m] (or [.., m, k] with `transpose_b`)."""
        columns = b.shape[-2] if transpose_b else b.shape[-1]
        result = self._value((*a.shape[:-1], columns))
        flags = _TRANSPOSE_B if transpose_b else 0
        return self._node(schema.XNNBatchMatrixMultiply, result, a, b, flags=flags)

    def concatenate(self, a: Value, b: Value, axis: int) -> Value:
        shape = list(a.shape)
        shape[axis] += b.shape[axis]
        return self._node(schema.XNNConcatenate2, self._like(a, shape), a, b, axis=axis)

    def slice(self, a: Value, axis: int, start: int, size: int) -> Value:
        """`size` entries of a fixed axis; the other axes are kept whole, whatever their size at the call."""
        shape = [size if i == axis else n for i, n in enumerate(a.shape)]
        offsets = [start if i == axis else 0 for i in range(len(shape))]
        sizes = [size if i == axis else 0 for i in range(len(shape))]  # 0: to the end
        result = self._like(a, shape)
        return self._node(schema.XNNStaticSlice, result, a, num_dims=len(shape), offsets=offsets, sizes=sizes)

    def reshape(self, a: Value, shape: Sequence[int]) -> Value:
        """To `shape`, in which one 0 stands for the size that follows from the others."""
        known = 1
        for n in shape:
            known *= n or 1
        numel = 1
        for n in a.shape:
            numel *= n
        result = self._like(a, [n or numel // known for n in shape])
        return self._node(schema.XNNStaticReshape, result, a, num_dims=len(shape), new_shape=list(shape))

    def transpose(self, a: Value, order: Sequence[int]) -> Value:
        result = self._like(a, [a.shape[i] for i in order])
        return self._node(schema.XNNStaticTranspose, result, a, num_dims=len(order), perm=list(order))

    def row_maximum(self, a: Value, at_least: float) -> Value:
        """Maximum over the last of three dimensions, at least `at_least`: [n, m, k] -> [n, m, 1].

        XNNPACK's serialized operators have no reduction; a pooling window as long as a row is one.
        """
        n, m, k = a.shape
        image = self.reshape(a, (n, 0, k, 1))  # NHWC with one channel
        pooled = self._node(
            schema.XNNMaxPooling2d,
            self._value((n, m, 1, 1)),
            image,
            clamp_min=at_least,
            padding_top=0,
            padding_right=0,
            padding_bottom=0,
            padding_left=0,
            pooling_height=1,
            pooling_width=k,
            stride_height=1,
            stride_width=k,
            dilation_height=1,
            dilation_width=1,
        )
        return self.reshape(pooled, (n, 0, 1))

    # Result

    def serialize(self) -> tuple[bytes, NamedDataStoreOutput]:
        """The delegate's payload, which has to stand inside the program, and the constants it refers to by name."""
        for position, value_id in enumerate(self._outputs):
            self._values[value_id].external_id = self._inputs + position
        values = [
            schema.XValue(
                value
                if value.id_out not in self._quantization
                else schema.XNNQuantizedTensorValue(value, self._quantization[value.id_out])
            )
            for value in self._values
        ]
        graph = schema.XNNGraph(
            version="0",
            xnodes=self._nodes,
            xvalues=values,
            num_externs=self._inputs + len(self._outputs),
            input_ids=[],
            output_ids=[],
            constant_data=self._constants,
        )
        with library_temporaries():  # the graph as JSON
            payload = serialize_xnnpack_binary(graph, self._floats)
        return payload, self._store.get_named_data_store_output()
