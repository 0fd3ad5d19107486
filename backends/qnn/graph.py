"""A QNN graph, written operator by operator through ExecuTorch's binding of the QNN API.

Operators and their parameters are those of Qualcomm's "Supported Operations" (QnnOpDef.h); how a tensor's encoding is
spelled is that of executorch/backends/qualcomm/aot/wrappers. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import executorch.backends.qualcomm.python.PyQnnManagerAdaptor as PyQnn
import numpy as np
import torch

from mlp_export.backends.qnn.encodings import Encoding
from mlp_export.models.quantized_weight import QuantizedWeight

_PACKAGE = "qti.aisw"
_U32 = PyQnn.Qnn_DataType_t.QNN_DATATYPE_UINT_32
_F32 = PyQnn.Qnn_DataType_t.QNN_DATATYPE_FLOAT_32
_F16 = PyQnn.Qnn_DataType_t.QNN_DATATYPE_FLOAT_16
_I32 = PyQnn.Qnn_DataType_t.QNN_DATATYPE_INT_32
_FIXED = {
    (8, True): PyQnn.Qnn_DataType_t.QNN_DATATYPE_SFIXED_POINT_8,
    (8, False): PyQnn.Qnn_DataType_t.QNN_DATATYPE_UFIXED_POINT_8,
    (16, False): PyQnn.Qnn_DataType_t.QNN_DATATYPE_UFIXED_POINT_16,
    (32, True): PyQnn.Qnn_DataType_t.QNN_DATATYPE_SFIXED_POINT_32,
}
# Parameters of operators: name -> type and value
Scalars = Mapping[str, tuple[Any, Any]]
Tensors = Mapping[str, tuple[Any, np.ndarray]]
_NONE: Mapping[str, Any] = MappingProxyType({})
_Kind = PyQnn.Qnn_TensorType_t
_Encoding = PyQnn.Qnn_QuantizationEncoding_t


@dataclass(frozen=True)
class Value:
    """A tensor of the graph. `encoding` is None for plain numbers: float16 inside, float32 or int32 at its ends."""

    name: str
    dims: tuple[int, ...]
    encoding: Encoding | None
    wrapper: Any


class Graph:
    """Operators in order. What is computed is rounded to the encoding that `points` has for its name."""

    def __init__(self, points: Mapping[str, Encoding]) -> None:
        self.points = points
        self.operators: list[Any] = []
        self._inputs = 0
        self._kept: list[np.ndarray] = []  # static tensors that the wrappers point into

    # DelegateSignature

    def float_input(self, name: str, dims: Sequence[int]) -> Value:
        """An input float32 `dims`, rounded on the way in."""
        encoding = self.points[name]
        given = self._border(name, dims, _F32)
        rounded = self._native(name, dims, encoding)
        self._operator("Quantize", name, [given], [rounded])
        return rounded

    def code_input(self, name: str, dims: Sequence[int], encoding: Encoding) -> Value:
        """An input that comes in the codes of `encoding`."""
        return self._border(name, dims, _FIXED[encoding.bits, encoding.signed], encoding)

    def index_input(self, name: str, dims: Sequence[int]) -> Value:
        """An input int32."""
        return self._border(name, dims, _I32)

    def float_output(self, name: str, x: Value) -> None:
        """`x` as float32, the next output."""
        result = self._value(f"output_{name}", x.dims, None, _Kind.QNN_TENSOR_TYPE_APP_READ, _F32)
        self._operator("Dequantize", f"{name}.float", [x], [result])

    def code_output(self, name: str, x: Value, dims: Sequence[int]) -> None:
        """The codes of `x` in the shape `dims`, the next output."""
        if x.encoding is None:
            raise ValueError(f"{x.name} has no codes")
        dtype = _FIXED[x.encoding.bits, x.encoding.signed]
        result = self._value(f"output_{name}", dims, x.encoding, _Kind.QNN_TENSOR_TYPE_APP_READ, dtype)
        self._operator("Reshape", name, [x], [result])

    # Half precision, for results that no scale fits

    def half_input(self, name: str, dims: Sequence[int]) -> Value:
        """An input float32 `dims`, in float16 from there on."""
        return self._result("Cast", name, [self._border(name, dims, _F32)], dims, None)

    def half(self, name: str, x: Value) -> Value:
        """`x` in float16, where it is not."""
        return x if x.encoding is None else self._result("Dequantize", name, [x], x.dims, None)

    def half_add(self, name: str, a: Value, b: Value) -> Value:
        return self._result("ElementWiseAdd", name, [a, b], _broadcast(a, b), None)

    def half_rms_norm(self, name: str, x: Value, weight: torch.Tensor, epsilon: float) -> Value:
        """Over the last dimension of x in float16."""
        gain, none = (
            self._static(f"{name}.{part}", values.to(torch.float16).numpy(), _F16, *_spelled(None))
            for part, values in (("gain", weight), ("bias", torch.zeros_like(weight)))
        )
        return self._rms_norm(name, x, gain, none, epsilon, None)

    # Results with an encoding of their own

    def quantize(self, name: str, x: Value) -> Value:
        """`x` in float16, rounded."""
        return self._computed("Quantize", name, [x], x.dims)

    def convert(self, name: str, x: Value) -> Value:
        """`x` in another encoding."""
        return self._computed("Convert", name, [x], x.dims)

    def linear(self, name: str, x: Value, weight: QuantizedWeight, bias: torch.Tensor | None = None) -> Value:
        """x [1, 1, n, in] times weight [out, in], plus bias [out]: [1, 1, n, out], as a convolution of 1 x 1."""
        outputs, inputs = weight.codes.shape
        scales = np.empty(outputs, dtype=[("scale", np.float32), ("offset", np.int32)])
        scales["scale"], scales["offset"] = weight.scales.float().view(-1).numpy(), 0
        codes = np.ascontiguousarray(weight.codes.numpy().T).reshape(1, 1, inputs, outputs)
        config: dict[str, Any] = {"axis": 3, "scale_offset": scales}
        kind = _Encoding.QNN_QUANTIZATION_ENCODING_AXIS_SCALE_OFFSET
        if weight.bits == 4:
            kind, config["bitwidth"] = _Encoding.QNN_QUANTIZATION_ENCODING_BW_AXIS_SCALE_OFFSET, 4
            codes = codes & 15  # not in place: they may be the weight's own
        filters = self._static(f"{name}.weight", codes, _FIXED[8, True], kind, config)
        held = PyQnn.PyQnnTensorWrapper(filters.wrapper).GetEncodings().data["scale"]
        if not np.array_equal(held, scales["scale"]):  # what the compiler is given, bit for bit
            raise ValueError(f"QNN holds other scales of {name} than it was given")
        return self._computed(
            "Conv2d",
            name,
            [x, filters, *([] if bias is None else [self._bias(name, x, bias, scales["scale"])])],
            (1, 1, x.dims[2], outputs),
            scalars={"group": (_U32, np.uint32(1))},
            tensors={"stride": _u32([1, 1]), "pad_amount": _u32([[0, 0], [0, 0]]), "dilation": _u32([1, 1])},
        )

    def _bias(self, name: str, x: Value, bias: torch.Tensor, scales: np.ndarray) -> Value:
        """A linear's bias in codes of 32 bits, whose scales are those of its products."""
        if x.encoding is None:
            raise ValueError(f"{x.name} has no codes")
        steps = np.empty(len(scales), dtype=[("scale", np.float32), ("offset", np.int32)])
        steps["scale"], steps["offset"] = scales * np.float32(x.encoding.scale), 0
        codes = np.rint(bias.double().numpy() / steps["scale"])
        if np.abs(codes).max() > np.iinfo(np.int32).max:
            raise ValueError(f"a bias of {name} is too large beside its weights for 32 bits")
        config = {"axis": 0, "scale_offset": steps}
        kind = _Encoding.QNN_QUANTIZATION_ENCODING_AXIS_SCALE_OFFSET
        return self._static(f"{name}.bias", codes.astype(np.int32), _FIXED[32, True], kind, config)

    def rms_norm(self, name: str, x: Value, weight: torch.Tensor, epsilon: float) -> Value:
        """Over the last dimension; weight float32 [dims[-1]]."""
        gain = self.constant(f"{name}.gain", weight, Encoding.of_range(*(float(b) for b in weight.aminmax())))
        encoding = self.points[name]
        none = self.constant(f"{name}.bias", torch.zeros_like(weight), Encoding(encoding.scale, 0))
        return self._rms_norm(name, x, gain, none, epsilon, encoding)

    def multiply(self, name: str, a: Value, b: Value) -> Value:
        return self._computed("ElementWiseMultiply", name, [a, b], _broadcast(a, b))

    def multiply_by(self, name: str, x: Value, factor: float) -> Value:
        factors = torch.full([1] * len(x.dims), factor)
        return self.multiply(name, x, self.constant(f"{name}.factor", factors, Encoding.of_range(0.0, factor)))

    def multiply_add(self, name: str, x: Value, factor: float, summand: float) -> Value:
        """x * factor + summand; the product has the codes of x."""
        if x.encoding is None:
            raise ValueError(f"{x.name} has no codes")
        shape = [1] * len(x.dims)
        factors = self.constant(f"{name}.factor", torch.full(shape, factor), Encoding.of_range(0.0, factor))
        summands = self.constant(f"{name}.summand", torch.full(shape, summand), Encoding.of_range(0.0, summand))
        products = replace(x.encoding, scale=x.encoding.scale * factor)
        product = self._result("ElementWiseMultiply", f"{name}.product", [x, factors], x.dims, products)
        return self.add(name, product, summands)

    def add(self, name: str, a: Value, b: Value) -> Value:
        return self._computed("ElementWiseAdd", name, [a, b], _broadcast(a, b))

    def sigmoid(self, name: str, x: Value) -> Value:
        return self._computed("Sigmoid", name, [x], x.dims)

    def softmax(self, name: str, x: Value) -> Value:
        """Over the last dimension."""
        return self._computed("Softmax", name, [x], x.dims, scalars={"axis": (_U32, np.uint32(len(x.dims) - 1))})

    def matmul(self, name: str, a: Value, b: Value, transpose_b: bool = False) -> Value:
        """a [..., n, k] times b [..., k, m], or [..., m, k] where it is transposed."""
        columns = b.dims[-2] if transpose_b else b.dims[-1]
        flag = PyQnn.Qnn_DataType_t.QNN_DATATYPE_BOOL_8
        scalars = {"transpose_in0": (flag, np.bool_(False)), "transpose_in1": (flag, np.bool_(transpose_b))}
        return self._computed("MatMul", name, [a, b], (*a.dims[:-1], columns), scalars=scalars)

    def constant(self, name: str, values: torch.Tensor, encoding: Encoding) -> Value:
        """Values of the model itself."""
        codes = encoding.codes(values.float()).to(torch.int32).numpy()
        codes = codes.astype(np.uint16 if encoding.bits == 16 else np.int8)
        value = self._static(name, codes, _FIXED[encoding.bits, encoding.signed], *_spelled(encoding))
        return Value(name, tuple(codes.shape), encoding, value.wrapper)

    # Rearrangements: codes keep their encoding

    def reshape(self, name: str, x: Value, dims: Sequence[int]) -> Value:
        return self._result("Reshape", name, [x], tuple(dims), x.encoding)

    def transpose(self, name: str, x: Value, order: Sequence[int]) -> Value:
        dims = tuple(x.dims[axis] for axis in order)
        return self._result("Transpose", name, [x], dims, x.encoding, tensors={"perm": _u32(order)})

    def slice_last(self, name: str, x: Value, start: int, stop: int) -> Value:
        """x[..., start:stop]"""
        ranges = [[0, size, 1] for size in x.dims[:-1]] + [[start, stop, 1]]
        tensors = {"ranges": (_I32, np.array(ranges, np.int32))}
        return self._result("StridedSlice", name, [x], (*x.dims[:-1], stop - start), x.encoding, tensors=tensors)

    def concat(self, name: str, parts: Sequence[Value], axis: int) -> Value:
        """All of one encoding."""
        dims = list(parts[0].dims)
        dims[axis] = sum(part.dims[axis] for part in parts)
        scalars = {"axis": (_U32, np.uint32(axis))}
        return self._result("Concat", name, parts, tuple(dims), parts[0].encoding, scalars=scalars)

    def repeat(self, name: str, x: Value, times: int, axis: int) -> Value:
        dims, multiples = list(x.dims), [1] * len(x.dims)
        dims[axis] *= times
        multiples[axis] = times
        return self._result("Tile", name, [x], tuple(dims), x.encoding, tensors={"multiples": _u32(multiples)})

    def gather(self, name: str, x: Value, indices: Value, axis: int) -> Value:
        dims = (*x.dims[:axis], *indices.dims, *x.dims[axis + 1 :])
        return self._result("Gather", name, [x, indices], dims, x.encoding, scalars={"axis": (_I32, np.int32(axis))})

    # Making of tensors and operators

    def _border(self, name: str, dims: Sequence[int], dtype: Any, encoding: Encoding | None = None) -> Value:
        # The runtime sorts the graph's inputs by the number in their names.
        full = f"input_{self._inputs}_{name}"
        self._inputs += 1
        return self._value(full, dims, encoding, _Kind.QNN_TENSOR_TYPE_APP_WRITE, dtype)

    def _native(self, name: str, dims: Sequence[int], encoding: Encoding | None) -> Value:
        if encoding is None:
            return self._value(name, dims, None, _Kind.QNN_TENSOR_TYPE_NATIVE, _F16)
        return self._value(name, dims, encoding, _Kind.QNN_TENSOR_TYPE_NATIVE, _FIXED[encoding.bits, encoding.signed])

    def _value(self, name: str, dims: Sequence[int], encoding: Encoding | None, kind: Any, dtype: Any) -> Value:
        wrapper = PyQnn.TensorWrapper(
            name, kind, dtype, *_spelled(encoding), len(dims), list(dims), [], np.array([]), False
        )
        return Value(name, tuple(dims), encoding, wrapper)

    def _static(self, name: str, codes: np.ndarray, dtype: Any, kind: Any, config: dict[str, Any]) -> Value:
        self._kept.append(codes)
        wrapper = PyQnn.TensorWrapper(
            name, _Kind.QNN_TENSOR_TYPE_STATIC, dtype, kind, config, codes.ndim, list(codes.shape), [], codes, False
        )
        return Value(name, tuple(codes.shape), None, wrapper)

    def _rms_norm(
        self, name: str, x: Value, gain: Value, none: Value, epsilon: float, encoding: Encoding | None
    ) -> Value:
        # QNN has a bias here, which takes part even where it is not given.
        scalars, tensors = {"epsilon": (_F32, np.float32(epsilon))}, {"axes": _u32([len(x.dims) - 1])}
        return self._result("RmsNorm", name, [x, gain, none], x.dims, encoding, scalars, tensors)

    def _computed(
        self,
        operator: str,
        name: str,
        inputs: Sequence[Value],
        dims: Sequence[int],
        scalars: Scalars = _NONE,
        tensors: Tensors = _NONE,
    ) -> Value:
        return self._result(operator, name, inputs, dims, self.points[name], scalars, tensors)

    def _result(
        self,
        operator: str,
        name: str,
        inputs: Sequence[Value],
        dims: Sequence[int],
        encoding: Encoding | None,
        scalars: Scalars = _NONE,
        tensors: Tensors = _NONE,
    ) -> Value:
        result = self._native(name, dims, encoding)
        self._operator(operator, name, inputs, [result], scalars, tensors)
        return result

    def _operator(
        self,
        operator: str,
        name: str,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        scalars: Scalars = _NONE,
        tensors: Tensors = _NONE,
    ) -> None:
        wrapper = PyQnn.PyQnnOpWrapper(f"{name}.{operator}", _PACKAGE, operator)
        wrapper.AddInputTensors([value.wrapper for value in inputs])
        wrapper.AddOutputTensors([value.wrapper for value in outputs])
        for key, (dtype, scalar) in scalars.items():
            wrapper.AddScalarParam(key, dtype, {"data": scalar})
        for key, (dtype, array) in tensors.items():
            wrapper.AddTensorParam(key, dtype, array.ndim, list(array.shape), array, True)
        self.operators.append(wrapper)


def _spelled(encoding: Encoding | None) -> tuple[Any, dict[str, Any]]:
    if encoding is None:
        return _Encoding.QNN_QUANTIZATION_ENCODING_UNDEFINED, {}
    config = {"scale": encoding.scale, "offset": -encoding.zero_point}
    return _Encoding.QNN_QUANTIZATION_ENCODING_SCALE_OFFSET, config


def _broadcast(a: Value, b: Value) -> tuple[int, ...]:
    return tuple(np.broadcast_shapes(a.dims, b.dims))


def _u32(values: Any) -> tuple[Any, np.ndarray]:
    return _U32, np.array(values, dtype=np.uint32)
